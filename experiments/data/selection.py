"""Choosing images of a data set, class by class.

Every choice takes the images with the smallest random keys, and the key of an image is a function
of a seed and the image's index alone: of two choices that differ in size, the smaller one is part
of the larger one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from analyze.errors import UsageError
from experiments.randomness import Stream, bits


def stratified(labels: Tensor, index: Tensor, size: int, seed: int, stream: Stream) -> Tensor:
    """``size`` images, each class with its share, rounded so that the shares add up.

    Args:
        labels: class indices, int64, (N,).
        index: of each image in the data set as published, int64, (N,).
        size: how many, up to N.
        seed: of the choice.
        stream: likewise.

    Returns:
        Their positions, ascending, int64, (size,).
    """
    shares = _apportion(torch.bincount(labels).tolist(), size)
    return _first_of_each_class(labels, index, shares, seed, stream)


def long_tailed(
    labels: Tensor, index: Tensor, classes: tuple[str, ...], ratio: float, seed: int
) -> Tensor:
    """The images of an exponential long tail, `long_tail_counts` of them.

    Args:
        labels: class indices, int64, (N,).
        index: of each image in the data set as published, int64, (N,).
        classes: their names.
        ratio: of the first class's images to the last one's.
        seed: of the choice.

    Returns:
        Their positions, ascending, int64.

    Raises:
        UsageError: if nothing would be left of a class.
    """
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    kept = long_tail_counts(counts, ratio)
    if 0 in kept:
        raise UsageError(
            f"--imbalance {ratio:g} leaves no image of class {classes[kept.index(0)]!r}: "
            f"the largest class has {max(counts)} training images"
        )
    return _first_of_each_class(labels, index, kept, seed, Stream.IMBALANCE)


def long_tail_counts(counts: list[int], ratio: float) -> list[int]:
    """Images left of each class, n_max ratio^(-c / (C - 1)), rounded down.

    Where a class has fewer to begin with, it keeps them all.

    Args:
        counts: images of each class; n_max is the largest.
        ratio: at least 1.

    Source: Cao et al. 2019, Learning Imbalanced Datasets with Label-Distribution-Aware Margin
    Loss ("exp"); with 5,000 images of each of ten classes and ratio 100, CIFAR-10-LT.

    Example:
        >>> long_tail_counts([5000] * 10, ratio=100)
        [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    """
    last = len(counts) - 1
    # 5000 / 100 may come out as 49.999999...: a billionth is no image.
    tail = [int(max(counts) * ratio ** (-c / last) + 1e-9) for c in range(len(counts))]
    return [min(n, kept) for n, kept in zip(counts, tail, strict=True)]


def _first_of_each_class(
    labels: Tensor, index: Tensor, counts: list[int], seed: int, stream: Stream
) -> Tensor:
    order = bits(seed, stream, index).argsort(stable=True)
    chosen = [order[labels[order] == c][:n] for c, n in enumerate(counts)]
    return torch.cat(chosen).sort().values


def _apportion(counts: list[int], size: int) -> list[int]:
    """``size`` seats in proportion to the counts, by largest remainders."""
    exact = [size * count / sum(counts) for count in counts]
    shares = [int(quota) for quota in exact]
    by_remainder = sorted(range(len(counts)), key=lambda c: shares[c] - exact[c])
    for c in by_remainder[: size - sum(shares)]:
        shares[c] += 1
    return shares
