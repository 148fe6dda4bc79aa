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
    """Dice loss: 1 - mean over classes present of (2 Σ p q + s) / (Σ p + Σ q + s).

    The sums run over the whole batch and its pixels, or over the pixels of each image. A class is
    present where Σ q > 0, and w_c is its weight in the mean over classes. A masked class, of logit
    -inf, has p_c = 0.

    Source: Sudre et al. 2017, "Generalised Dice Overlap as a Deep Learning Loss Function"; the
    squares are those of Milletari et al. 2016, "V-Net".

    Args:
        input: logits (N, C, d1, ...), or (C,) unbatched.
        target: class indices (N, d1, ...), or probabilities in [0, 1] of the input's shape.
        smooth: s >= 0.
        squared: squares the terms below the line: Σ p² + Σ q².
        per_image: sums over each image by itself. An example of (N, C) is an image of one pixel,
            whose one label leaves the class weights nothing to weigh.
        weight: weight of each class in the mean over classes, (C,).
        ignore_index: the label whose pixels count for nothing.
        reduction: over the classes present, or over the images where ``per_image``: "mean", "sum"
            or "none". The values are (C,), 0 for absent classes, or (N,) with ``per_image``.

    Returns:
        A scalar, or the values for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does, and for smooth < 0.

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


class DiceLoss(OverlapLoss, name="dice"):
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
