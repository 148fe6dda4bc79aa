"""What the Dice and Tversky losses share: one minus an overlap, a ratio of sums."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, ratio, widen
from clsloss.checks import check_flag, check_not_negative, check_reduction


def overlap_sums(hit: Tensor, miss: Tensor, batch: Batch, per_image: bool) -> Tensor:
    """Σ hits, Σ misses and Σ q of each class, over the batch or over each image.

    Args:
        hit: (N, C, d1, ...), such that a class's loss is Σ misses / (Σ hits + Σ misses + s).
        miss: likewise.
        batch: the call, for its targets.
        per_image: whether to sum each image by itself.

    Returns:
        (3, C), or (N, 3, C) per image.
    """
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


def reduce_overlap(
    sums: Tensor, smooth: float, weight: Tensor | None, per_image: bool, reduction: str
) -> Tensor:
    """The loss of the batch, or of each image, from what `overlap_sums` gives.

    Args:
        sums: (3, C), or (N, 3, C) per image.
        smooth: s >= 0.
        weight: weight of each class in the mean over classes, (C,), or None.
        per_image: whether the sums are of images.
        reduction: over classes, or over images: "mean", "sum" or "none".

    Returns:
        A scalar; for "none" (C,), 0 for absent classes, or (N,) per image.
    """
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
        return reduce_overlap(sums, self.smooth, self.weight, True, "none")

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
        return reduce_overlap(statistics.view(3, -1), self.smooth, self.weight, False, "mean")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch, reduced over classes, or over images where ``per_image``."""
        sums = self._sums(input, target)
        return reduce_overlap(sums, self.smooth, self.weight, self.per_image, self.reduction)

    def _sums(self, input: Tensor, target: Tensor) -> Tensor:
        batch = Batch(input, target, self.weight, self.ignore_index)
        return overlap_sums(*self.terms(batch), batch, self.per_image)

    def _need_images(self) -> None:
        if not self.per_image:
            rule = "is a ratio of sums over the batch and has no values per example"
            raise NotImplementedError(f"{type(self).__name__} {rule}; use statistics")
