"""Checks of settings. Each error states the rule and the value in one line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import cast

import torch
from torch import Tensor

REDUCTIONS = ("none", "mean", "sum")
IGNORE_INDEX = -100


def check_reduction(reduction: str) -> None:
    """Raises ValueError unless ``reduction`` is "none", "mean" or "sum"."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")


def check_not_negative(name: str, value: float) -> None:
    """Raises TypeError unless ``value`` is a number, ValueError unless it is finite and >= 0."""
    check_number(name, value)
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and >= 0, got {value}")


def check_positive(name: str, value: float) -> None:
    """Raises TypeError unless ``value`` is a number, ValueError unless it is finite and > 0."""
    check_number(name, value)
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be finite and > 0, got {value}")


def check_fraction(name: str, value: float, *, below_one: bool = False) -> None:
    """Raises ValueError unless ``value`` is in [0, 1], or with ``below_one`` in [0, 1)."""
    check_number(name, value)
    if not 0 <= value <= 1 or (below_one and value == 1):
        raise ValueError(f"{name} must be in [0, 1{')' if below_one else ']'}, got {value}")


def check_flag(name: str, value: bool) -> None:
    """Raises TypeError unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be true or false, got {value!r}")


def check_integer(name: str, value: int) -> None:
    """Raises TypeError unless ``value`` is an integer. A boolean is not."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")


def check_class_numbers(name: str, vector: Tensor) -> None:
    """Raises ValueError unless ``vector`` (C,) is finite and >= 0, and > 0 for some class.

    It reads the values, which on CUDA waits for the device. Use it in constructors, and for
    tensors on the CPU.
    """
    if vector.dim() != 1 or len(vector) == 0:
        raise ValueError(f"{name} must have shape (C,), got {tuple(vector.shape)}")
    low, high = (bound.item() for bound in vector.detach().aminmax())
    if not (low >= 0 and high < math.inf):
        raise ValueError(f"{name} must be finite and >= 0 for every class, got {_shown(vector)}")
    if high == 0:
        raise ValueError(f"{name} must be > 0 for some class, got zeros only")


def class_numbers(name: str, value: Tensor | Sequence[float] | None) -> Tensor | None:
    """One number per class: a checked copy, a tensor (C,) of float32 or wider."""
    if value is None:
        return None
    if isinstance(value, Tensor) and value.requires_grad:
        way = "a module keeps a copy; give it to the function"
        raise ValueError(f"{name} must not require a gradient: {way}")
    try:
        vector = torch.as_tensor(value).detach().clone()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be a number for each class, got {value!r}") from error
    if vector.dtype != torch.float64:
        vector = vector.float()
    check_class_numbers(name, vector)
    return vector


def number_or_class_numbers(
    name: str, value: float | Tensor | Sequence[float] | None
) -> float | Tensor | None:
    """One checked number for all classes, or `class_numbers`."""
    if isinstance(value, str | Real):
        number = cast("float", value)
        check_not_negative(name, number)
        return number
    return class_numbers(name, cast("Tensor | Sequence[float] | None", value))


def check_number(name: str, value: float) -> None:
    """Raises TypeError unless ``value`` is a number. A boolean is not."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")


def _shown(vector: Tensor) -> str:
    wrong = vector[~((vector >= 0) & (vector < math.inf))]
    return ", ".join(f"{number:g}" for number in wrong[:3].tolist())
