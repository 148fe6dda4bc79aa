"""The focal loss for several classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.checks import IGNORE_INDEX, as_class_vector, check_batch, check_not_negative
from clsloss.reduction import at_labels, poison, reduce, spread, widen


def focal_loss(
    input: Tensor,
    target: Tensor,
    gamma: float = 2.0,
    alpha: float | Tensor | None = None,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Focal loss."""
    check_not_negative("gamma", gamma)
    dim = check_batch(input, target, weight, ignore_index)
    classes = input.shape[dim]
    z = widen(input)
    scale = class_scale(alpha, weight, classes)
    if target.is_floating_point():
        values = target.to(z.dtype) * focus(-F.log_softmax(z, dim), gamma)
        if isinstance(scale, Tensor):
            scale = spread(scale, z, dim)
        values = (values * scale).sum(dim)
    else:
        values = focus(
            F.cross_entropy(z, target, ignore_index=ignore_index, reduction="none"), gamma
        )
        if isinstance(scale, Tensor):
            scale = at_labels(scale.to(z.dtype), target, ignore_index)
        values = poison(values * scale, target, classes, ignore_index)
    return reduce(values, target, weight, ignore_index, reduction)


def focus(ce: Tensor, gamma: float) -> Tensor:
    """(1-p)^γ (-log p) from -log p; its gradient is 0, not NaN, where p = 1."""
    if gamma == 0:
        return ce
    certain = ce <= 0
    safe = ce.masked_fill(certain, 1.0)
    return ((-torch.expm1(-safe)).pow(gamma) * safe).masked_fill(certain, 0.0)


def class_scale(
    alpha: float | Tensor | None, weight: Tensor | None, classes: int
) -> float | Tensor:
    """α_c w_c as one factor: a number, or a vector (C,)."""
    if isinstance(alpha, Tensor):
        if alpha.shape != (classes,):
            raise ValueError(f"alpha must have shape ({classes},), got {tuple(alpha.shape)}")
    elif alpha is not None:
        check_not_negative("alpha", alpha)
    if alpha is None:
        return 1.0 if weight is None else weight
    return alpha if weight is None else alpha * weight


class FocalLoss(Loss, name="focal"):
    """Focal loss of logits; see `focal_loss`."""

    alpha: float | Tensor | None

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float | Tensor | Sequence[float] | None = None,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_not_negative("gamma", gamma)
        self.gamma = gamma
        if alpha is None or isinstance(alpha, int | float):
            if alpha is not None:
                check_not_negative("alpha", alpha)
            self.alpha = alpha
        else:
            self.register_buffer("alpha", as_class_vector("alpha", alpha))

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of each example."""
        return focal_loss(
            input,
            target,
            self.gamma,
            self.alpha,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction="none",
        )
