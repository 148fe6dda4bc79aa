import json
import os
import pickle
import shutil

import pytest
import torch

from analyze.errors import UsageError
from experiments.runs import checkpoint
from experiments.runs.checkpoint import Checkpoint


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

    monkeypatch.setattr("experiments.runs.checkpoint.sync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, 2, some(2))
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert checkpoint.load(tmp_path).state == {"value": 1}


@pytest.mark.parametrize("damage", [cut, flip_a_bit, lambda file: file.unlink()])
def test_where_none_is_whole_that_is_said_and_none_is_lost(tmp_path, damage):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, some(step))
        damage(tmp_path / f"step-0000000{step}" / "model.safetensors")
    with pytest.raises(
        UsageError, match=r"no checkpoint in .* is whole \(step-00000002: model"
    ) as no:
        checkpoint.load(tmp_path)
    assert "--fresh" in str(no.value)
    assert "\n" not in str(no.value)
    assert len(list(tmp_path.iterdir())) == 2


def out_of_reach(file):
    """A link to itself: an error of the file system, for root too."""
    file.unlink()
    file.symlink_to(file.name)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_what_cannot_be_read_is_not_damaged(tmp_path, name):
    checkpoint.save(tmp_path, 1, some(1))
    checkpoint.save(tmp_path, 2, some(2))
    out_of_reach(tmp_path / "step-00000002" / name)
    with pytest.raises(UsageError, match=rf"cannot read .*{name} \(Too many levels of symb") as no:
        checkpoint.load(tmp_path)
    assert "--fresh" not in str(no.value), "it may be whole"


def test_a_checkpoint_of_another_user_is_not_damaged(tmp_path):
    checkpoint.save(tmp_path, 1, some(1))
    file = tmp_path / "step-00000001" / "model.safetensors"
    file.chmod(0)
    me = os.geteuid()
    try:
        if me == 0:
            os.seteuid(65534)
        with pytest.raises(
            UsageError, match=r"cannot read the checkpoint .*\(Permission denied\)"
        ):
            checkpoint.load(tmp_path)
    finally:
        os.seteuid(me)


def test_damaged_ones_do_not_count_among_those_kept(tmp_path):
    for step in (5, 10):
        checkpoint.save(tmp_path, step, some(step))
    cut(tmp_path / "step-00000010" / "model.safetensors")
    assert checkpoint.load(tmp_path).state == {"value": 5}
    checkpoint.rewind(tmp_path, 5)
    for step, kept in ((7, [5, 7]), (12, [7, 12])):
        checkpoint.save(tmp_path, step, some(step))
        assert sorted(p.name for p in tmp_path.iterdir()) == [f"step-{k:08}" for k in kept]


def test_what_killed_savers_left_is_removed(tmp_path):
    checkpoint.save(tmp_path, 1, some(1))
    for process in (123, os.getpid()):
        shutil.copytree(tmp_path / "step-00000001", tmp_path / f".tmp-{process}")
    checkpoint.save(tmp_path, 2, some(2))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001", "step-00000002"]


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
    with pytest.raises(UsageError, match=r"no checkpoint in .* is whole"):
        checkpoint.load(folder)
    assert not fired.exists()
