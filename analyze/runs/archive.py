"""Loads saved predictions from untrusted files."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from analyze.errors import UsageError
from analyze.metrics.predictions import SUM_TOLERANCE, Integers, problem

_KINDS = ("logits", "log_probs", "probs")
_SAVE = "np.savez('mine.npz', test_logits=..., test_targets=...)"


@dataclass(frozen=True)
class Split:
    """Logits (N, C), targets (N,) and, if saved, the indices of the examples (N,).

    With `probabilities`, `logits` holds probabilities, which may be exactly 0. `own` has the same
    examples as the loss reads them, as log-probabilities or probabilities, if they are saved.
    """

    logits: NDArray[Any]
    targets: Integers
    index: Integers | None
    probabilities: bool = False
    own: Split | None = None


@dataclass(frozen=True)
class Predictions:
    """The test split, and the validation split if there is one."""

    test: Split
    val: Split | None


def load_predictions(path: Path) -> Predictions:
    """Reads `test_logits` and `test_targets` from an npz file, and `val_...` and `..._index`.

    The last two are optional. `test_probs` and `val_probs` may replace the logits. Beside
    `test_logits`, `test_log_probs` or `test_probs` say how the loss reads them. Nothing is
    unpickled.

    Raises:
        UsageError: The file is missing, truncated, pickled or no npz file; it lacks
            `test_logits`; its arrays cannot be scored; or its splits differ in the number of
            classes.
    """
    arrays = load_arrays(path)
    if not {"test_logits", "test_probs"} & arrays.keys():
        raise UsageError(
            f"has no test_logits; it holds: {', '.join(arrays) or 'nothing'} (call probabilities "
            "test_probs)"
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
    """The arrays of an npz file by name. Nothing is unpickled.

    Raises:
        UsageError: The file cannot be read or is no npz file.
    """
    try:
        with path.open("rb") as file:
            if other := _other_format(file):
                raise UsageError(other)
            return _arrays(file)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror or error}") from error


def _other_format(file: BinaryIO) -> str | None:
    """The actual format of a file that is no npz file, with a remedy; None for an npz file."""
    start = file.read(6)
    if start == b"\x93NUMPY":
        return f"is an .npy file with a single array, not an npz file: {_SAVE}"
    if start[:1] == b"\x80":  # the first byte of a pickle
        return (
            "is a pickle, perhaps of torch.save, not an npz file; nothing is unpickled here: "
            f"load it yourself if you trust it, then {_SAVE}"
        )
    if not zipfile.is_zipfile(file):
        return "is no npz file, or a truncated one"
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        if any(name.endswith("/data.pkl") for name in archive.namelist()):
            return (
                "is a torch.save file, not an npz file; nothing is unpickled here: load it with "
                f"torch.load, then {_SAVE} with tensors as .numpy()"
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
    kind, *others = [kind for kind in _KINDS if f"{name}_{kind}" in arrays]
    if len(others) > 1 or (others and kind != "logits"):
        raise UsageError(f"has both {name}_log_probs and {name}_probs: leave one out")
    if f"{name}_targets" not in arrays:
        raise UsageError(f"has {name}_{kind} but no {name}_targets")
    logits, targets = (np.asarray(arrays[f"{name}_{what}"]) for what in (kind, "targets"))
    probabilities = kind == "probs"
    if message := problem(logits, targets, probabilities=probabilities):
        raise UsageError(f"{name}_{message}")
    own = _own(arrays, name, others[0], logits.shape, targets) if others else None
    index = arrays.get(f"{name}_index")
    if index is not None:
        if index.shape != targets.shape or index.dtype.kind not in "iu":
            raise UsageError(
                f"{name}_index must be {len(targets)} integers, "
                f"got {index.dtype} of shape {index.shape}"
            )
        if len(np.unique(index)) != len(index):
            raise UsageError(f"{name}_index lists an example twice")
        index = index.astype(np.int64, copy=False)
    return Split(logits, targets.astype(np.int64, copy=False), index, probabilities, own)


def _own(
    arrays: dict[str, NDArray[Any]],
    name: str,
    kind: str,
    shape: tuple[int, ...],
    targets: NDArray[Any],
) -> Split:
    """The examples as the loss reads them."""
    rows, probabilities = np.asarray(arrays[f"{name}_{kind}"]), kind == "probs"
    if rows.shape != shape:
        raise UsageError(f"{name}_{kind} must be {shape} like {name}_logits, got {rows.shape}")
    if message := problem(rows, targets, probabilities=probabilities):
        raise UsageError(f"{name}_{kind}: {message}")
    if not probabilities:
        sums = np.exp(rows.astype(np.float64)).sum(axis=1)
        if (np.abs(sums - 1) > SUM_TOLERANCE).any():
            row = int(np.argmax(np.abs(sums - 1)))
            raise UsageError(f"{name}_{kind} must be the log of probabilities, row {row} is not")
    return Split(rows, targets.astype(np.int64, copy=False), None, probabilities)


def _kind(split: Split, name: str) -> str:
    return f"{name}_{'probs' if split.probabilities else 'logits'}"
