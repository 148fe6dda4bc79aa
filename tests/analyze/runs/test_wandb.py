"""Runs read from W&B, by its real client: the numbers are those of the run folders."""

import copy
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wandb
from analyze_runs import predictions
from small_runs import environment
from wandb_server import ENTITY, PROJECT, serving

from analyze.__main__ import main
from analyze.comparison.report import build_report
from analyze.errors import UsageError
from analyze.execute import NOTEBOOKS, execute
from analyze.metrics.calibration import evaluate
from analyze.report.wandb_report import log_report
from analyze.runs.evaluation import ScoredRun, score_run
from analyze.runs.format import read_history
from analyze.runs.run import LeftOut, read_run
from analyze.runs.sources import resolve, wandb_client
from analyze.runs.sources.tracked import as_trained
from experiments.config import RunConfig
from experiments.runs.record import Record

RESOLVED = {"input_kind": "logits", "precision": "no", "sizes": {"train": 9}, "mean": [0.5]}
BY_SEED = {"ce": {"signal": 3.0}, "focal:gamma=3": {"signal": 2.5, "scale": 0.5}}


def start(output, loss, seed, **options):
    """A run that has begun, as the trainer begins it, and logged two epochs."""
    options = {"dataset": "digits", "model": "resnet8", "epochs": 2, "study": "s"} | options
    config = RunConfig.from_options(options | {"output": output, "loss": loss, "seed": seed})
    record = Record(config)
    kind = "scores" if loss.startswith("mine") else "logits"
    record.begin(RESOLVED | {"input_kind": kind, "ignored": -100})
    for epoch in (1, 2):
        row = {"epoch": epoch, "step": 10 * epoch, "train/loss": 0.1 * epoch, "lr": 1.0}
        record.epoch(row | {"val/nll": float("nan"), "val/ece": float("inf")})
    return record


def finish(record, arrays=None, **summary):
    if arrays is not None:
        splits = [arrays[f"{s}_{kind}"] for s in ("val", "test") for kind in ("logits", "targets")]
        summary |= {"status": "finished", "seconds": 2.0, "images_per_second": 1.5}
        summary |= {"nothing": float("nan")} | evaluate(*splits)
    record.finish(summary, {}, arrays or {})
    record.close()
    return record.folder


def make_study(output, **options):
    """Two losses with two seeds, and a seed that diverges with one, and stops with the other."""
    for loss, kind in BY_SEED.items():
        for seed in (0, 1):
            finish(start(output, loss, seed, **options), predictions(seed, n=60, **kind))
    finish(start(output, "ce", 2, **options), status="diverged", diverged_step=17)
    stopped = start(output, "focal:gamma=3", 2, **options)
    stopped.stop()
    stopped.close()


def end_client():
    """End W&B's client, which reads the environment once.

    A service that has just been told to release what the client held may miss that it is told to
    end, and the client would wait for it.
    """
    time.sleep(0.1)
    wandb.teardown()


def forget(patch):
    """A user without a key, of whom W&B's client knows nothing yet."""
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        patch.delenv(name)
    patch.setenv("NETRC", os.devnull)
    patch.setenv("WANDB_ERROR_REPORTING", "false")
    wandb.teardown()  # whoever came before


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A cache that the tests share, as reading a log costs a second."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def here(monkeypatch, known):
    """A user without a key."""
    forget(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(known))
    yield monkeypatch
    end_client()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The run folders of an offline study, and its W&B folders alone, both moved elsewhere."""
    root = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        forget(patch)
        make_study(root / "made")
        end_client()
    for folder in (root / "made" / "s").iterdir():
        shutil.copytree(folder / "wandb", root / "alone" / folder.name[-8:], symlinks=True)
    (root / "made").rename(root / "folders")
    return root / "folders", root / "alone"


@pytest.fixture(scope="module")
def synced(study, tmp_path_factory):
    """A server to which W&B's own command uploaded the W&B folders."""
    copy = tmp_path_factory.mktemp("synced") / "copy"  # the command leaves marks in them
    shutil.copytree(study[1], copy, symlinks=True)
    runs = map(str, sorted(copy.glob("*/offline-run-*")))
    with serving() as server:
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "sync", *runs],
            env=environment(**server.environment()),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        yield server


@pytest.fixture
def server(synced, here, monkeypatch, tmp_path):
    """That server, and a user with a key to it; what a test does to its runs is undone."""
    here.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in synced.environment().items():
        here.setenv(name, value)
    monkeypatch.setattr(synced, "runs", copy.deepcopy(synced.runs))
    monkeypatch.setattr(synced, "artifacts", copy.deepcopy(synced.artifacts))
    synced.requests.clear()
    yield synced
    end_client()
    assert synced.unknown == []


