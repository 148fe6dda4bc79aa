"""A GPU: what it computes, what it is resumed to, and that no step waits for it.

Where there is none, a device of our own stands in for it, which catches tensors left on the CPU
and steps that wait; speed and the order of a GPU's sums it cannot show.
"""

import json
import subprocess
import sys

import pytest
import torch
from small_runs import ROOT, environment, result_hash
from torch.utils import backend_registration

import clsloss

SHORT = {"train_size": 500, "batch_size": 100, "mixed_precision": "no"}
# Of every kind: the heart, one against the rest, sums, pairs, counts, a state, a solver. The other
# losses are in a slow test.
ONE_OF_A_KIND = (
    "ce",
    "hinge",
    "sigmoid_focal",
    "dice",
    "mmce",
    "seesaw",
    "adafocal",
    "bitempered",
)
CASES = {
    "plain": {},
    "pieces": {"grad_accum": 3, "clip_norm": 1.0},
    "mixed": {"mixup": 0.2, "cutmix": 1.0, "cutout": 4},
    "weighted": {"class_weights": "balanced", "loss": "focal:alpha=0.25"},
    "distilled": {"loss": "kl", "teacher": "runs/single/plain"},
    "timm": {"model": "resnet18", "train_size": 200, "epochs": 1},
    "automatic": {"mixed_precision": "auto"},
    "trivial": {"augment": "trivial"},
    **{loss: {"loss": loss, "epochs": 1} for loss in ONE_OF_A_KIND},
    "ldam": {"loss": "ldam", "head": "cosine", "epochs": 1},
}
OTHERS = [name for name in clsloss.names() if name not in CASES]
# One run, stopped and continued.
STOPPED, CONTINUED = {"name": "continued", "stop_after": 7}, {"name": "continued"}


@pytest.fixture(scope="module", params=["remote", "cuda"])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this PyTorch cannot have a device in Python")
    return request.param


@pytest.fixture(scope="module")
def on_device(device, tmp_path_factory):
    """The folder of the runs on the device, and what their worker says of each."""
    return train_all(device, tmp_path_factory.mktemp(device))


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    return train_all("cpu", tmp_path_factory.mktemp("cpu"))


def train_all(device, folder):
    cases = [{"name": name} | options for name, options in CASES.items()] + [STOPPED, CONTINUED]
    said = train(device, folder, cases)
    names = [*CASES, "stopped", "continued"]
    return folder / "runs" / "single", dict(zip(names, said, strict=True))


def train(device, folder, cases):
    """Train these runs, and give what their worker says of each."""
    found = subprocess.run(
        [sys.executable, ROOT / "tests/helpers/device_worker.py", device],
        input="\n".join(json.dumps(SHORT | case) for case in cases),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT), ACCELERATE_USE_CPU="false"),
        timeout=600,
    )
    assert found.returncode == 0, found.stderr
    return [json.loads(line) for line in found.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("case", [name for name in CASES if name != "automatic"])
def test_a_device_computes_what_the_cpu_does(case, on_device, on_cpu):
    there, here = (
        json.loads((folder / case / "summary.json").read_text())
        for folder, _ in (on_device, on_cpu)
    )
    assert there["test/nll"] == pytest.approx(here["test/nll"], rel=0.02)
    assert there["test/accuracy"] == pytest.approx(here["test/accuracy"], abs=0.02)


@pytest.mark.parametrize("case", [name for name in CASES if name != "trivial"])
def test_no_step_waits_for_the_device(case, on_device):
    _, said = on_device
    assert said[case] == {"status": 0, "waits": []}


@pytest.mark.slow
def test_every_other_loss_computes_what_it_does_on_the_cpu_and_waits_for_nothing(device, tmp_path):
    cases = [{"name": loss, "loss": loss, "epochs": 1} for loss in OTHERS]
    summaries = {}
    for place in (device, "cpu"):
        (tmp_path / place).mkdir()
        said = train(place, tmp_path / place, cases)
        assert said == [{"status": 0, "waits": []}] * len(OTHERS) or place == "cpu"
        for loss in OTHERS:
            path = tmp_path / place / "runs/single" / loss / "summary.json"
            summaries[place, loss] = json.loads(path.read_text())
    for loss in OTHERS:
        there, here = summaries[device, loss], summaries["cpu", loss]
        assert there["test/nll"] == pytest.approx(here["test/nll"], rel=0.02), loss


def test_the_one_augmentation_that_waits(on_device):
    _, said = on_device
    assert said["trivial"]["status"] == 0
    assert said["trivial"]["waits"]


def test_a_continued_run_is_the_same_to_the_last_bit(on_device):
    folder, said = on_device
    assert (said["stopped"]["status"], said["continued"]["status"]) == (143, 0)
    assert result_hash(folder / "continued") == result_hash(folder / "plain")
