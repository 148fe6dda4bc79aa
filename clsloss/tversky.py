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
    """Tversky loss: a Dice loss that prices false positives and false negatives separately.

    Formula:
        1 - (Σ_c w_c T_c) / (Σ_c w_c)  over the classes present
        T_c = (TP_c + s) / (TP_c + α FP_c + β FN_c + s)
        TP_c = Σ_i p_{i,c} q_{i,c}  true positives
        FP_c = Σ_i p_{i,c} (1 - q_{i,c})  false positives
        FN_c = Σ_i (1 - p_{i,c}) q_{i,c}  false negatives

    The index i runs over the same pixels as in `dice_loss`. With α = β = 0.5 this is `dice_loss`
    with twice the smoothing. A masked class (logit -inf) has p_c = 0.

    Source: Salehi et al. 2017, "Tversky Loss Function for Image Segmentation Using 3D Fully
    Convolutional Deep Networks", arXiv:1706.05721.

    Args:
        input: logits (N, C, d1, ...), or (C,) unbatched.
        target: class indices (N, d1, ...), or probabilities in [0, 1] of the input's shape.
        alpha: α >= 0, the cost of a false positive.
        beta: β >= 0, the cost of a false negative.
        smooth: s >= 0.
        per_image: whether to sum over each image separately, as in `dice_loss`.
        weight: weight of each class in the mean over classes, (C,).
        ignore_index: the label of pixels that do not count.
        reduction: as in `dice_loss`.

    Returns:
        A scalar, or the values for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if α, β or smooth is negative.

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


class TverskyLoss(OverlapLoss, name="tversky", purpose="overlap"):
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
