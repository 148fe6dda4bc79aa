"""The Tversky loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from clsloss.batch import Batch
from clsloss.checks import IGNORE_INDEX, check_not_negative
from clsloss.overlap import OverlapLoss, overlap_sums, reduce_overlap


def tversky_loss(
    input: Tensor,
    target: Tensor,
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: float = 1.0,
    per_image: bool = False,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Tversky loss: 1 - mean over classes present of (TP + s) / (TP + α FP + β FN + s).

    With TP = Σ p q, FP = Σ p (1-q), FN = Σ (1-p) q, summed as in `dice_loss`. α = β = 0.5 is
    `dice_loss` with twice the smoothing.

    Source: Salehi et al. 2017, "Tversky Loss Function for Image Segmentation".

    Args:
        input: logits (N, C, d1, ...), or (C,) unbatched.
        target: class indices (N, d1, ...), or probabilities in [0, 1] of the input's shape.
        alpha: α >= 0, the cost of a false positive.
        beta: β >= 0, the cost of a false negative.
        smooth: s >= 0.
        per_image: sums over each image by itself.
        weight: weight of each class in the mean over classes, (C,).
        ignore_index: the label whose pixels count for nothing.
        reduction: as in `dice_loss`.

    Returns:
        A scalar, or the values for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does, and for α, β or smooth < 0.

    Example:
        >>> import torch
        >>> tversky_loss(torch.zeros(2, 2), torch.tensor([0, 1]), alpha=1.0, beta=0.0, smooth=0.0)
        tensor(0.5000)
    """
    check_not_negative("alpha", alpha)
    check_not_negative("beta", beta)
    check_not_negative("smooth", smooth)
    batch = Batch(input, target, weight, ignore_index)
    sums = overlap_sums(*_tversky_terms(batch, alpha, beta), batch, per_image)
    return reduce_overlap(sums, smooth, batch.weight, per_image, reduction)


def _tversky_terms(batch: Batch, alpha: float, beta: float) -> tuple[Tensor, Tensor]:
    p, q = F.softmax(batch.logits, batch.dim), batch.q
    return p * q, alpha * p * (1 - q) + beta * (1 - p) * q


class TverskyLoss(OverlapLoss, name="tversky"):
    """Tversky loss over the batch, or over each image; see `tversky_loss`."""

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        smooth: float = 1.0,
        per_image: bool = False,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(smooth, per_image, weight, ignore_index, reduction)
        check_not_negative("alpha", alpha)
        check_not_negative("beta", beta)
        self.alpha = alpha
        self.beta = beta

    def terms(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Hits p q and misses α p (1-q) + β (1-p) q."""
        return _tversky_terms(batch, self.alpha, self.beta)
