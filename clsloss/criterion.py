"""Criteria of other people: what `create` wraps around them, and what they declare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from clsloss.batch import class_dim

Criterion = Callable[..., Any]


class Bound(nn.Module):
    """A function with its settings.

    Args:
        function: ``function(input, target, **settings)``.
        settings: its keyword arguments.
        weight: class weights (C,) for its argument ``weight``, kept as a buffer; None for its
            default.
    """

    weight: Tensor | None

    def __init__(
        self, function: Criterion, settings: dict[str, Any], weight: Tensor | None = None
    ) -> None:
        super().__init__()
        self.function = function
        self.settings = settings
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Any:  # noqa: ANN401
        """The function's value."""
        weights = {} if self.weight is None else {"weight": self.weight}
        return self.function(input, target, **self.settings, **weights)

    def extra_repr(self) -> str:
        """The function's name and its settings."""
        name = getattr(self.function, "__qualname__", repr(self.function))
        return ", ".join([name, *(f"{key}={value}" for key, value in self.settings.items())])


class OneHot(nn.Module):
    """A criterion that takes only probabilities. Class indices become one-hot rows.

    Args:
        criterion: ``criterion(input, target)`` with targets of the input's shape.
    """

    def __init__(self, criterion: Criterion) -> None:
        super().__init__()
        self.criterion = criterion

    def forward(self, input: Tensor, target: Tensor) -> Any:  # noqa: ANN401
        """The criterion's value."""
        if not target.is_floating_point():
            dim = class_dim(input)
            hot = F.one_hot(target, input.shape[dim]).movedim(-1, dim)
            target = hot.to(input.dtype)
        return self.criterion(input, target)


class OverClasses(nn.Module):
    """A criterion with one value per example and class, reduced over the classes.

    Args:
        criterion: ``criterion(input, target)`` returns (N, C, d1, ...).
        how: "mean" or "sum".
    """

    def __init__(self, criterion: Criterion, how: str) -> None:
        super().__init__()
        self.criterion = criterion
        self.how = how

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The mean or sum over the classes, (N, d1, ...)."""
        values: Tensor = self.criterion(input, target)
        dim = class_dim(input)
        return values.mean(dim) if self.how == "mean" else values.sum(dim)

    def extra_repr(self) -> str:
        """How it reduces."""
        return f"how={self.how!r}"


def unwrapped(criterion: Any) -> Any:  # noqa: ANN401
    """The criterion itself, without `OneHot` and `OverClasses` around it."""
    while isinstance(criterion, OneHot | OverClasses):
        criterion = criterion.criterion
    return criterion


def declared(criterion: object, name: str, default: object) -> Any:  # noqa: ANN401
    """An attribute of the criterion, or of the function that `Bound` holds."""
    criterion = unwrapped(criterion)
    if isinstance(criterion, Bound):
        criterion = criterion.function
    return getattr(criterion, name, default)


def match_class_numbers(criterion: object, input: Tensor) -> None:
    """Moves a criterion's class weights and counts to the input's dtype and device.

    These are all floating tensors (C,) that are not parameters, whether buffers or plain
    attributes.
    """
    shape = (input.shape[class_dim(input)],)
    criterion = unwrapped(criterion)
    for part in criterion.modules() if isinstance(criterion, nn.Module) else [criterion]:
        kept = {**getattr(part, "__dict__", {}), **getattr(part, "_buffers", {})}
        for name, value in kept.items():
            if not isinstance(value, Tensor) or isinstance(value, nn.Parameter):
                continue
            differs = (value.dtype, value.device) != (input.dtype, input.device)
            if differs and value.is_floating_point() and value.shape == shape:
                setattr(part, name, value.to(input))
