"""What a loss refuses, each with the rule and the value in one line.

The checks of every call read shapes and dtypes only, so that a CUDA stream never waits for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

REDUCTIONS = ("none", "mean", "sum")
IGNORE_INDEX = -100


def check_reduction(reduction: str) -> None:
    """Raises ValueError unless ``reduction`` is none, mean or sum."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")


def check_number(name: str, value: float) -> None:
    """Raises TypeError unless ``value`` is a number (a boolean is not)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}")


def check_not_negative(name: str, value: float) -> None:
    """Raises ValueError unless ``value`` is finite and >= 0."""
    check_number(name, value)
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and >= 0, got {value}")


def check_positive(name: str, value: float) -> None:
    """Raises ValueError unless ``value`` is finite and > 0."""
    check_number(name, value)
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be finite and > 0, got {value}")


def check_smoothing(value: float) -> None:
    """Raises ValueError unless ``value`` lies in [0, 1)."""
    check_number("smoothing", value)
    if not 0 <= value < 1:
        raise ValueError(f"smoothing must be in [0, 1), got {value}")


def as_class_vector(name: str, value: Tensor | Sequence[float] | None) -> Tensor | None:
    """A setting with one number per class as a floating tensor (C,), its values checked.

    Raises:
        ValueError: if it is not one-dimensional, or holds a negative, infinite or NaN number, or
            zeros only.
    """
    if value is None:
        return None
    vector = torch.as_tensor(value)
    if not vector.is_floating_point():
        vector = vector.float()
    if vector.dim() != 1:
        raise ValueError(f"{name} must have shape (C,), got {tuple(vector.shape)}")
    check_class_values(name, vector)
    return vector


def check_class_values(name: str, vector: Tensor) -> None:
    """Raises ValueError unless all numbers are finite and >= 0, and one is > 0."""
    if vector.numel() == 0:
        raise ValueError(f"{name} must have shape (C,), got an empty tensor")
    low, high = (bound.item() for bound in vector.detach().aminmax())
    if not (low >= 0 and high < math.inf):
        raise ValueError(f"{name} must be finite and >= 0, got {vector.tolist()}")
    if high == 0:
        raise ValueError(f"{name} must not be zero for every class, got {vector.tolist()}")


def check_batch(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    *,
    probabilities: bool = True,
) -> int:
    """Checks shapes and dtypes of one call, and gives the dimension of the classes.

    Args:
        input: (N, C, d1, ...), or (C,) unbatched; floating.
        target: class indices (N, d1, ...), int64; or class probabilities of input's shape.
        weight: (C,) or None.
        ignore_index: only the default goes with probabilities.
        probabilities: whether the loss takes class probabilities.

    Returns:
        1, or 0 for the unbatched form.
    """
    if not input.is_floating_point():
        raise TypeError(f"input must be floating, got {input.dtype}")
    if input.dim() == 0:
        raise ValueError("input must have shape (N, C, ...) or (C,), got a scalar")
    dim = 1 if input.dim() > 1 else 0
    classes = input.shape[dim]
    if classes < 2:
        raise ValueError(f"a loss needs at least two classes, got input of {tuple(input.shape)}")
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"weight must have shape ({classes},), got {tuple(weight.shape)}")
    if target.is_floating_point():
        _check_probabilities(input, target, ignore_index, probabilities)
    else:
        _check_indices(input, target, dim)
    return dim


def _check_probabilities(
    input: Tensor, target: Tensor, ignore_index: int, probabilities: bool
) -> None:
    if not probabilities:
        raise TypeError(f"targets must be class indices (int64), got {target.dtype}")
    if target.shape != input.shape:
        rule = "class probabilities must have the input's shape"
        raise ValueError(f"{rule} {tuple(input.shape)}, got {tuple(target.shape)}")
    if ignore_index != IGNORE_INDEX:
        raise ValueError(f"ignore_index needs class indices as targets, got {ignore_index}")


def _check_indices(input: Tensor, target: Tensor, dim: int) -> None:
    if target.dtype != torch.int64:
        raise TypeError(f"class indices must be int64, got {target.dtype}")
    expected = input.shape[:dim] + input.shape[dim + 1 :]
    if target.shape != expected:
        rule = f"class indices must have shape {tuple(expected)} for input {tuple(input.shape)}"
        raise ValueError(f"{rule}, got {tuple(target.shape)}")
