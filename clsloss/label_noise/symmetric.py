"""Reverse and symmetric cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, class_dim, widen
from clsloss.checks import IGNORE_INDEX, check_not_negative, check_positive
from clsloss.pointwise import pointwise

LOG_ZERO = math.log(1e-4)
"""What log 0 is taken to be, as in the code of the paper."""


def reverse_cross_entropy_loss(
    input: Tensor,
    target: Tensor,
    log_zero: float = LOG_ZERO,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Reverse cross-entropy: prediction and label with their roles exchanged.

    Formula:
        -w_y A (1 - p_y)  for class indices
        -Σ_c q_c w_c A (1 - p_c)  for class probabilities

    A stands for log 0. The loss is `mae_loss` times -A / 2, so its outputs have no reading.

    Source: Wang et al. 2019, "Symmetric Cross Entropy for Robust Learning with Noisy Labels",
    arXiv:1908.06112.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        log_zero: A < 0, what the logarithm of 0 is taken to be. Public code has log 1e-4 or, in
            some, -4.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if A is not negative.

    Example:
        >>> import torch
        >>> reverse_cross_entropy_loss(torch.zeros(1, 2), torch.tensor([0]), log_zero=-4.0)
        tensor(2.)
    """
    check_log_zero(log_zero)
    batch = Batch(input, target, weight, ignore_index)
    return batch.reduce(pointwise(batch, partial(_reverse, log_zero)), reduction)


class ReverseCrossEntropyLoss(Loss, name="rce", purpose="label noise"):
    """Reverse cross-entropy of logits; see `reverse_cross_entropy_loss`."""

    reading = None

    def __init__(
        self,
        log_zero: float = LOG_ZERO,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_log_zero(log_zero)
        self.log_zero = log_zero

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The reverse cross-entropy of each example."""
        return reverse_cross_entropy_loss(input, target, self.log_zero, **self.shared)


def symmetric_cross_entropy_loss(
    input: Tensor,
    target: Tensor,
    alpha: float = 0.1,
    beta: float = 1.0,
    log_zero: float = LOG_ZERO,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Symmetric cross-entropy: cross-entropy plus `reverse_cross_entropy_loss`.

    Formula:
        w_y (-α log p_y - β A (1 - p_y))  for class indices
        Σ_c q_c w_c (-α log p_c - β A (1 - p_c))  for class probabilities

    The paper takes α = .1, β = 1 on CIFAR-10 and α = 6, β = .1 on CIFAR-100.

    Source: Wang et al. 2019, "Symmetric Cross Entropy for Robust Learning with Noisy Labels",
    arXiv:1908.06112.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        alpha: α > 0.
        beta: β >= 0.
        log_zero: A < 0, what the logarithm of 0 is taken to be. Public code has log 1e-4 or, in
            some, -4.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if α is not positive, β is negative,
            or A is not negative.

    Example:
        >>> import torch
        >>> symmetric_cross_entropy_loss(torch.zeros(1, 2), torch.tensor([0]), alpha=1.0, beta=0.0)
        tensor(0.6931)
    """
    check_positive("alpha", alpha)
    check_not_negative("beta", beta)
    check_log_zero(log_zero)
    batch = Batch(input, target, weight, ignore_index)

    def value(log_p: Tensor) -> Tensor:
        return -alpha * log_p + beta * _reverse(log_zero, log_p)

    return batch.reduce(pointwise(batch, value), reduction)


class SymmetricCrossEntropyLoss(Loss, name="sce", purpose="label noise"):
    """Symmetric cross-entropy of logits; see `symmetric_cross_entropy_loss`."""

    def __init__(
        self,
        alpha: float = 0.1,
        beta: float = 1.0,
        log_zero: float = LOG_ZERO,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_positive("alpha", alpha)
        self.alpha = alpha
        check_not_negative("beta", beta)
        self.beta = beta
        check_log_zero(log_zero)
        self.log_zero = log_zero
        if beta:
            at = f"at alpha = {alpha:g}, beta = {beta:g}, A = {log_zero:.4g}"
            self.reading = f"p / (alpha - beta A p), normalised, {at}"

    def log_probs(self, logits: Tensor) -> Tensor:
        """η_k ∝ p_k / (α - β A p_k)."""
        log_p = F.log_softmax(widen(logits), class_dim(logits))
        slope = torch.log(self.alpha - self.beta * self.log_zero * log_p.exp())
        return F.log_softmax(log_p - slope, class_dim(logits))

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The symmetric cross-entropy of each example."""
        return symmetric_cross_entropy_loss(
            input, target, self.alpha, self.beta, self.log_zero, **self.shared
        )


def _reverse(log_zero: float, log_p: Tensor) -> Tensor:
    """-A (1 - p)."""
    return log_zero * torch.expm1(log_p)


def check_log_zero(log_zero: float) -> None:
    """Raises ValueError unless A is finite and negative."""
    if not -math.inf < log_zero < 0:
        raise ValueError(f"log_zero must be finite and < 0, got {log_zero}")
