"""`experiments evaluate`: finished runs on other images, by the real command."""

import contextlib
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from small_runs import ROOT, TINY, environment

from analyze.beyond.elsewhere import tables_beyond
from analyze.comparison.report import build_report
from analyze.errors import UsageError
from analyze.metrics.beyond.detection import detection
from experiments.__main__ import main
from experiments.evaluation import evaluate as evaluation
from experiments.evaluation.others import MADE, NAMED, load, parse


def command(*words):
    """The command, in this process: exit status and the lines of an error."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        status = main(["evaluate", *map(str, words)])
    return status, errors.getvalue()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two losses, three seeds, on digits."""
    from accelerate.state import AcceleratorState

    from experiments.config import RunConfig
    from experiments.training.trainer import train

    output = tmp_path_factory.mktemp("runs")
    for loss in ("ce", "brier"):
        for seed in range(3):
            AcceleratorState._reset_state(reset_partial_state=True)
            options = TINY | {"output": output, "loss": loss, "seed": seed, "epochs": 2}
            assert train(RunConfig.from_options(options)) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    return output / "single"


@pytest.fixture(scope="module")
def same_images(tmp_path_factory):
    """The run's own test images, as files in folders of their classes."""
    root = tmp_path_factory.mktemp("same")
    published = load_digits()
    pixels = np.round(published.images * (255 / 16)).astype(np.uint8)
    for i in range(3, len(pixels), 4):
        folder = root / str(published.target[i])
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels[i]).save(folder / f"{i:04d}.png")
    return root


def test_a_copy_of_the_test_images_has_the_logits_of_the_run(runs, same_images):
    assert evaluation.find_runs([str(runs)]) == sorted(runs.iterdir())
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "experiments",
            "evaluate",
            str(runs),
            "--on",
            f"folder:{same_images}",
            "ood:noise",
        ],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for run in runs.iterdir():
        with (
            np.load(run / "evaluations" / f"folder-{same_images.name}.npz") as here,
            np.load(run / "predictions.npz") as then,
        ):
            order = np.argsort(then["test_targets"], kind="stable")  # files lie class by class
            assert (here["targets"] == then["test_targets"][order]).all()
            np.testing.assert_allclose(here["logits"], then["test_logits"][order], atol=2e-4)
    report = build_report([runs])
    table = tables_beyond(report).table.set_index(["images", "measure", "loss"])
    losses = report.losses.set_index("loss")
    for loss in ("ce", "brier"):
        for name in ("accuracy", "nll", "ece", "nll_ts"):
            row = table.loc[(same_images.name, name, loss)]
            assert row["mean"] == pytest.approx(losses.loc[loss, f"{name}_mean"], abs=1e-4)
    row = table.loc[("noise", "auroc_msp", "brier")]
    values = []
    for run in sorted(runs.glob("*brier*")):
        with (
            np.load(run / "evaluations" / "ood-noise.npz") as here,
            np.load(run / "predictions.npz") as then,
        ):
            assert len(here["logits"]) == MADE
            values.append(detection(then["test_logits"], here["logits"])["auroc_msp"])
    assert row["mean"] == pytest.approx(np.mean(values), abs=1e-12)
    assert row["low"] < row["difference"] < row["high"]


def test_what_is_there_is_left_alone_and_what_is_damaged_is_made_again(runs):
    assert command(runs, "--on", "ood:textures")[0] == 0
    files = sorted(runs.glob("*/evaluations/ood-textures.npz"))
    assert len(files) == 6
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}
    files[0].write_bytes(b"broken")
    assert command(runs, "--on", "ood:textures")[0] == 0
    assert files[0].read_bytes() == before[files[0]][0]
    for file in files[1:]:
        assert file.stat().st_mtime_ns == before[file][1]


def test_killed_and_started_again_the_files_are_the_same(runs):
    assert command(runs, "--on", "ood:textures")[0] == 0
    files = sorted(runs.glob("*/evaluations/ood-textures.npz"))
    wanted = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments", "evaluate", str(runs), "--on", "ood:textures"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not files[1].exists() and process.poll() is None:
        pass
    process.kill()
    process.wait()
    assert command(runs, "--on", "ood:textures")[0] == 0
    assert [file.read_bytes() for file in files] == wanted


def test_corruptions_by_the_command_of_grey_images_too(runs):
    what = "corruptions:kinds=contrast|gaussian_noise,severities=1|5"
    assert command(runs, "--on", what)[0] == 0
    table = tables_beyond(build_report([runs])).table
    rows = table[(table["measure"] == "accuracy") & (table["loss"] == "ce")].set_index("images")
    single = rows.loc[["generated contrast, severity 5", "generated gaussian noise, severity 5"]]
    mean = rows.loc["corruptions, severity 5 (mean of 2)", "mean"]
    assert mean == pytest.approx(single["mean"].mean(), abs=1e-12)
    for run in runs.iterdir():
        with (
            np.load(run / "evaluations" / "corruption-contrast-1.npz") as here,
            np.load(run / "predictions.npz") as then,
        ):
            assert (here["targets"] == then["test_targets"]).all()
            assert (here["index"] == then["test_index"]).all()
    for bad in ("corruptions:kinds=fog|rain", "corruptions:severities=6", "corruptions:sort=1"):
        status, said = command(runs, "--on", bad)
        assert status == 2
        assert "is unknown; there are" in said


