"""Label noise and hidden labels of the training images.

Whether a label is changed or hidden, and to which class, is a function of (split_seed, index of
the image) alone. It does not depend on other options, and the images that a rate changes are a
subset of those that a higher rate changes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from analyze.errors import UsageError
from experiments.config import RunConfig
from experiments.data.label_file import UNLABELLED
from experiments.randomness import Stream, integers, uniform


def assign(targets: Tensor, index: Tensor, classes: int, config: RunConfig) -> Tensor:
    """Apply ``--label-noise`` and ``--unlabelled`` to the training targets.

    Args:
        targets: class indices, int64, (N,), or probabilities, float32, (N, C).
        index: position of each image in the published data set, int64, (N,).
        classes: C.
        config: options of the run.

    Raises:
        UsageError: if the targets are probabilities, or no label is left.
    """
    for option, rate in (
        ("--label-noise", config.label_noise),
        ("--unlabelled", config.unlabelled),
    ):
        if rate and targets.is_floating_point():
            raise UsageError(
                f"{option} {rate:g} needs class indices: --train-labels {config.train_labels} "
                "holds probabilities"
            )
    if config.label_noise:
        targets = with_noise(targets, index, classes, config.label_noise, config.data_seed)
    if config.unlabelled:
        hidden = uniform(config.data_seed, Stream.UNLABELLED, index) < config.unlabelled
        targets = targets.masked_fill(hidden, UNLABELLED)
    if not targets.is_floating_point() and not bool((targets >= 0).any()):
        raise UsageError(f"none of the {len(targets)} training images has a label")
    return targets


def with_noise(targets: Tensor, index: Tensor, classes: int, rate: float, seed: int) -> Tensor:
    """Make each label wrong with probability ``rate``, with all other classes equally likely.

    Args:
        targets: class indices, int64, (N,); -100 stays.
        index: position of each image in the published data set, int64, (N,).
        classes: C.
        rate: probability of a wrong label, in [0, 1]. A label that is redrawn and may be right
            again does not count.
        seed: seed of the noise.
    """
    wrong = uniform(seed, Stream.NOISE, index) < rate
    other = (targets + 1 + integers(classes - 1, seed, Stream.NOISE_CLASS, index)) % classes
    return torch.where(wrong & (targets >= 0), other, targets)


def class_counts(targets: Tensor, classes: int) -> Tensor:
    """Number of labels of each class; for probabilities the expected number: float64, (C,)."""
    if targets.is_floating_point():
        return targets.double().sum(0)
    return torch.bincount(targets[targets >= 0], minlength=classes).double()


def describe(targets: Tensor, published: Tensor, classes: int) -> dict[str, Any]:
    """Describe the labels, for the run's record.

    Args:
        targets: class indices, int64, (N,), or probabilities, float32, (N, C).
        published: class indices of the published data set, int64, (N,).
        classes: C.
    """
    likeliest = targets.argmax(1) if targets.is_floating_point() else targets
    labelled = likeliest >= 0
    return {
        "class_counts": [round(count, 3) for count in class_counts(targets, classes).tolist()],
        "unlabelled": int((~labelled).sum()),
        "other_than_published": int((labelled & (likeliest != published)).sum()),
    }
