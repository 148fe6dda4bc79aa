"""Dice and Tversky losses: one minus an overlap, a ratio of sums over the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, ratio, widen
from clsloss.checks import IGNORE_INDEX, check_flag, check_not_negative, check_reduction


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
    present where Σ q > 0, and w_c is its weight in the mean over classes.

    Source: Sudre et al. 2017, "Generalised Dice Overlap as a Deep Learning Loss Function"; the
    squares are those of Milletari et al. 2016, "V-Net".

    Args:
        input: logits (N, C, d1, ...), or (C,) unbatched.
        target: class indices (N, d1, ...), or probabilities in [0, 1] of the input's shape.
        smooth: s >= 0.
        squared: squares the terms below the line: Σ p² + Σ q².
        per_image: sums over each image by itself.
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
    batch = Batch(input, target, weight, ignore_index)
    sums = _sums(*_dice_terms(batch, squared), batch, per_image)
    return _reduce(sums, smooth, batch.weight, per_image, reduction)


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
    sums = _sums(*_tversky_terms(batch, alpha, beta), batch, per_image)
    return _reduce(sums, smooth, batch.weight, per_image, reduction)


def _dice_terms(batch: Batch, squared: bool) -> tuple[Tensor, Tensor]:
    """Hits h and misses m of each class and pixel, so that the loss is Σ m / (Σ h + Σ m + s)."""
    p, q = F.softmax(batch.logits, batch.dim), batch.q
    both = 2 * p * q
    return both, (p - q).square() if squared else p + q - both


def _tversky_terms(batch: Batch, alpha: float, beta: float) -> tuple[Tensor, Tensor]:
    p, q = F.softmax(batch.logits, batch.dim), batch.q
    return p * q, alpha * p * (1 - q) + beta * (1 - p) * q


def _sums(hit: Tensor, miss: Tensor, batch: Batch, per_image: bool) -> Tensor:
    """Σ hits, Σ misses and Σ q of each class: (3, C), or (N, 3, C) per image."""
    if not batch.soft:
        miss = miss.masked_fill(batch.ignored.unsqueeze(batch.dim), 0.0)
    pixels = [*range(batch.dim + 1, hit.dim())]
    if batch.dim and not per_image:
        pixels.append(0)
    # an empty list of dimensions would sum over all of them
    sums = [term.sum(pixels) if pixels else term for term in (hit, miss, batch.q)]
    return torch.stack(sums, -2)


def _class_losses(sums: Tensor, smooth: float, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """The weighted loss of each class and its weight, both 0 where the class is absent."""
    hit, miss, count = sums.unbind(-2)
    # not (count > 0): a NaN has to show
    weights = (~(count <= 0)).to(sums.dtype)
    if weight is not None:
        weights = weights * weight.to(sums.dtype)
    return ratio(miss, hit + miss + smooth) * weights, weights


def _reduce(
    sums: Tensor, smooth: float, weight: Tensor | None, per_image: bool, reduction: str
) -> Tensor:
    check_reduction(reduction)
    values, weights = _class_losses(sums, smooth, weight)
    if per_image:
        total = weights.sum(-1)
        values, weights = ratio(values.sum(-1), total), (total > 0).to(values.dtype)
    if reduction == "none":
        return values
    return values.sum() if reduction == "sum" else ratio(values.sum(), weights.sum())


class OverlapLoss(Loss):
    """What the Dice and Tversky losses share: a ratio of sums, over the batch or over each image.

    Over the batch it has no values per example (``additive`` is false): shards are combined by
    `statistics`. Per image it has one value for each image, (N,), and is additive.
    """

    additive = False

    def __init__(
        self,
        smooth: float,
        per_image: bool,
        weight: Tensor | Sequence[float] | None,
        ignore_index: int,
        reduction: str,
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_not_negative("smooth", smooth)
        check_flag("per_image", per_image)
        self.smooth = smooth
        self.per_image = per_image
        self.additive = per_image
        self.statistics_size = (2, 0) if per_image else (0, 3)

    def terms(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Hits and misses of each class and pixel, each of the logits' shape."""
        raise NotImplementedError

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of each image, (N,); only with ``per_image``."""
        self._need_images()
        sums = self._sums(input, target)
        return _reduce(sums, self.smooth, self.weight, True, "none")

    def example_weights(self, target: Tensor) -> Tensor:
        """1 for images that show a class of weight > 0, else 0, (N,); only with ``per_image``."""
        self._need_images()
        if target.is_floating_point():
            q = widen(target)
            q = q.movedim(1, -1) if q.dim() > 1 else q
            counts = (q if self.weight is None else q * self.weight).sum(-1)
        else:
            counts = super().example_weights(target)
        total = counts.flatten(1).sum(1) if counts.dim() else counts
        return (total > 0).to(counts.dtype)

    def statistics(self, input: Tensor, target: Tensor) -> Tensor:
        """Σ hits, Σ misses and Σ q of each class, (3 C,); per image (Σ values, Σ weights)."""
        if self.per_image:
            return super().statistics(input, target)
        return self._sums(input, target).flatten()

    def from_statistics(self, statistics: Tensor) -> Tensor:
        """The loss of the batch that `statistics` were summed over."""
        if self.per_image:
            return super().from_statistics(statistics)
        return _reduce(statistics.view(3, -1), self.smooth, self.weight, False, "mean")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch, reduced over classes, or over images where ``per_image``."""
        sums = self._sums(input, target)
        return _reduce(sums, self.smooth, self.weight, self.per_image, self.reduction)

    def _sums(self, input: Tensor, target: Tensor) -> Tensor:
        batch = Batch(input, target, self.weight, self.ignore_index)
        return _sums(*self.terms(batch), batch, self.per_image)

    def _need_images(self) -> None:
        if not self.per_image:
            rule = "is a ratio of sums over the batch and has no values per example"
            raise NotImplementedError(f"{type(self).__name__} {rule}; use statistics")


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

    def terms(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Hits 2 p q and misses p + q - 2 p q, or (p - q)² where squared."""
        return _dice_terms(batch, self.squared)


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
