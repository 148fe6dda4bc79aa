"""The Dice loss."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from clsloss.batch import Batch
from clsloss.checks import IGNORE_INDEX, check_flag, check_not_negative
from clsloss.overlap import OverlapLoss, overlap_sums, reduce_overlap


def dice_loss(
    input: Tensor,
    target: Tensor,
    smooth: float = 1.0,
    squared: bool = False,
    per_image: bool = False,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Dice loss: one minus the overlap of prediction and target, by class.

    Formula:
        1 - (Σ_c w_c D_c) / (Σ_c w_c)  over the classes present
        D_c = (2 Σ_i p_{i,c} q_{i,c} + s) / (Σ_i p_{i,c} + Σ_i q_{i,c} + s)

    The index i runs over all pixels of the batch, or with ``per_image`` over those of one image. A
    class is present if Σ_i q_{i,c} > 0. A masked class (logit -inf) has p_c = 0.

    Source: Sudre et al. 2017, "Generalised Dice Overlap as a Deep Learning Loss Function for
    Highly Unbalanced Segmentations", arXiv:1707.03237. ``squared`` is the form of Milletari et al.
    2016, "V-Net", arXiv:1606.04797.

    Args:
        input: logits (N, C, d1, ...), or (C,) unbatched.
        target: class indices (N, d1, ...), or probabilities in [0, 1] of the input's shape.
        smooth: s >= 0.
        squared: whether the denominator has Σ p² + Σ q² instead of Σ p + Σ q.
        per_image: whether to sum over each image separately. For (N, C) an example is an image of
            one pixel. It has one class, so class weights make no difference.
        weight: weight of each class in the mean over classes, (C,).
        ignore_index: the label of pixels that do not count.
        reduction: "mean", "sum" or "none", over the classes present, or with ``per_image`` over
            the images. "none" gives (C,), 0 for absent classes; with ``per_image`` (N,).

    Returns:
        A scalar, or the values for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if smooth is negative.

    Example:
        >>> import torch
        >>> dice_loss(torch.zeros(2, 2), torch.tensor([0, 1]), smooth=0.0)
        tensor(0.5000)
    """
    check_not_negative("smooth", smooth)
    check_flag("squared", squared)
    check_flag("per_image", per_image)
    batch = Batch(input, target, weight, ignore_index)
    sums = overlap_sums(batch, per_image, squared)
    return reduce_overlap(sums, _parts, smooth, batch.weight, per_image, reduction)


def _parts(both: Tensor, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    return 2 * both, predicted + true - 2 * both


class DiceLoss(OverlapLoss, name="dice", purpose="overlap"):
    """Dice loss over the batch, or over each image; see `dice_loss`."""

    def __init__(
        self,
        smooth: float = 1.0,
        squared: bool = False,
        per_image: bool = False,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(smooth, per_image, weight, ignore_index, reduction)
        check_flag("squared", squared)
        self.squared = squared

    def parts(self, both: Tensor, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        """Hits 2 Σ p q and misses Σ p + Σ q - 2 Σ p q of each class."""
        return _parts(both, predicted, true)
