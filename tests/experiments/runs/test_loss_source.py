"""An own loss is known by its file: an edited one is another loss, not the same run."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import command, environment

from analyze.errors import UsageError
from experiments.config import RunConfig
from experiments.runs import loss_source, state
from experiments.runs.state import State
from experiments.training import criterion

LOSS = "from torch.nn.functional import cross_entropy\n\n\ndef mine(z, y):\n    return {}\n"
PLAIN, SCALED = LOSS.format("cross_entropy(z, y)"), LOSS.format("2 * cross_entropy(z, y)")


@pytest.mark.parametrize(
    ("spec", "modules"),
    [
        ("ce", []),
        ("focal:gamma=3", []),
        ("torch.nn:MultiMarginLoss:margin=2", []),  # installed
        ("own:mine", ["own"]),
        ("0.5*own:mine+ce", ["own"]),
        ("focal:gamma=2+2*pack.inner:Mine.Other:epsilon=1", ["pack.inner"]),
        ("pack:Mine", ["pack"]),
        ("nosuch:mine", []),
        ("./own.py:mine", ["./own.py"]),
        ("own.py:mine:scale=2", ["own.py"]),
        ("ce+0.5*./pack/inner.py:Mine.Other:epsilon=1 + own:mine", ["./pack/inner.py", "own"]),
        ("./gone.py:mine", []),
        ("__main__:mine", ["__main__"]),
    ],
)
def test_the_files_that_a_spec_names(spec, modules, tmp_path, monkeypatch):
    files = {"own": "own.py", "pack": "pack/__init__.py", "pack.inner": "pack/inner.py"}
    files |= {"__main__": "script.py"}
    (tmp_path / "pack").mkdir()
    for module, file in files.items():
        (tmp_path / file).write_text(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys.modules["__main__"], "__file__", str(tmp_path / "script.py"), raising=False
    )
    texts = {module: module for module in files}
    texts |= {"./own.py": "own", "own.py": "own", "./pack/inner.py": "pack.inner"}
    expected = {module: hashlib.sha256(texts[module].encode()).hexdigest() for module in modules}
    assert loss_source.fingerprints(spec) == expected


@pytest.fixture
def run(tmp_path):
    def run(**options):
        return subprocess.run(
            command({"loss": "own:mine", "epochs": 1, "name": "mine", "output": "runs"} | options),
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run


def test_a_run_is_not_that_of_an_edited_loss(run, tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(PLAIN)
    assert run().returncode == 0
    again = run()
    assert (again.returncode, "is finished; --fresh" in again.stdout) == (0, True)
    monkeypatch.chdir(tmp_path)
    config = RunConfig(loss="own:mine", name="mine", output=tmp_path / "runs")
    assert state.look(config).state is State.DONE

    (tmp_path / "own.py").write_text(SCALED)
    edited = run()
    assert edited.returncode == 2
    assert "was trained with another version of own" in edited.stderr
    assert edited.stderr.count("\n") == 1
    run_status = state.look(config)
    assert (run_status.state, "another version of own" in run_status.note) == (State.FAILED, True)

    folder = tmp_path / "runs/single/mine"
    (folder / "summary.json").unlink()  # as if it had been stopped after its last checkpoint
    assert any((folder / "checkpoints").iterdir())
    assert run().returncode == 2
    assert run(fresh="true").returncode == 0
    described = json.loads((folder / "config.json").read_text())
    assert described["loss_sources"] == {"own": hashlib.sha256(SCALED.encode()).hexdigest()}


MARGINS = """
import torch
from torch.nn import functional as F


class Margins(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.register_buffer("margins", torch.ones(classes))

    def forward(self, z, y):
        return F.cross_entropy(z - self.margins, y, reduction="none")
"""


@pytest.fixture
def images(tmp_path, monkeypatch):
    """A folder of images of three classes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for part, n in (("train", 8), ("test", 2)):
        for name in ("cat", "dog", "eel"):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / part / name / f"{i}.png")
    return tmp_path / "images"


def test_a_loss_in_a_file_is_tried_with_the_classes_of_the_images(images, train_here, monkeypatch):
    monkeypatch.chdir(images.parent)
    (images.parent / "own.py").write_text(MARGINS)
    folder = {"dataset": "folder", "data_dir": images, "image_size": 8, "batch_size": 8}
    folder |= {"epochs": 1, "output": images.parent / "runs"}
    told = "tried with C = 3: .*size of tensor a .3. must match the size of tensor b .10."
    with pytest.raises(UsageError, match=told):
        train_here(loss="./own.py:Margins:classes=10", **folder)
    options = {"loss": "./own.py:Margins:classes=3", "class_weights": "1,2,1"} | folder
    where, status = train_here(**options)
    assert status == 0
    described = json.loads((where / "config.json").read_text())
    assert described["loss_sources"] == {"./own.py": hashlib.sha256(MARGINS.encode()).hexdigest()}
    (images.parent / "own.py").write_text(MARGINS + "# edited\n")
    with pytest.raises(UsageError, match=r"trained with another version of \./own\.py"):
        train_here(**options)


DRAWING = """
import torch

class Drawing(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.centres = torch.nn.Parameter(torch.randn(10))

    def forward(self, logits, target):
        return torch.nn.functional.cross_entropy(logits + self.centres, target)
"""


def test_what_a_loss_draws_at_its_start_is_a_function_of_the_seed(tmp_path, monkeypatch):
    """So that every process, and a run that is resumed, has the same loss."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drawing.py").write_text(DRAWING)

    def centres(seed):
        torch.rand(seed + 1)  # whatever was drawn before
        before = torch.get_rng_state()
        config = RunConfig(loss="drawing.py:Drawing", dataset="digits", seed=seed)
        (parameter,) = criterion.create(config).parameters()
        assert torch.equal(torch.get_rng_state(), before), "the run's own draws are untouched"
        return parameter.tolist()

    assert centres(0) == centres(0)
    assert centres(0) != centres(1)
