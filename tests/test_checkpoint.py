import json
import pickle
import shutil

import pytest
import torch

from experiments import checkpoint
from experiments.checkpoint import Checkpoint
from experiments.config import Refused


def some(value: float) -> Checkpoint:
    return Checkpoint({"model": {"w": torch.full((3,), value)}, "momentum": {}}, {"value": value})


def test_the_newest_of_two_kept_is_loaded(tmp_path):
    for step in (5, 10, 15):
        checkpoint.save(tmp_path, step, some(step))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000015"]
    loaded = checkpoint.load(tmp_path)
    assert loaded.state == {"value": 15}
    assert loaded.tensors["model"]["w"].tolist() == [15.0] * 3
    assert loaded.tensors["momentum"] == {}


def test_nothing_there_is_nothing_loaded(tmp_path):
    assert checkpoint.load(tmp_path / "never") is None


def cut(file):
    file.write_bytes(file.read_bytes()[:-3])


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip_a_bit, lambda file: file.unlink()])
@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, damage, name):
    checkpoint.save(tmp_path, 1, some(1))
    checkpoint.save(tmp_path, 2, some(2))
    damage(tmp_path / "step-00000002" / name)
    assert checkpoint.load(tmp_path).state == {"value": 1}


def test_an_unfinished_checkpoint_is_not_one(tmp_path):
    checkpoint.save(tmp_path, 1, some(1))
    shutil.copytree(tmp_path / "step-00000001", tmp_path / ".tmp-123")
    assert checkpoint.load(tmp_path).state == {"value": 1}


def test_a_failed_save_keeps_what_was_there(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, some(1))

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("experiments.checkpoint._sync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, 2, some(2))
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert checkpoint.load(tmp_path).state == {"value": 1}


class Bomb:
    def __reduce__(self):
        import os

        return os.system, ("echo executed > $BOMB",)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_loading_executes_nothing(tmp_path, monkeypatch, name):
    fired = tmp_path / "fired"
    monkeypatch.setenv("BOMB", str(fired))
    bomb = pickle.dumps(Bomb())
    pickle.loads(bomb)
    assert fired.exists(), "the bomb does work"
    fired.unlink()
    folder = tmp_path / "checkpoints"
    checkpoint.save(folder, 1, some(1))
    victim = folder / "step-00000001"
    (victim / name).write_bytes(bomb)
    if name != "manifest.json":  # an attacker would mend the manifest
        manifest = json.loads((victim / "manifest.json").read_text())
        manifest[name] = checkpoint._fingerprint(victim / name)
        (victim / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Refused, match=r"no checkpoint in .* is whole"):
        checkpoint.load(folder)
    assert not fired.exists()
