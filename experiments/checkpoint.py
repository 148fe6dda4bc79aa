"""Checkpoints that are complete or absent.

A checkpoint is a folder ``step-NNNNNNNN`` with tensors as safetensors, everything else as JSON,
and a manifest with the size and SHA-256 of each file. It is written under another name, synced,
and renamed: a process killed at any moment leaves the previous checkpoint whole. Loading one
never executes anything in it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from experiments.fingerprint import fingerprint

_KEEP = 2
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        tensors: groups of named tensors, such as the model's and the optimizer's.
        state: everything else, as JSON values.
    """

    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def save(folder: Path, step: int, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of a step, then remove all but the newest two.

    Raises:
        OSError: if it cannot be written (a full disk, a read-only folder); the checkpoints that
            were there stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".tmp-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        for name, group in checkpoint.tensors.items():
            save_file(packed(group), temporary / f"{name}.safetensors")
        (temporary / "state.json").write_text(json.dumps(checkpoint.state), encoding="utf-8")
        manifest = {path.name: _fingerprint(path) for path in sorted(temporary.iterdir())}
        (temporary / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        for path in temporary.iterdir():
            _sync(path)
        _sync(temporary)
        final = folder / f"step-{step:08}"
        if final.exists():  # the same step again, after a resume: the content is the same
            shutil.rmtree(final)
        temporary.rename(final)
        _sync(folder)
    except SafetensorError as error:
        raise OSError(f"cannot write {folder}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in _newest_first(folder)[_KEEP:]:
        shutil.rmtree(old)


def packed(group: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies as safetensors takes them: on the CPU, contiguous, and none a view of another."""
    return {
        key: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for key, tensor in group.items()
    }


def load(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None."""
    for path in _newest_first(folder):
        if not _is_whole(path):
            continue
        try:
            groups = {
                file.name.removesuffix(".safetensors"): load_file(file)
                for file in path.glob("*.safetensors")
            }
            return Checkpoint(
                groups, json.loads((path / "state.json").read_text(encoding="utf-8"))
            )
        except (SafetensorError, ValueError):  # whole, but not of our making
            continue
    return None


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if re.fullmatch(r"step-\d{8}", path.name)]
    return sorted(found, reverse=True)


def _is_whole(path: Path) -> bool:
    try:
        manifest: Mapping[str, Any] = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        return all(_fingerprint(path / name) == known for name, known in manifest.items())
    except (OSError, ValueError, AttributeError):
        return False


def _fingerprint(path: Path) -> list[int | str]:
    return [path.stat().st_size, fingerprint(path)]


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
