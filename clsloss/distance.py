"""Squared and absolute distance between predicted and target probabilities."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch
from clsloss.checks import IGNORE_INDEX


def brier_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Brier score: the squared error of the probabilities, in [0, 2] before weights.

    Formula:
        v Σ_c (p_c - q_c)²
        v = w_y  for class indices
        v = (Σ_c w_c q_c) / (Σ_c q_c)  for class probabilities

    A masked class (logit -inf) has p_c = 0.

    Source: Brier 1950, "Verification of Forecasts Expressed in Terms of Probability",
    doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices, or probabilities in [0, 1] of the input's shape.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does.

    Example:
        >>> import torch
        >>> brier_loss(torch.tensor([[0.25, 0.75]]).log(), torch.tensor([1]))
        tensor(0.1250)
    """
    batch = Batch(input, target, weight, ignore_index)
    p = F.softmax(batch.logits, batch.dim)
    if batch.soft:
        error = p - batch.q
    else:
        error = p.scatter_add(batch.dim, batch.index, -torch.ones_like(p.narrow(batch.dim, 0, 1)))
    return _weighted(error.square().sum(batch.dim), batch, reduction)


def mae_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Absolute error of the probabilities, in [0, 2] before weights.

    Formula:
        v Σ_c |p_c - q_c|
        v = w_y  for class indices, where the sum is 2 (1 - p_y)
        v = (Σ_c w_c q_c) / (Σ_c q_c)  for class probabilities

    A masked class (logit -inf) has p_c = 0.

    Source: Ghosh et al. 2017, "Robust Loss Functions under Label Noise for Deep Neural Networks",
    arXiv:1712.09482.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices, or probabilities in [0, 1] of the input's shape.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does.

    Example:
        >>> import torch
        >>> mae_loss(torch.tensor([[0.25, 0.75]]).log(), torch.tensor([1]))
        tensor(0.5000)
    """
    batch = Batch(input, target, weight, ignore_index)
    if batch.soft:
        values = (F.softmax(batch.logits, batch.dim) - batch.q).abs().sum(batch.dim)
    else:
        # 1 - p_y by expm1: at p_y near 1 the difference would round to 0
        ce = F.cross_entropy(batch.logits, target, ignore_index=ignore_index, reduction="none")
        values = -2 * torch.expm1(-ce)
    return _weighted(values, batch, reduction)


def _weighted(values: Tensor, batch: Batch, reduction: str) -> Tensor:
    if not batch.soft:
        values = values.masked_fill(batch.ignored, 0.0)
    return batch.reduce(batch.weigh(values), reduction)


class BrierLoss(Loss, name="brier"):
    """Brier score, the squared error of the probabilities; see `brier_loss`."""

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The Brier score of each example."""
        return brier_loss(input, target, **self.shared)


class MAELoss(Loss, name="mae", purpose="label noise"):
    """Absolute error of the probabilities; see `mae_loss`."""

    reading = None

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The absolute error of each example."""
        return mae_loss(input, target, **self.shared)
