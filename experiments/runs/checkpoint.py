"""Checkpoints that are complete or absent.

A checkpoint is a folder ``step-NNNNNNNN`` with tensors as safetensors, everything else as JSON,
and a manifest with the size and SHA-256 of each file. It is written under a temporary name,
synced, and renamed. A process that is killed at any moment leaves the previous checkpoint intact.
Loading a checkpoint never executes code from it.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from analyze.errors import UsageError
from analyze.runs.format import load_json, sync, to_json
from experiments.errors import first_line
from experiments.machine.fingerprint import fingerprint
from experiments.runs import tensors

_KEEP = 2
_NAME, _UNFINISHED = "step-", ".tmp-"
_STATE, _MANIFEST = "state.json", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint.

    Attributes:
        tensors: groups of named tensors, such as the model's and the optimizer's.
        state: everything else, as JSON values.
    """

    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def save(folder: Path, step: int, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of a step, then remove all but the newest two.

    Raises:
        OSError: if it cannot be written (full disk, read-only folder). Earlier checkpoints stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clean(folder)
    temporary = folder / f"{_UNFINISHED}{os.getpid()}"
    try:
        temporary.mkdir()
        for name, group in checkpoint.tensors.items():
            tensors.save(group, temporary / f"{name}.safetensors")
        (temporary / _STATE).write_text(to_json(checkpoint.state), encoding="utf-8")
        manifest = {path.name: _fingerprint(path) for path in sorted(temporary.iterdir())}
        (temporary / _MANIFEST).write_text(to_json(manifest), encoding="utf-8")
        for path in temporary.iterdir():
            sync(path)
        sync(temporary)
        final = folder / f"{_NAME}{step:08}"
        if final.exists():  # the same step after a resume, with the same content
            shutil.rmtree(final)
        temporary.rename(final)
        sync(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in _newest_first(folder)[_KEEP:]:
        shutil.rmtree(old)


def clean(folder: Path) -> None:
    """Remove checkpoints that killed processes left unfinished. Requires the run's lock."""
    for leftover in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def load(folder: Path) -> Checkpoint | None:
    """Load the newest intact checkpoint; None if there are no checkpoints.

    Raises:
        UsageError: if all checkpoints are damaged, or if one cannot be read and may be intact.
    """
    damage = []
    try:
        for path in _newest_first(folder):
            try:
                return _load(path)
            except _Damaged as error:
                damage.append(f"{path.name}: {error}")
    except OSError as error:
        raise UsageError(
            f"cannot read the checkpoint {error.filename or folder} ({error.strerror}): make it "
            "readable, or give this run another --name"
        ) from error
    if damage:
        raise UsageError(
            f"no checkpoint in {folder} is whole ({'; '.join(damage)}): restore one, or start "
            "anew with --fresh"
        )
    return None


def rewind(folder: Path, step: int) -> None:
    """Remove checkpoints after the step that was loaded, which are damaged.

    Otherwise they would count among the newest two and displace intact ones.
    """
    for path in _newest_first(folder):
        if int(path.name.removeprefix(_NAME)) > step:
            shutil.rmtree(path)


def exists(folder: Path) -> bool:
    """Whether there are checkpoints, intact or damaged."""
    return bool(_newest_first(folder))


class _Damaged(Exception):
    """A checkpoint that differs from its manifest."""


def _load(path: Path) -> Checkpoint:
    try:
        for name, recorded in load_json(path / _MANIFEST).items():
            if _fingerprint(path / name) != recorded:
                raise _Damaged(f"{name} is damaged")
        groups = {
            file.name.removesuffix(".safetensors"): load_file(file)
            for file in path.glob("*.safetensors")
        }
        return Checkpoint(groups, load_json(path / _STATE))
    except FileNotFoundError as error:
        raise _Damaged(f"{Path(error.filename).name} is missing") from error
    except (SafetensorError, ValueError) as error:  # matches its manifest, but is not our format
        raise _Damaged(first_line(error)) from error


def _newest_first(folder: Path) -> list[Path]:
    try:
        folders = [path for path in folder.iterdir() if re.fullmatch(_NAME + r"\d{8}", path.name)]
    except FileNotFoundError:
        return []
    return sorted(folders, reverse=True)


def _fingerprint(path: Path) -> list[int | str]:
    return [path.stat().st_size, fingerprint(path)]
