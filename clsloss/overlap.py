"""What the Dice and Tversky losses share: one minus an overlap, which is a ratio of sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, least, ratio, widen
from clsloss.checks import check_flag, check_not_negative, check_reduction

Parts = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps Σ p q, Σ p and Σ q to hits h and misses m of a class. Its loss is m / (h + m + s)."""


def overlap_sums(batch: Batch, per_image: bool, squared: bool = False) -> Tensor:
    """Σ p q, Σ p and Σ q of each class, over the batch or over each image.

    Args:
        batch: the call; ignored pixels do not count.
        per_image: whether to sum over each image separately.
        squared: whether to sum p² and q² instead of p and q.

    Returns:
        (3, C), or (N, 3, C) per image.
    """
    p = F.softmax(batch.logits, batch.dim)
    pixels = [*range(batch.dim + 1, p.dim())]
    if batch.dim and not per_image:
        pixels.append(0)

    def total(term: Tensor) -> Tensor:
        # torch takes an empty list of dimensions to mean all of them
        return term.sum(pixels) if pixels else term

    if batch.soft:
        both, true = p * batch.q, batch.q.square() if squared else batch.q
    else:
        if batch.has_ignored:
            p = p.masked_fill(batch.ignored.unsqueeze(batch.dim), 0.0)
        true = batch.q
        both = torch.zeros_like(p).scatter(
            batch.dim, batch.index, p.gather(batch.dim, batch.index)
        )
    predicted = p.square() if squared else p
    return torch.stack([total(both), total(predicted), total(true)], -2)


def reduce_overlap(
    sums: Tensor,
    parts: Parts,
    smooth: float,
    weight: Tensor | None,
    per_image: bool,
    reduction: str,
) -> Tensor:
    """The loss of the batch, or of each image, from the sums of `overlap_sums`.

    Args:
        sums: (3, C), or (N, 3, C) per image.
        parts: computes hits and misses from the sums.
        smooth: s >= 0.
        weight: weight of each class in the mean over classes, (C,), or None.
        per_image: whether the sums are those of single images.
        reduction: over classes, or over images: "mean", "sum" or "none".

    Returns:
        A scalar; for "none" (C,), 0 for absent classes, or (N,) per image.
    """
    check_reduction(reduction)
    both, predicted, true = sums.unbind(-2)
    # <= 0, not ~(> 0): a class with NaN targets counts as present, so that the NaN shows
    absent = true <= 0
    weights = (~absent).to(sums.dtype)
    if weight is not None:
        weights = weights * weight.to(sums.dtype)
    hit, miss = parts(both, predicted, true)
    divisor = (hit + miss + smooth).clamp_min(least(sums)).masked_fill(absent, math.inf)
    values = miss / divisor * weights
    if per_image:
        total = weights.sum(-1)
        values, weights = ratio(values.sum(-1), total), (total > 0).to(values.dtype)
    if reduction == "none":
        return values
    return values.sum() if reduction == "sum" else ratio(values.sum(), weights.sum())


class OverlapLoss(Loss):
    """A ratio of sums over the batch or over each image: the base of `DiceLoss` and `TverskyLoss`.

    Over the batch there are no values per example: ``additive`` is false, and `statistics`
    combines shards. Per image there is one value for each image, (N,), and the loss is additive.
    """

    additive = False
    reading = None
    squared: bool = False

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

    def parts(self, both: Tensor, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        """Hits and misses of each class, from Σ p q, Σ p and Σ q."""
        raise NotImplementedError

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of each image, (N,). Only with ``per_image``."""
        self._need_images()
        return self._reduce(self._sums(input, target), "none")

    def example_weights(self, target: Tensor) -> Tensor:
        """1 for images with a class of weight > 0, else 0: (N,). Only with ``per_image``."""
        self._need_images()
        if target.is_floating_point():
            q = widen(target)
            q = q.movedim(1, -1) if q.dim() > 1 else q
            counts = (q if self.weight is None else q * self.weight).sum(-1)
        else:
            counts = super().example_weights(target)
        if counts.dim() > 1:
            counts = counts.flatten(1).sum(1)
        return (counts > 0).to(counts.dtype)

    def statistics(self, input: Tensor, target: Tensor) -> Tensor:
        """Σ p q, Σ p and Σ q of each class, (3 C,); with ``per_image`` (Σ values, Σ weights)."""
        if self.per_image:
            return super().statistics(input, target)
        return self._sums(input, target).flatten()

    def from_statistics(self, statistics: Tensor) -> Tensor:
        """The loss of the batch that `statistics` were summed over."""
        if self.per_image:
            return super().from_statistics(statistics)
        return self._reduce(statistics.view(3, -1), "mean")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch, reduced over classes, or with ``per_image`` over images."""
        return self._reduce(self._sums(input, target), self.reduction)

    def _sums(self, input: Tensor, target: Tensor) -> Tensor:
        batch = Batch(input, target, self.weight, self.ignore_index)
        return overlap_sums(batch, self.per_image, self.squared)

    def _reduce(self, sums: Tensor, reduction: str) -> Tensor:
        return reduce_overlap(
            sums, self.parts, self.smooth, self.weight, self.per_image, reduction
        )

    def _need_images(self) -> None:
        if not self.per_image:
            rule = "is a ratio of sums over the batch and has no values per example"
            raise NotImplementedError(f"{type(self).__name__} {rule}; use statistics")
