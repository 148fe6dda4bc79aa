"""Runs kept without their predictions give the report that the whole runs gave."""

import json
import re
import shutil

import numpy as np
import pytest
from analyze_runs import predictions, write_run, write_study

from analyze.__main__ import main
from analyze.comparison.covariance import FILE, covariances
from analyze.comparison.report import build_report
from analyze.report.kept import write_runs
from analyze.report.page import render_page
from analyze.runs.evaluation import score_run
from analyze.runs.run import read_run
from analyze.runs.scored import KEPT as REDUCED

TABLES = ["runs.csv", "losses.csv", "comparisons.csv", "losses.md", "losses.tex"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three seeds of three losses, one run diverged, one without an end."""
    root = tmp_path_factory.mktemp("study") / "runs"
    losses = {"ce": {}, "focal:gamma=3": {"signal": 3.4}, "hinge": {"scale": 0.3}}
    losses = {name: {"n": 200, **kind} for name, kind in losses.items()}
    places = {"output": str(root), "data_dir": str(root), "project": "secret", "tags": str(root)}
    write_study(root, losses, range(3), **places)
    arrays = predictions(9, n=200)
    lost = write_run(root, arrays, loss="mae", seed=0, **places)
    (lost / "summary.json").write_text(json.dumps({"status": "diverged", "diverged_step": 7}))
    (write_run(root, arrays, loss="mae", seed=1, **places) / "summary.json").unlink()
    return root


@pytest.fixture(scope="module")
def published(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("published") / "report"
    assert main(["report", str(study), "--out", str(out), "--keep-runs"]) == 0
    return out


@pytest.fixture
def copy(published, tmp_path):
    return shutil.copytree(published / "runs", tmp_path / "runs")


def test_the_report_is_made_again_to_the_byte(published, tmp_path, capsys):
    again = tmp_path / "again"
    assert main(["report", str(published / "runs"), "--out", str(again)]) == 0
    figures = sorted(path.name for path in (published / "figures").iterdir())
    assert len(figures) >= 9
    for name in [*TABLES, *(f"figures/{name}" for name in figures)]:
        assert (again / name).read_bytes() == (published / name).read_bytes(), name
    page, before = ((out / "index.html").read_text() for out in (again, published))
    both = zip(page.splitlines(), before.splitlines(), strict=True)
    differing = [ours for ours, theirs in both if ours != theirs]
    # where the runs are: in the command, and in the paths of those left out
    assert len(differing) == 3
    assert all(str(published) in line for line in differing)


def test_the_intervals_over_examples_are_there_again(published):
    table = build_report([published / "runs"]).comparisons
    focal = table[table.primary & (table.loss == "focal:gamma=3")]
    assert set(focal.interval) == {"crossed"}
    # hinge is ce times .3: after temperature they coincide but for rounding
    hinge = table[table.loss == "hinge"].set_index("metric").interval
    assert (hinge.accuracy, hinge.nll, hinge.nll_ts) == ("crossed", "crossed", "seeds")


def test_what_diverged_or_did_not_finish_is_counted_again(published):
    report = build_report([published / "runs"])
    assert report.losses.set_index("loss").diverged["mae"] == 1
    assert sorted(out.reason.split()[0] for out in report.left_out) == ["diverged", "unfinished:"]


def test_no_weights_no_logits_and_no_places_are_kept(study, published):
    names = {path.name for path in (published / "runs").rglob("*") if path.is_file()}
    assert names <= {
        *("config.json", "summary.json", "metrics.jsonl", REDUCED, FILE),
        *("scored.json", "covariances-test-images.npz"),
    }
    for path in (published / "runs").rglob("config.json"):
        config = json.loads(path.read_text())["config"]
        assert not {"output", "project", "group", "tags", "wandb"} & config.keys()
    whole, kept = (
        "".join(path.read_text() for path in sorted(root.rglob("*.json")))
        for root in (study, published / "runs")
    )
    assert str(study) in whole
    assert str(study) not in kept


def test_keeping_the_same_runs_again_replaces_them(study, published, tmp_path):
    out = shutil.copytree(published, tmp_path / "report")
    (out / "runs" / "old").mkdir()
    assert main(["report", str(study), "--out", str(out), "--keep-runs"]) == 0
    found = {path.relative_to(out) for path in (out / "runs").rglob("*")}
    assert found == {path.relative_to(published) for path in (published / "runs").rglob("*")}
    for path in found:
        if (out / path).is_file():
            assert (out / path).read_bytes() == (published / path).read_bytes()


@pytest.mark.parametrize("source", ["whole", "kept"])
def test_runs_are_never_written_over(study, copy, source, capsys):
    root = shutil.copytree(study, copy.parent / "whole" / "runs") if source == "whole" else copy
    before = sorted(root.rglob("*"))
    assert main(["report", str(root), "--out", str(root.parent), "--keep-runs"]) == 2
    assert "holds the runs of this report" in capsys.readouterr().err
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("file", ["notes", "single/resnet20-ce-s0/model.safetensors"])
@pytest.mark.parametrize("kept_before", [False, True])
def test_what_else_is_in_the_folder_is_never_lost(
    study, published, tmp_path, file, kept_before, capsys
):
    out = shutil.copytree(published, tmp_path / "report") if kept_before else tmp_path / "report"
    (out / "runs" / file).parent.mkdir(parents=True, exist_ok=True)
    (out / "runs" / file).write_text("precious")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main(["report", str(study), "--out", str(out), "--keep-runs"]) == 2
    assert f"--keep-runs would replace {out / 'runs' / file}" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_link_to_other_runs_is_left_alone(study, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "elsewhere")
    assert main(["report", str(study), "--out", str(tmp_path), "--keep-runs"]) == 2
    assert "would replace" in capsys.readouterr().err
    assert (tmp_path / "runs").is_symlink()


def test_runs_of_one_name_are_kept_apart(study, tmp_path):
    runs = shutil.copytree(study, tmp_path / "study")
    for place, path in enumerate(sorted(runs.iterdir())):
        (runs / str(place)).mkdir()
        path.rename(runs / str(place) / ("x-2" if place == 0 else "x"))
    out = tmp_path / "out"
    assert main(["report", str(runs), "--out", str(out), "--keep-runs"]) == 0
    assert len([path for path in (out / "runs").iterdir() if path.is_dir()]) == 11
    assert build_report([out / "runs"]).losses.equals(build_report([study]).losses)


def test_what_diverged_at_wandb_is_kept(study, tmp_path):
    """As what W&B knows is read: the run's folder in the cache says where W&B has it."""
    runs = shutil.copytree(study, tmp_path / "cache")
    for path in runs.iterdir():
        described = json.loads((path / "config.json").read_text())
        described["wandb"] = {"run": f"me/project/{path.name}"}
        (path / "config.json").write_text(json.dumps(described))
    out = tmp_path / "out"
    assert main(["report", str(runs), "--out", str(out), "--keep-runs"]) == 0
    report = build_report([out / "runs"])
    assert report.losses.set_index("loss").diverged["mae"] == 1
    assert all(one.path.parent == out / "runs" for one in report.left_out)


def test_kept_and_whole_runs_are_compared_over_seeds_alone(study, copy):
    whole = [path for path in study.iterdir() if "hinge" in path.name]
    for path in whole:
        shutil.rmtree(copy / path.name)
    table = build_report([copy, *whole]).comparisons.set_index("loss")
    assert set(table.loc["hinge"].interval) == {"seeds"}
    assert "crossed" in set(table.loc["focal:gamma=3"].interval)


def test_kept_runs_that_were_parted_say_so(copy, tmp_path, capsys):
    stray = next(path for path in copy.iterdir() if "-s0-" in path.name and "mae" not in path.name)
    stray.rename(copy / "renamed")
    assert main(["report", str(copy), "--out", str(tmp_path / "out")]) == 2
    assert "lacks renamed: keep the runs of a report together" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("risk"), "has no risk"),
        (
            lambda arrays: arrays.update(nll=np.zeros(3)),
            r"nll must have shape \(41,\), got \(3,\)",
        ),
        (lambda arrays: arrays.update(size=np.zeros(3)), "is damaged: "),
        (lambda arrays: arrays.update(targets=np.array(1)), "is damaged: "),
        (lambda arrays: arrays.update(version=np.array(99)), "has version 99, but this"),
        (None, "is no npz file"),
    ],
)
def test_a_broken_file_is_left_out_with_the_reason(copy, change, message):
    broken = next(path for path in sorted(copy.iterdir()) if (path / REDUCED).exists())
    if change is None:
        (broken / REDUCED).write_bytes(b"PK\x03\x04 no more")
    else:
        with np.load(broken / REDUCED) as archive:
            arrays = dict(archive)
        change(arrays)
        np.savez(broken / REDUCED, **arrays)
    left_out = {out.path.name: out.reason for out in build_report([copy]).left_out}
    assert len(left_out) == 3
    assert re.search(f"broken: {REDUCED} .*{message}", left_out[broken.name])


