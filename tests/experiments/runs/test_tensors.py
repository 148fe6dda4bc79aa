"""Files of tensors are as readable as any other file of the same user."""

import os
import resource

import pytest
import torch
from safetensors.torch import load_file

from experiments.runs import tensors


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o027, 0o077])
def test_the_umask_decides_who_may_read(tmp_path, umask, mask):
    umask(mask)
    path = tmp_path / "x.safetensors"
    tensors.save({"x": torch.arange(3)}, path)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    assert load_file(path)["x"].tolist() == [0, 1, 2]


def test_every_file_of_a_run_can_be_read_by_who_may(train_here, umask):
    umask(0o027)
    folder, _ = train_here(epochs=1)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".safetensors", ".json", ".jsonl", ".npz"}
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in files} == {
        path.name: "0o640" for path in files
    }


def test_what_cannot_be_written_is_an_error_of_the_disk(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        tensors.save({"x": torch.arange(3)}, tmp_path / "missing" / "x.safetensors")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # as a disk that is full
    try:
        with pytest.raises(OSError, match=r"cannot write .*x\.safetensors"):
            tensors.save({"x": torch.zeros(1000)}, tmp_path / "x.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