def tables(path):
    """The CSV files of a report, and what it left out."""
    report = build_report([path])
    files = {"runs": report.runs, "losses": report.losses, "comparisons": report.comparisons}
    left_out = [(out.loss, out.seed, out.reason, out.diverged) for out in report.left_out]
    return {name: table.to_csv(index=False) for name, table in files.items()}, sorted(left_out)


LEFT_OUT = [
    ("ce", 2, "diverged at step 17", True),
    ("focal:gamma=3", 2, "unfinished: 2 of 2 epochs done", False),
]


def test_wandb_folders_alone_give_the_tables_of_the_run_folders(study, here, tmp_path):
    folders, alone = study
    expected, left_out = tables(folders)
    assert left_out == LEFT_OUT
    assert len(expected["runs"].splitlines()) == 5
    assert tables(alone) == (expected, LEFT_OUT)


def test_a_server_that_they_were_synced_to_gives_the_same_tables(study, server, tmp_path):
    expected = tables(study[0])
    assert tables(f"wandb:{ENTITY}/{PROJECT}") == expected


def test_a_server_that_they_logged_to_gives_the_same_tables(study, here, tmp_path):
    with serving() as server:
        for name, value in server.environment().items():
            here.setenv(name, value)
        make_study(tmp_path / "live")
        live = tables(f"wandb:{PROJECT}")
        end_client()
    assert live == tables(tmp_path / "live") == tables(study[0])
    assert {made["state"] for made in server.artifacts.values()} == {"COMMITTED"}
    assert server.unknown == []


def same_files(made, original):
    """That a run folder that was made of what W&B knows is the original, but for what W&B adds."""
    config = json.loads((made / "config.json").read_text())
    assert config.pop("wandb")["state"] == "finished"
    assert config == json.loads((original / "config.json").read_text())
    assert read_history(made) == as_trained(read_history(original))
    for name in ("summary.json", "predictions.npz"):
        assert (made / name).exists() == (original / name).exists()
    if (original / "summary.json").exists():
        summary, said = (json.loads((f / "summary.json").read_text()) for f in (made, original))
        assert {name: summary.get(name) for name in said} == said
    if (original / "predictions.npz").exists():
        predicted = [(folder / "predictions.npz").read_bytes() for folder in (made, original)]
        assert predicted[0] == predicted[1]
    return True


def test_every_file_comes_back_from_wandb_folders_as_it_was(study, here):
    made, left_out = resolve([study[1]])
    assert (len(made), left_out) == (6, [])
    assert all(same_files(folder, study[0] / "s" / folder.name) for folder in made)


def test_every_file_comes_back_from_a_server_as_it_was(study, server):
    made, left_out = resolve([f"wandb:{ENTITY}/{PROJECT}"])
    assert (len(made), left_out) == (6, [])
    assert all(same_files(folder, study[0] / "s" / folder.name) for folder in made)


def test_what_has_not_changed_is_not_downloaded_again(study, server):
    name = f"wandb:{ENTITY}/{PROJECT}"
    first, _ = resolve([name])
    server.requests.clear()
    assert resolve([name])[0] == first
    assert set(server.requests) <= {"Viewer", "GetDefaultEntity", "Runs", "ServerFeaturesQuery"}
    run = next(iter(server.runs.values()))
    run["heartbeat"] = "2026-01-02T00:00:00Z"
    again, _ = resolve([name])
    assert len(set(again) - set(first)) == 1
    assert sum(folder.exists() for folder in first) == len(first) - 1


def test_a_run_that_goes_on_or_crashed_is_left_out(study, server):
    finished = [run for run in server.runs.values() if run["summary"].get("status") == "finished"]
    finished[0]["state"], finished[1]["state"] = "running", "crashed"
    made, _ = resolve([f"wandb:{ENTITY}/{PROJECT}"])
    left_out = [found for found in map(read_run, made) if isinstance(found, LeftOut)]
    reasons = [found.reason for found in left_out]
    assert "unfinished: 2 of 2 epochs done (W&B: running)" in reasons
    assert "unfinished: 2 of 2 epochs done (W&B: crashed)" in reasons
    # where they are, not where the cache is
    assert {found.path.parent for found in left_out} == {Path(ENTITY, PROJECT)}


def test_a_notebook_reads_a_project(server):
    notebook = execute(NOTEBOOKS / "accuracy.ipynb", f"wandb:{ENTITY}/{PROJECT}")
    text = json.dumps(notebook)
    assert "image/png" in text
    assert "focal:gamma=3" in text


def test_an_offline_run_without_an_end_is_left_out(study, here, tmp_path):
    begun = min(study[1].glob("*/offline-run-*"))
    shutil.copytree(begun, tmp_path / "copy" / begun.name)
    (log,) = tmp_path.glob("copy/*/run-*.wandb")
    log.write_bytes(log.read_bytes()[:-50])
    (made,), _ = resolve([tmp_path / "copy"])
    assert read_run(made).reason == "unfinished: 2 of 2 epochs done (W&B: running or crashed)"