def older(folder):
    """Turns a kept run into one that version 1 kept."""
    with np.load(folder / REDUCED) as archive:
        arrays = dict(archive)
    del arrays["temperature_bound"]
    arrays |= {"version": np.array(1), "temperature_at_bound": np.array(True)}
    np.savez(folder / REDUCED, **arrays)


def test_runs_that_an_earlier_version_kept_are_read_and_said_to_be(copy, tmp_path):
    whole = build_report([copy])
    assert "earlier version" not in render_page(whole, [], {}, "")
    for folder in copy.glob("*-focal-*"):
        older(folder)
    report = build_report([copy])
    columns = ["ada_ece", "nll", "temperature"]
    assert report.runs[columns].equals(whole.runs[columns])
    for again in (tmp_path / "once", tmp_path / "twice"):  # kept again, they stay as old
        page = render_page(report, [], {}, "")
        assert "The runs of focal:gamma=3 were kept by an earlier version" in page
        old = [one for one in report.evaluated if one.version == 1]
        assert {one.run.loss for one in old} == {"focal:gamma=3"}
        assert {one.temperature_bound for one in old} == {"zero"}
        write_runs(report, again)
        report = build_report([again])


def test_a_layout_that_needs_predictions_refuses(copy, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main(["report", str(copy), "--out", out, "--layout", "mukhoti"]) == 2
    assert "has no predictions.npz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["report", str(copy), "--out", out, "--layout", "guo"]) == 0


def test_covariances_are_those_of_numpy_and_equal_for_equal_runs(tmp_path):
    folders = write_study(tmp_path, {"ce": {"n": 333}, "focal": {"n": 333}}, range(2))
    runs = [score_run(read_run(folder)) for folder in folders]
    runs.append(runs[0])
    found = covariances(runs)
    for name, matrix in found.items():
        expected = np.cov([one.per_example[name] for one in runs])
        np.testing.assert_allclose(matrix, expected, rtol=1e-6, atol=1e-15)
        assert matrix[0, 0] == matrix[0, 4] == matrix[4, 0] == matrix[4, 4]
        np.testing.assert_array_equal(matrix[0], matrix[4])
