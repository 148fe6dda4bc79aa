"""An own loss is known by its file: an edited one is another loss, not the same run."""

import hashlib
import json
import subprocess

import pytest
from conftest import command, environment

from experiments import loss_source, state
from experiments.config import RunConfig
from experiments.state import State

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
    ],
)
def test_the_files_that_a_spec_names(spec, modules, tmp_path, monkeypatch):
    files = {"own": "own.py", "pack": "pack/__init__.py", "pack.inner": "pack/inner.py"}
    (tmp_path / "pack").mkdir()
    for module, file in files.items():
        (tmp_path / file).write_text(module)
    monkeypatch.chdir(tmp_path)
    expected = {module: hashlib.sha256(module.encode()).hexdigest() for module in modules}
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
    standing = state.look(config)
    assert (standing.state, "another version of own" in standing.note) == (State.FAILED, True)

    folder = tmp_path / "runs/single/mine"
    (folder / "summary.json").unlink()  # as if it had been stopped after its last checkpoint
    assert any((folder / "checkpoints").iterdir())
    assert run().returncode == 2
    assert run(fresh="true").returncode == 0
    described = json.loads((folder / "config.json").read_text())
    assert described["loss_sources"] == {"own": hashlib.sha256(SCALED.encode()).hexdigest()}