def test_evaluations_are_kept_with_the_runs(runs, tmp_path):
    from analyze.report.output import write_report

    assert command(runs, "--on", "ood:noise")[0] == 0
    report = build_report([runs])
    write_report(report, tmp_path / "out", command="", keep_runs=True)
    page = (tmp_path / "out" / "index.html").read_text()
    assert 'id="on-other-images"' in page
    assert (tmp_path / "out" / "figures" / "other-images.svg").exists()
    again = build_report([tmp_path / "out" / "runs"])
    first, second = tables_beyond(report), tables_beyond(again)
    assert first.table.equals(second.table)
    assert first.recalibrated.equals(second.recalibrated)
    assert not list((tmp_path / "out" / "runs").rglob("ood-*.npz"))


@pytest.mark.parametrize("name", ["noise", "textures", "digits"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_that_are_made_are_the_same_each_time(name, channels, tmp_path):
    [what] = parse(f"ood:{name}")
    first, second = (load(what, 16, channels, ("a",), tmp_path) for _ in range(2))
    assert first.pixels.shape[1:] == (channels, 16, 16)
    assert first.pixels.dtype == np.uint8
    assert first.targets is None
    assert first.sha256() == second.sha256()
    assert first.pixels.std() > 20


def test_what_does_not_fit_is_refused_in_one_line(runs, tmp_path):
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "cat" / "a.png")
    (tmp_path / "empty").mkdir()
    for words, message in (
        ((runs, "--on", f"folder:{tmp_path}"), "its folders must be classes of the run (0, 1, 2"),
        ((runs, "--on", f"ood:{tmp_path / 'empty'}"), "no images in"),
        ((runs, "--on", "ood:nowhere"), "--on ood:nowhere: no such folder"),
        (
            (runs, "--on", "noise"),
            f"expected corruptions, folder:DIR, ood:DIR or ood:{'|'.join(NAMED)}|held-out",
        ),
        ((runs, "--on", "ood:digits"), "has these images' classes itself"),
        ((runs, "--on", "ood:held-out"), "was trained with all classes"),
        ((tmp_path, "--on", "ood:noise"), "no finished run in it"),
        ((runs, "--on", "ood:noise", "ood:noise"), "would be written to ood-noise.npz"),
    ):
        status, said = command(*words)
        assert status == 2
        assert message in said
        assert said.strip().count("\n") == 0


def trained(output, **options):
    """The folder of a tiny run."""
    from accelerate.state import AcceleratorState

    from experiments.config import RunConfig
    from experiments.training.trainer import train

    AcceleratorState._reset_state(reset_partial_state=True)
    config = RunConfig.from_options(TINY | {"output": output} | options)
    assert train(config) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    return config.folder


def test_classes_left_out_are_neither_trained_nor_tested_and_are_the_other_images(tmp_path):
    published = load_digits()
    run = trained(tmp_path, hold_out_classes="2,5", epochs=6)
    described = json.loads((run / "config.json").read_text())
    assert described["classes"] == list("01346789")
    is_test = np.arange(len(published.target)) % 4 == 3
    left_out = np.isin(published.target, (2, 5))
    with np.load(run / "predictions.npz") as then:
        assert then["test_logits"].shape == ((is_test & ~left_out).sum(), 8)
        names = np.array(list("01346789"))[then["test_targets"]]
        kept = published.target[is_test & ~left_out]
        assert (names.astype(int) == kept).all()
    assert command(run, "--on", "ood:held-out", "corruptions:kinds=contrast,severities=1")[0] == 0
    with np.load(run / "evaluations" / "ood-held-out.npz") as here:
        assert here["logits"].shape == ((is_test & left_out).sum(), 8)
        assert "targets" not in here
    table = tables_beyond(build_report([run])).table.set_index(["images", "measure"])
    assert table.loc[("held-out", "auroc_msp"), "mean"] > 0.6
    assert table.loc[("corruptions, severity 1 (mean of 1)", "accuracy"), "mean"] > 0.5


def test_the_own_reading_of_a_loss_is_written_beside_its_logits(tmp_path, same_images):
    run = trained(tmp_path, loss="focal:gamma=3")
    assert command(run, "--on", f"folder:{same_images}")[0] == 0
    with (
        np.load(run / "evaluations" / f"folder-{same_images.name}.npz") as here,
        np.load(run / "predictions.npz") as then,
    ):
        order = np.argsort(then["test_targets"], kind="stable")
        expected = then["test_log_probs"][order]
        np.testing.assert_allclose(here["log_probs"], expected, atol=1e-3)
    found = tables_beyond(build_report([run], reference="focal:gamma=3")).table
    rows = found[found["images"] == same_images.name].set_index("measure")
    summary = json.loads((run / "summary.json").read_text())
    assert rows.loc["ece_own", "mean"] == pytest.approx(summary["test/ece_own"], abs=1e-3)


def test_a_run_without_weights_is_refused(runs, tmp_path):
    import shutil

    run = next(runs.glob("*ce-s0*"))
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"no model\.safetensors"):
        evaluation.evaluate([copy], parse("ood:noise"), tmp_path)
    shutil.copy(run / "model.safetensors", copy)
    described = json.loads((copy / "config.json").read_text())
    described["config"]["model"] = "resnet20"
    (copy / "config.json").write_text(json.dumps(described))
    shutil.rmtree(copy / "evaluations")
    with pytest.raises(UsageError, match=r"model\.safetensors cannot be loaded"):
        evaluation.evaluate([copy], parse("ood:noise"), tmp_path)
