"""Read labels from a file: class indices or probabilities, in the order of the data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyze.errors import UsageError
from experiments.errors import first_line

UNLABELLED = -100
# Loose enough for rows rounded to three decimals; vote counts and percentages fail.
_SUM_TOLERANCE = 1e-3


def read(option: str, path: str, images: int, classes: int, *, what: str) -> Tensor:
    """Read and check the labels in an ``.npy`` file. Nothing is unpickled.

    Args:
        option: the option that names the file, for messages.
        path: path of the file.
        images: number of images; the file has one row for each.
        classes: C.
        what: "training images" or "test images", for messages.

    Returns:
        Class indices, int64, (N,), with -100 for no label; or probabilities, float32, (N, C),
        with rows normalised to sum to 1.

    Raises:
        UsageError: if the file cannot be read, or holds anything else.
    """
    where = f"{option} {path}"
    table = _load(where, Path(path))
    if table.ndim not in (1, 2) or table.dtype.kind not in "iuf":
        raise UsageError(
            f"{where} is {table.dtype} of shape {table.shape}: expected class indices, integers "
            f"({images},), or probabilities, floating ({images}, {classes})"
        )
    if len(table) != images:
        raise UsageError(
            f"{where} has {len(table)} rows, and there are {images} {what}: one row each, in the "
            "data set's order"
        )
    if table.ndim == 1:
        return _class_indices(where, table, classes)
    return _probabilities(where, table, classes)


def _load(where: str, path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            magic = file.read(6)
            file.seek(0)
            if magic != b"\x93NUMPY":
                kind = "an .npz archive" if magic.startswith(b"PK") else "no .npy file"
                raise UsageError(f"{where} is {kind}: save one array with numpy.save")
            table: NDArray[Any] = np.load(file, allow_pickle=False)
            return table
    except OSError as error:
        raise UsageError(f"{where} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, MemoryError) as error:
        if "Object arrays" in str(error):
            raise UsageError(
                f"{where} holds pickled objects, which are not loaded: save an array of numbers"
            ) from error
        raise UsageError(f"{where} is damaged: {first_line(error)}") from error


def _class_indices(where: str, table: NDArray[Any], classes: int) -> Tensor:
    if table.dtype.kind == "f":
        raise UsageError(f"{where}: class indices must be integers, got {table.dtype}")
    wrong = ((table < 0) & (table != UNLABELLED)) | (table >= classes)
    labelled = table[table != UNLABELLED]
    if not len(labelled):
        raise UsageError(f"{where}: no image has a label, all are {UNLABELLED}")
    if wrong.any():
        row = int(wrong.argmax())
        hint = ""
        if labelled.min() == 1 and labelled.max() == classes:
            hint = f" (labels from 1 to {classes}: subtract 1, classes count from 0)"
        raise UsageError(
            f"{where}: row {row} has {table[row]}, expected a class from 0 to {classes - 1}, or "
            f"{UNLABELLED} for no label{hint}"
        )
    return torch.from_numpy(table.astype(np.int64))


def _probabilities(where: str, table: NDArray[Any], classes: int) -> Tensor:
    if table.dtype.kind != "f":
        raise UsageError(
            f"{where} is a table of {table.dtype}: probabilities must be floating, and class "
            "indices have one number a row"
        )
    if table.shape[1] != classes:
        raise UsageError(f"{where} has {table.shape[1]} columns for {classes} classes")
    p = table.astype(np.float64)
    wrong = ~((p >= 0) & (p <= 1 + _SUM_TOLERANCE))
    if wrong.any():
        row, column = divmod(int(wrong.argmax()), table.shape[1])
        raise UsageError(
            f"{where}: row {row}, column {column} has {table[row, column]:g}, expected a "
            "probability from 0 to 1"
        )
    sums = p.sum(axis=1)
    far = np.abs(sums - 1) > _SUM_TOLERANCE
    if far.any():
        row = int(far.argmax())
        raise UsageError(f"{where}: row {row} sums to {sums[row]:.6g}, expected 1")
    return torch.from_numpy((p / sums[:, None]).astype(np.float32))