def test_an_offline_run_that_was_continued_is_put_together(here, tmp_path):
    first = start(tmp_path, "ce", 0)
    first.stop()
    first.close()
    end_client()  # which may not have written all before
    (begun,) = first.folder.glob("wandb/offline-run-*")
    shutil.copytree(begun, tmp_path / "copy" / begun.name)
    earlier = time.time() - 3600
    with here.context() as patch:  # the clock has been set back
        patch.setattr(time, "time", lambda: earlier)
        again = start(tmp_path, "ce", 0)
    folder = finish(again, predictions(0, n=60))
    (whole,) = folder.glob("wandb/offline-run-*")
    assert whole.name < begun.name
    assert whole.name[-17:] == begun.name[-17:]  # one run
    for name in ("config.json", "summary.json", "predictions.npz"):
        (folder / name).unlink()
    (made,), _ = resolve([folder, tmp_path / "copy"])
    assert [row["epoch"] for row in read_history(made)] == [1, 2]
    assert isinstance(score_run(read_run(made)), ScoredRun)


def test_an_online_run_that_was_continued_is_put_together(server, tmp_path):
    for stop in (True, False):
        record = start(tmp_path, "ce", 7, study="continued")
        if stop:
            record.stop()
            record.close()
    folder = finish(record, predictions(7, n=60))
    end_client()
    (run,) = [run for run in server.runs.values() if run["group"].startswith("continued/")]
    assert [row["epoch"] for row in run["history"]] == [1, 2]
    (made,), _ = resolve([f"wandb:{ENTITY}/{PROJECT}/continued"])
    assert same_files(made, folder)


def test_what_is_trained_again_replaces_the_epochs_from_there_on():
    rows = [{"epoch": e, "x": x} for e, x in ((1, "a"), (2, "b"), (3, "c"), (2, "d"))]
    assert [row["x"] for row in as_trained([*rows, {"_step": 4, "note": 1}])] == ["a", "d"]


def test_a_run_folder_and_the_wandb_folder_in_it_are_one_run(study, here):
    folders, _ = study
    inner = sorted(folders.glob("s/*/wandb"))
    assert len(inner) == 6
    found, left_out = resolve([folders, *inner])
    assert (len(found), left_out) == (6, [])
    assert all(folder.parent == folders / "s" for folder in found)


def test_a_log_that_cannot_be_read_is_left_out_with_the_reason(study, here, tmp_path):
    shutil.copytree(study[1], tmp_path / "alone", symlinks=True)
    log = sorted(tmp_path.glob("alone/*/offline-run-*/run-*.wandb"))[0]
    log.write_bytes(b"no log")
    made, left_out = resolve([tmp_path])
    assert len(made) == 5
    assert [out.path for out in left_out] == [log.parent]
    assert left_out[0].reason.startswith(f"broken: {log.name}")


def test_a_group_is_a_study_or_what_is_within_it(study, server):
    groups = sorted({run["group"] for run in server.runs.values()})
    assert all(group.startswith("s/") for group in groups)
    assert len(resolve([f"wandb:{ENTITY}/{PROJECT}/s"])[0]) == 6
    assert len(resolve([f"wandb:{ENTITY}/{PROJECT}/s/ce"])[0]) == 3
    assert len(resolve([f"wandb:{ENTITY}/{PROJECT}/{groups[0]}"])[0]) == 3
    with pytest.raises(UsageError, match="no training run in it"):
        resolve([f"wandb:{ENTITY}/{PROJECT}/s/c"])


def refused(capsys, tmp_path, *arguments):
    """The one line of a report that is refused."""
    begun = time.monotonic()
    assert main(["report", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert time.monotonic() - begun < 25
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wandb:", "expected wandb:ENTITY/PROJECT"),
        ("wandb:me//group", "expected wandb:ENTITY/PROJECT"),
        (f"wandb:{ENTITY}/other", "other"),
    ],
)
def test_a_wrong_name_is_refused_in_one_line(server, capsys, tmp_path, name, reason):
    line = refused(capsys, tmp_path, name)
    assert line.startswith(f"analyze: {name}: ")
    assert reason in line


def test_without_a_key_a_project_is_refused(here, capsys, tmp_path):
    assert "no W&B API key is configured" in refused(capsys, tmp_path, "wandb:me/project")


