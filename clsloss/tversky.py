"""The Tversky loss."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from clsloss.batch import Batch
from clsloss.checks import IGNORE_INDEX, check_flag, check_not_negative
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
    `dice_loss` with twice the smoothing. A masked class, of logit -inf, has p_c = 0.

    Source: Salehi et al. 2017, "Tversky Loss Function for Image Segmentation".

    Args:
        input: logits (N, C, d1, ...), or (C,) unbatched.
        target: class indices (N, d1, ...), or probabilities in [0, 1] of the input's shape.
        alpha: α >= 0, the cost of a false positive.
        beta: β >= 0, the cost of a false negative.
        smooth: s >= 0.
        per_image: sums over each image by itself, as in `dice_loss`.
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
    check_flag("per_image", per_image)
    batch = Batch(input, target, weight, ignore_index)
    sums = overlap_sums(batch, per_image)
    parts = partial(_parts, alpha, beta)
    return reduce_overlap(sums, parts, smooth, batch.weight, per_image, reduction)


def _parts(
    alpha: float, beta: float, both: Tensor, predicted: Tensor, true: Tensor
) -> tuple[Tensor, Tensor]:
    return both, alpha * (predicted - both) + beta * (true - both)


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

    def parts(self, both: Tensor, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        """Hits TP = Σ p q and misses α FP + β FN of each class."""
        return _parts(self.alpha, self.beta, both, predicted, true)
