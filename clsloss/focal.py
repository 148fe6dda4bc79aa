"""The focal loss over classes, and the binary one of each class against the rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, check_per_class, inner_product, least, without_impossible
from clsloss.bce import one_vs_rest
from clsloss.checks import (
    IGNORE_INDEX,
    check_fraction,
    check_not_negative,
    number_or_class_numbers,
)


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
    """Focal loss: α_y w_y (1-p_y)^γ (-log p_y), or Σ_c q_c of that for class probabilities q.

    γ = 0 is `cross_entropy`. α scales the value and is not in the divisor of the mean (the
    paper's meaning); ``weight`` is in it (torch's meaning). The gradient at p_y = 1 is 0 for every
    γ, where the naive form gives NaN for γ < 1. A masked class, of logit -inf, is as in
    `cross_entropy`.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", for several classes.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        gamma: γ >= 0.
        alpha: α, a number for every class or (C,); >= 0. None is 1.
        weight: class weights (C,).
        ignore_index: the label whose examples count for nothing.
        reduction: "mean" (Σ values / Σ w_y; / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does, and for γ < 0 or NaN, α < 0 or not (C,).

    Example:
        >>> import torch
        >>> focal_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]), gamma=2.0)
        tensor(0.1733)
    """
    check_not_negative("gamma", gamma)
    batch = Batch(input, target, weight, ignore_index)
    scale = _class_scale(alpha, batch)
    if batch.soft:
        q = batch.q if scale is None else batch.q * scale
        log_p = F.log_softmax(batch.logits, batch.dim)
        values = -inner_product(q * _focus(log_p, gamma), log_p, batch.dim)
    else:
        ce = F.cross_entropy(batch.logits, target, ignore_index=ignore_index, reduction="none")
        if scale is not None:
            scale = batch.at_labels(scale.flatten()) if isinstance(scale, Tensor) else scale
            ce = without_impossible(scale, ce)
        values = _focus(-ce, gamma) * ce
        if scale is not None:
            values = scale * values
    return batch.reduce(values, reduction)


def sigmoid_focal_loss(
    input: Tensor,
    target: Tensor,
    gamma: float = 2.0,
    alpha: float | None = 0.25,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Binary focal loss, one class against the rest: (1/C) Σ_c w_c α_t (1-p_t)^γ BCE(p_c, q_c).

    With p = σ(z), p_t = q p + (1-q)(1-p) and α_t = q α + (1-q)(1-α), as torchvision has it. A
    masked class, of logit -inf, is as in `one_vs_rest_bce_loss`.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection".

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices, or any q in [0, 1] of the input's shape (several classes, or none).
        gamma: γ >= 0.
        alpha: α in [0, 1], the share of the positive term; None weighs both terms 1.
        weight: (C,), multiplies the term of its class.
        ignore_index: the label whose examples count for nothing.
        reduction: "mean" (Σ values / Σ w_y; / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does, and for γ < 0 or NaN, α outside [0, 1].

    Example:
        >>> import torch
        >>> sigmoid_focal_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        tensor(0.0866)
    """
    check_not_negative("gamma", gamma)
    if alpha is not None:
        check_fraction("alpha", alpha)
    batch = Batch(input, target, weight, ignore_index)
    z, q = batch.logits, batch.q
    factor: Tensor | float = 1.0
    if gamma:
        # 1 - p_t, between 1 - p and p, without a difference that rounds to 0
        factor = _power((1 - q) * z.sigmoid() + q * (-z).sigmoid(), gamma)
    if alpha is not None:
        factor = factor * (q * (2 * alpha - 1) + (1 - alpha))
    if not isinstance(factor, Tensor):
        return batch.reduce(one_vs_rest(batch, q), reduction)
    return batch.reduce(one_vs_rest(batch, factor * q, factor), reduction)


def _focus(log_p: Tensor, gamma: float) -> Tensor | float:
    """(1-p)^γ."""
    return _power(-torch.expm1(log_p), gamma) if gamma else 1.0


def _power(miss: Tensor, gamma: float) -> Tensor:
    """miss^γ, with finite derivatives at miss = 0, where for γ < 2 the power has none."""
    return miss.clamp_min(least(miss)).pow(gamma)


def _class_scale(alpha: float | Tensor | None, batch: Batch) -> Tensor | float | None:
    """α_c w_c: shaped to broadcast along the classes, one number, or None for 1."""
    weight = None if batch.weight is None else batch.spread(batch.weight)
    if alpha is None:
        return weight
    if isinstance(alpha, Tensor):
        check_per_class("alpha", alpha, batch.classes)
        alpha = batch.spread(alpha)
    else:
        check_not_negative("alpha", alpha)
    return alpha if weight is None else alpha * weight


class FocalLoss(Loss, name="focal"):
    """Focal loss of logits to class indices or probabilities; see `focal_loss`."""

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
        self.keep("alpha", number_or_class_numbers("alpha", alpha))

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """α_y w_y (1-p_y)^γ (-log p_y) of each example."""
        return focal_loss(input, target, self.gamma, self.alpha, **self.shared)


class SigmoidFocalLoss(Loss, name="sigmoid_focal"):
    """Binary focal loss of each class against the rest; see `sigmoid_focal_loss`."""

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float | None = 0.25,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_not_negative("gamma", gamma)
        if alpha is not None:
            check_fraction("alpha", alpha)
        self.gamma = gamma
        self.alpha = alpha

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The mean over classes of the binary focal loss, of each example."""
        return sigmoid_focal_loss(input, target, self.gamma, self.alpha, **self.shared)