@pytest.mark.parametrize(
    ("operation", "answer", "error"),
    [("Runs", {"project": 1}, "AttributeError: "), ("RunOutputArtifacts", {}, "KeyError: ")],
)
def test_an_answer_that_the_client_cannot_read_is_refused(
    server, capsys, tmp_path, monkeypatch, operation, answer, error
):
    monkeypatch.setattr(server, f"_{operation}", lambda variables: answer)
    line = refused(capsys, tmp_path, f"wandb:{ENTITY}/{PROJECT}")
    assert f"{ENTITY}/{PROJECT}" in line
    assert f"W&B's client failed ({error}" in line
    assert f"another version than wandb {wandb.__version__}" in line


def test_where_wandb_is_offline_the_refusal_says_so(here, capsys, tmp_path):
    here.setenv("WANDB_MODE", "offline")
    here.setenv("WANDB_API_KEY", "a" * 40)
    assert "W&B is set to offline" in refused(capsys, tmp_path, "wandb:me/project")


def test_a_server_that_does_not_answer_is_refused(here, capsys, tmp_path):
    here.setattr(wandb_client, "TIMEOUT", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        here.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        here.setenv("WANDB_API_KEY", "a" * 40)
        assert "wandb:me/project: " in refused(capsys, tmp_path, "wandb:me/project")


def test_a_cache_that_cannot_be_written_is_refused(study, here, capsys, tmp_path):
    (tmp_path / "file").touch()
    here.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "XDG_CACHE_HOME" in refused(capsys, tmp_path, str(study[1]))


@pytest.fixture
def written(study, tmp_path):
    """A report, and a folder with what is written of it."""
    report, out = build_report([study[0]]), tmp_path / "report"
    (out / "figures").mkdir(parents=True)
    (out / "index.html").write_text("<!doctype html><title>Losses</title>")
    (out / "figures" / "forest.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    report.losses.to_csv(out / "losses.csv", index=False)
    return report, out


def test_a_report_is_logged_as_a_run_of_its_own_kind(study, server, written):
    where = log_report(*written, f"{ENTITY}/{PROJECT}")
    (run,) = [run for run in server.runs.values() if run["job"] == "analysis"]
    assert where.startswith(server.url)
    assert run["exitcode"] == 0
    assert set(run["summary"]) >= {"runs", "losses", "comparisons", "report", "figures/forest"}
    (artifact,) = [a for a in server.artifacts.values() if a["artifactTypeName"] == "report"]
    assert artifact["state"] == "COMMITTED"
    uploaded = {Path(path).name: content for path, content in server.files.items()}
    for path in ("index.html", "losses.csv", "figures/forest.svg"):
        assert uploaded[Path(path).name] == (written[1] / path).read_bytes()
    table = next(content for name, content in uploaded.items() if name.startswith("losses_"))
    told = json.loads(table)
    assert told["columns"] == list(written[0].losses.columns)
    values = dict(zip(told["columns"], told["data"][0], strict=True))
    assert values["nll_mean"] == written[0].losses["nll_mean"][0]
    # It is no training run: a report on the project passes it over.
    assert len(resolve([f"wandb:{ENTITY}/{PROJECT}"])[0]) == 6


def test_without_a_key_a_report_is_logged_offline(study, here, written):
    where = log_report(*written, PROJECT)
    assert str(written[1] / "wandb" / "offline-run-") in where
    assert "wandb sync" in where
    assert resolve([study[0], written[1]])[0] == sorted(study[0].glob("s/*"))


def test_a_wrong_target_is_refused_before_the_report_is_made(study, here, capsys, tmp_path):
    line = refused(capsys, tmp_path, str(study[0]), "--to-wandb", "a/b/c")
    assert "expected PROJECT or ENTITY/PROJECT" in line
    assert not (tmp_path / "out").exists()


def test_a_study_s_note_is_the_reason_of_a_failed_run(study, tmp_path):
    shutil.copytree(study[0], tmp_path / "folders", symlinks=True)
    (stopped,) = tmp_path.glob("folders/s/*focal*-s2-*")
    note = {"reason": "out of memory", "log": "log.txt", "time": 0.0}
    (stopped / "failure.json").write_text(json.dumps(note))
    never = tmp_path / "folders" / "s" / "never-begun"
    never.mkdir()
    (never / "failure.json").write_text(json.dumps(note))
    (tmp_path / "folders" / "s" / ".slurm" / "run").mkdir(parents=True)
    (tmp_path / "folders" / "s" / ".slurm" / "run" / "config.json").write_text("{}")
    left_out = {out.path.name: out.reason for out in build_report([tmp_path]).left_out}
    assert left_out[stopped.name] == left_out[never.name] == "failed: out of memory"
    assert len(left_out) == 3


def test_what_is_not_finite_is_nothing_and_the_rest_is_exact():
    row = {"epoch": 1, "a": "NaN", "b": float("-inf"), "c": 2**53, "d": -100, "e": 1e-5, "f": "x"}
    assert as_trained([row | {"_step": 3}]) == [row | {"a": None, "b": None}]
