"""Select images of a data set, class by class.

Every selection takes the images with the smallest random keys. The key of an image is a function
of a seed and the image's index alone. A smaller selection is thus a subset of a larger one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from analyze.errors import UsageError
from experiments.randomness import Stream, bits


def stratified(labels: Tensor, index: Tensor, size: int, seed: int, stream: Stream) -> Tensor:
    """Select ``size`` images, from each class in proportion to its size.

    The numbers per class are rounded so that they add up to ``size``.

    Args:
        labels: class indices, int64, (N,).
        index: position of each image in the published data set, int64, (N,).
        size: number of images, at most N.
        seed: seed of the selection.
        stream: random stream of the selection.

    Returns:
        Positions of the selected images, ascending, int64, (size,).
    """
    counts = _apportion(torch.bincount(labels).tolist(), size)
    return _first_of_each_class(labels, index, counts, seed, stream)


def long_tailed(
    labels: Tensor, index: Tensor, classes: tuple[str, ...], ratio: float, seed: int
) -> Tensor:
    """Select an exponential long tail: `long_tail_counts` images of each class.

    Args:
        labels: class indices, int64, (N,).
        index: position of each image in the published data set, int64, (N,).
        classes: names of the classes.
        ratio: number of images of the first class over that of the last.
        seed: seed of the selection.

    Returns:
        Positions of the selected images, ascending, int64.

    Raises:
        UsageError: if a class would be empty.
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
    """Images to keep of class c: n_max ratio^(-c / (C - 1)), rounded down.

    A class with fewer images keeps all of them.

    Args:
        counts: images of each class; n_max is the largest.
        ratio: at least 1.

    Source: Cao et al. 2019, Learning Imbalanced Datasets with Label-Distribution-Aware Margin
    Loss ("exp"), arXiv:1906.07413. With 5,000 images in each of ten classes and ratio 100, this
    is CIFAR-10-LT.

    Example:
        >>> long_tail_counts([5000] * 10, ratio=100)
        [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    """
    last = len(counts) - 1
    # 5000 / 100 may evaluate to 49.999999... Add a billionth before rounding down.
    tail = [int(max(counts) * ratio ** (-c / last) + 1e-9) for c in range(len(counts))]
    return [min(n, kept) for n, kept in zip(counts, tail, strict=True)]


def _first_of_each_class(
    labels: Tensor, index: Tensor, counts: list[int], seed: int, stream: Stream
) -> Tensor:
    order = bits(seed, stream, index).argsort(stable=True)
    chosen = [order[labels[order] == c][:n] for c, n in enumerate(counts)]
    return torch.cat(chosen).sort().values


def _apportion(counts: list[int], size: int) -> list[int]:
    """Apportion ``size`` seats in proportion to the counts, by the largest-remainder method."""
    quotas = [size * count / sum(counts) for count in counts]
    seats = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(counts)), key=lambda c: seats[c] - quotas[c])
    for c in by_remainder[: size - sum(seats)]:
        seats[c] += 1
    return seats
