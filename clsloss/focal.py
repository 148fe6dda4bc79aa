"""The focal loss: over all classes, and one class against the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, check_per_class, inner_product, least, without_impossible
from clsloss.bce import one_vs_rest, one_vs_rest_at_labels, rejection_loss
from clsloss.checks import (
    IGNORE_INDEX,
    check_fraction,
    check_not_negative,
    number_or_class_numbers,
)
from clsloss.links import focal_log_probs, one_vs_rest_log_probs


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
    """Focal loss: cross-entropy with less weight on examples that are already right.

    Formula:
        -α_y w_y (1 - p_y)^γ log p_y  for class indices
        -Σ_c q_c α_c w_c (1 - p_c)^γ log p_c  for class probabilities

    With γ = 0 and no α it is `cross_entropy`. α scales the value but not the divisor of the mean,
    as in the paper; ``weight`` does both, as in torch. The gradient at p_y = 1 is 0 for every γ;
    the textbook form gives NaN for γ < 1. A masked class (logit -inf) is treated as in
    `cross_entropy`.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", arXiv:1708.02002, extended
    from two classes to several.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        gamma: γ >= 0.
        alpha: α, a number for every class or (C,); >= 0. None is 1.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if γ is negative or NaN, or α is
            negative or not (C,).

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
    """Focal loss of object detection: a binary focal loss for each class against the rest.

    Formula:
        1 / C Σ_c w_c a_c (1 - t_c)^γ BCE(s_c, q_c)  the mean over the classes
        s_c = σ(z_c)  the probability of class c
        t_c = q_c s_c + (1 - q_c) (1 - s_c)  the probability of the right answer
        a_c = q_c α + (1 - q_c) (1 - α)  the weight of the two sides
        BCE(s, q) = -q log s - (1 - q) log(1 - s)

    Equal to torchvision's ``sigmoid_focal_loss``, averaged over the classes. A masked class (logit
    -inf) is treated as in `one_vs_rest_bce_loss`.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", arXiv:1708.02002.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices, or any q in [0, 1] of the input's shape (several classes or none
            may be true).
        gamma: γ >= 0.
        alpha: α in [0, 1], the weight of the positive term; that of the negative term is 1 - α.
            None weighs both terms 1.
        weight: (C,), multiplies the term of its class.
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if γ is negative or NaN, or α is
            outside [0, 1].

    Example:
        >>> import torch
        >>> sigmoid_focal_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        tensor(0.0866)
    """
    check_not_negative("gamma", gamma)
    if alpha is not None:
        check_fraction("alpha", alpha)
    batch = Batch(input, target, weight, ignore_index)
    if not batch.soft:
        positive, negative = (None, 1.0) if alpha is None else (alpha, 1 - alpha)
        rejection = partial(_focal_rejection, gamma) if gamma else rejection_loss
        values = one_vs_rest_at_labels(batch, rejection, positive, negative)
        return batch.reduce(values, reduction)
    z, q = batch.logits, batch.q
    factor: Tensor | float = 1.0
    if gamma:
        # 1 - t as a weighted mean of 1 - s and s: the difference would round to 0 at t near 1
        factor = power((1 - q) * z.sigmoid() + q * (-z).sigmoid(), gamma)
    if alpha is not None:
        factor = factor * (q * (2 * alpha - 1) + (1 - alpha))
    if not isinstance(factor, Tensor):
        return batch.reduce(one_vs_rest(batch, q), reduction)
    return batch.reduce(one_vs_rest(batch, factor * q, factor), reduction)


def _focal_rejection(gamma: float, z: Tensor) -> Tensor:
    """-σ(z)^γ log σ(-z), the binary focal loss of a class that is not true."""
    rejection = rejection_loss(z)
    # log σ(z) = z + log σ(-z). The power of σ(z) itself has infinite derivatives at 0 for γ < 2.
    return torch.exp(gamma * (z - rejection)) * rejection


def _focus(log_p: Tensor, gamma: float) -> Tensor | float:
    """(1 - p)^γ, by expm1: at p near 1 the difference would round to 0."""
    return power(-torch.expm1(log_p), gamma) if gamma else 1.0


def power(miss: Tensor, gamma: float) -> Tensor:
    """miss^γ, clamped so that its derivatives stay finite at miss = 0 for γ < 2."""
    return miss.clamp_min(least(miss)).pow(gamma)


def _class_scale(alpha: float | Tensor | None, batch: Batch) -> Tensor | float | None:
    """α_c w_c, shaped to broadcast along the classes; a number; or None for 1."""
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
    """Focal loss of logits with class indices or probabilities; see `focal_loss`."""

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
        if gamma:
            self.reading = f"the closed-form link of the focal loss at gamma = {gamma:g}"

    def log_probs(self, logits: Tensor) -> Tensor:
        """By `focal_log_probs`; α of each class is not undone, nor are class weights."""
        return focal_log_probs(logits, self.gamma)

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The focal loss of each example."""
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
        odds = 1.0 if alpha is None else alpha / (1 - alpha) if alpha < 1 else math.inf
        self._odds = odds
        if not 0 < odds < math.inf:
            self.reading = None
        elif gamma:
            link = f"the link of its binary focal loss at gamma = {gamma:g}"
            self.reading = f"each class by {link}, normalised"
        else:
            self.reading = "the sigmoid of each class, normalised"

    def log_probs(self, logits: Tensor) -> Tensor | None:
        """Each class against the rest by its own link, normalised; None if α is 0 or 1."""
        if self.reading is None:
            return None
        return one_vs_rest_log_probs(logits, self.gamma, self._odds)

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The binary focal loss of each example, averaged over the classes."""
        return sigmoid_focal_loss(input, target, self.gamma, self.alpha, **self.shared)
