"""Loads saved predictions without trusting the file."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from analyze.errors import UsageError
from analyze.metrics.predictions import Integers, problem

_SAVE = "np.savez('mine.npz', test_logits=..., test_targets=...)"


@dataclass(frozen=True)
class Split:
    """Logits (N, C), targets (N,) and, where they were saved, the examples' indices (N,).

    With `probabilities`, what `logits` holds are probabilities instead, exact zeros among them.
    """

    logits: NDArray[Any]
    targets: Integers
    index: Integers | None
    probabilities: bool = False


@dataclass(frozen=True)
class Predictions:
    """The test split, and the validation split where there is one."""

    test: Split
    val: Split | None


def load_predictions(path: Path) -> Predictions:
    """Reads `test_logits, test_targets`, and `val_...` and `..._index` where present, of an npz.

    `test_probs` and `val_probs` may stand for the logits. Nothing is unpickled.

    Raises:
        UsageError: One line with what is wrong: no such file, not an npz, truncated, pickled,
            `test_logits` missing, arrays that cannot be scored, or splits with different numbers
            of classes.
    """
    arrays = load_arrays(path)
    if not {"test_logits", "test_probs"} & arrays.keys():
        raise UsageError(
            f"has no test_logits; it holds: {', '.join(arrays) or 'nothing'} (probabilities are "
            "to be called test_probs)"
        )
    test = _split(arrays, "test")
    val = _split(arrays, "val") if {"val_logits", "val_probs"} & arrays.keys() else None
    if val is not None and val.logits.shape[1] != test.logits.shape[1]:
        raise UsageError(
            f"{_kind(val, 'val')} have {val.logits.shape[1]} classes, "
            f"{_kind(test, 'test')} {test.logits.shape[1]}"
        )
    return Predictions(test, val)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file by name; nothing is unpickled.

    Raises:
        UsageError: One line with what is wrong with the file.
    """
    try:
        with path.open("rb") as file:
            if other := _other_format(file):
                raise UsageError(other)
            return _arrays(file)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror or error}") from error


def _other_format(file: BinaryIO) -> str | None:
    """What the file is instead of an npz file, and what to do; None for an npz file."""
    start = file.read(6)
    if start == b"\x93NUMPY":
        return f"is no npz file but an .npy file, of one array: {_SAVE}"
    if start[:1] == b"\x80":  # the first byte of a pickle
        return (
            "is no npz file but a pickle, perhaps of torch.save, and nothing is unpickled here: "
            f"load it where you trust it, then {_SAVE}"
        )
    if not zipfile.is_zipfile(file):
        return "is no npz file, or a truncated one"
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        if any(name.endswith("/data.pkl") for name in archive.namelist()):
            return (
                "is no npz file but one of torch.save, and nothing is unpickled here: torch.load "
                f"it, then {_SAVE}, tensors as .numpy()"
            )
    file.seek(0)
    return None


def _arrays(file: BinaryIO) -> dict[str, NDArray[Any]]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if "Object arrays" in str(error):
            raise UsageError("holds pickled objects, which are not loaded") from error
        raise UsageError(f"is a damaged npz file: {error}") from error
    except (MemoryError, OverflowError, NotImplementedError) as error:
        raise UsageError(f"has an array that cannot be loaded: {error}") from error


def _split(arrays: dict[str, NDArray[Any]], name: str) -> Split:
    kinds = [kind for kind in ("logits", "probs") if f"{name}_{kind}" in arrays]
    if len(kinds) > 1:
        raise UsageError(f"has {name}_logits and {name}_probs: leave one out")
    if f"{name}_targets" not in arrays:
        raise UsageError(f"has {name}_{kinds[0]} but no {name}_targets")
    logits, targets = (np.asarray(arrays[f"{name}_{kind}"]) for kind in (kinds[0], "targets"))
    probabilities = kinds[0] == "probs"
    if said := problem(logits, targets, probabilities=probabilities):
        raise UsageError(f"{name}_{said}")
    index = arrays.get(f"{name}_index")
    if index is not None:
        if index.shape != targets.shape or index.dtype.kind not in "iu":
            raise UsageError(
                f"{name}_index must be {len(targets)} integers, "
                f"got {index.dtype} of shape {index.shape}"
            )
        if len(np.unique(index)) != len(index):
            raise UsageError(f"{name}_index names an example twice")
        index = index.astype(np.int64, copy=False)
    return Split(logits, targets.astype(np.int64, copy=False), index, probabilities)


def _kind(split: Split, name: str) -> str:
    return f"{name}_{'probs' if split.probabilities else 'logits'}"
