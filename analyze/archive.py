"""Loads saved predictions without trusting the file."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from analyze.predictions import Integers, check


@dataclass(frozen=True)
class Split:
    """Logits (N, C), targets (N,) and, where they were saved, the examples' indices (N,)."""

    logits: NDArray[Any]
    targets: Integers
    index: Integers | None


@dataclass(frozen=True)
class Predictions:
    """The test split, and the validation split where there is one."""

    test: Split
    val: Split | None


def load_predictions(path: Path) -> Predictions:
    """Reads `test_logits, test_targets`, and `val_...` and `..._index` where present, of an npz.

    Nothing is unpickled.

    Raises:
        ValueError: One line with what is wrong: no such file, not an npz, truncated, pickled,
            `test_logits` missing, arrays that `analyze.predictions.check` refuses, or splits with
            different numbers of classes.
    """
    arrays = load_arrays(path)
    if "test_logits" not in arrays:
        raise ValueError(f"has no test_logits; it holds: {', '.join(arrays) or 'nothing'}")
    test = _split(arrays, "test")
    val = _split(arrays, "val") if "val_logits" in arrays else None
    if val is not None and val.logits.shape[1] != test.logits.shape[1]:
        raise ValueError(
            f"val_logits have {val.logits.shape[1]} classes, test_logits {test.logits.shape[1]}"
        )
    return Predictions(test, val)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file by name; nothing is unpickled.

    Raises:
        ValueError: One line with what is wrong with the file.
    """
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("is no npz file, or a truncated one")
            file.seek(0)
            return _arrays(file)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from error


def _arrays(file: BinaryIO) -> dict[str, NDArray[Any]]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if "Object arrays" in str(error):
            raise ValueError("holds pickled objects, which are not loaded") from error
        raise ValueError(f"is a damaged npz file: {error}") from error
    except (MemoryError, OverflowError, NotImplementedError) as error:
        raise ValueError(f"has an array that cannot be loaded: {error}") from error


def _split(arrays: dict[str, NDArray[Any]], name: str) -> Split:
    if f"{name}_targets" not in arrays:
        raise ValueError(f"has {name}_logits but no {name}_targets")
    try:
        logits, targets = check(arrays[f"{name}_logits"], arrays[f"{name}_targets"])
    except ValueError as error:
        raise ValueError(f"{name}_{error}") from error
    index = arrays.get(f"{name}_index")
    if index is not None:
        if index.shape != targets.shape or index.dtype.kind not in "iu":
            raise ValueError(
                f"{name}_index must be {len(targets)} integers, "
                f"got {index.dtype} of shape {index.shape}"
            )
        if len(np.unique(index)) != len(index):
            raise ValueError(f"{name}_index names an example twice")
        index = index.astype(np.int64, copy=False)
    return Split(logits, targets, index)
