"""Label relaxation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch
from clsloss.checks import IGNORE_INDEX, check_fraction
from clsloss.pointwise import pointwise


def label_relaxation_loss(
    input: Tensor,
    target: Tensor,
    alpha: float = 0.1,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Label relaxation: the distance to the nearest p with p_y >= 1 - α.

    Formula:
        0  if p_y >= 1 - α
        w_y KL(r | p)  else, with r_y = 1 - α and r_k = α p_k / (1 - p_y) for k ≠ y

    The target r depends on p. As it is the nearest of all targets with p_y >= 1 - α, the gradient
    is the same whether r is a constant or not. Every p with p_y >= 1 - α minimises the loss, so
    the outputs have no reading of their own.

    Source: Lienen and Hüllermeier 2021, "From Label Smoothing to Label Relaxation",
    doi:10.1609/aaai.v35i10.17041.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices (N, d1, ...), int64.
        alpha: α in (0, 1).
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if α is not in (0, 1).

    Example:
        >>> import torch
        >>> label_relaxation_loss(torch.zeros(1, 2), torch.tensor([0]), alpha=0.1)
        tensor(0.3681)
    """
    check_alpha(alpha)
    batch = Batch(input, target, weight, ignore_index, probabilities=False)

    def value(log_p: Tensor) -> Tensor:
        low = log_p.clamp_max(math.log1p(-alpha))
        others = torch.log(-torch.expm1(low) / alpha)
        divergence = (1 - alpha) * (math.log1p(-alpha) - low) - alpha * others
        return torch.where(log_p.exp() >= 1 - alpha, 0.0, divergence)

    return batch.reduce(pointwise(batch, value), reduction)


class LabelRelaxationLoss(Loss, name="label_relaxation", purpose="calibration"):
    """Label relaxation of logits; see `label_relaxation_loss`."""

    takes_probabilities = False
    reading = None

    def __init__(
        self,
        alpha: float = 0.1,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_alpha(alpha)
        self.alpha = alpha

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The relaxed loss of each example."""
        return label_relaxation_loss(input, target, self.alpha, **self.shared)


def check_alpha(alpha: float) -> None:
    """Raises ValueError unless α is in (0, 1)."""
    check_fraction("alpha", alpha)
    if alpha in (0, 1):
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
