"""The data sets, and what a run takes of them.

All images of a data set are held as uint8; nothing here depends on the loss. The test images are
the data set's own. Of its training images, and by ``split_seed`` alone,

1. ``--val-size`` are held out for validation, stratified by the data set's own labels;
2. ``--imbalance`` leaves fewer of each further class, ``--train-size`` a stratified part of those
   that remain, both by the data set's own labels;
3. ``--train-labels`` replaces the labels of what is left, then ``--label-noise`` changes some,
   then ``--unlabelled`` hides some;
4. ``--class-weights`` counts the labels as they are now.

Validation and test images keep the labels that the data set gives them.
"""

from __future__ import annotations

import hashlib
import pkgutil
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analyze.errors import UsageError
from experiments.catalogue import DATASETS
from experiments.config import RunConfig
from experiments.data import class_weights, label_file, labels, selection
from experiments.machine.fingerprint import fingerprint
from experiments.randomness import Stream

_SHOWN = 5


@dataclass(frozen=True)
class Images:
    """Images with their labels.

    Attributes:
        pixels: uint8, (N, C, H, W).
        targets: class indices, int64, (N,), -100 where there is no label; training images may
            have probabilities instead, float32, (N, C).
        index: position of each image in the data set as published, int64, (N,).
    """

    pixels: Tensor
    targets: Tensor
    index: Tensor

    def __len__(self) -> int:
        """The number of images."""
        return len(self.targets)

    def take(self, positions: Tensor) -> Images:
        """The images at these positions."""
        return Images(self.pixels[positions], self.targets[positions], self.index[positions])


@dataclass(frozen=True)
class Source:
    """A data set as published: its images, the names of its classes, and remarks on them."""

    train: Images
    test: Images
    classes: tuple[str, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Data:
    """What a run trains on, chooses by and is tested on.

    Attributes:
        train: the training images that were not held out.
        val: those that were.
        test: the test images.
        classes: the names of the classes.
        mean: of the training pixels, by channel, in [0, 1].
        std: likewise.
        class_weights: float32, (C,), or None where classes weigh the same.
        test_probabilities: people's distributions over the test images, float32, (N, C).
        notes: what became of the labels and the SHA-256 of the label files, for the record.
        remarks: lines that whoever trains on it should read.
    """

    train: Images
    val: Images
    test: Images
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_weights: Tensor | None = None
    test_probabilities: Tensor | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def images_sha256(self) -> str:
        """Over the pixels of all three splits, and the labels of validation and test."""
        digest = hashlib.sha256()
        splits = (self.train, self.val, self.test)
        for tensor in (*(split.pixels for split in splits), self.val.targets, self.test.targets):
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()


def load(config: RunConfig) -> Data:
    """The data set of a run, split, selected and labelled.

    Raises:
        UsageError: where data or labels are missing, broken, or too few for the split.
    """
    source: Source = pkgutil.resolve_name(DATASETS[config.dataset].load)(config)
    train, val = split(source.train, config.val_size, config.split_seed)
    published = select(train, source.classes, config)
    train, notes = _relabelled(published, len(source.train), source.classes, config)
    human = None
    if path := config.test_probabilities:
        human = _test_probabilities(path, len(source.test), source.classes)
        notes["test_probabilities_sha256"] = fingerprint(path)
    mean, std = _moments(train.pixels)
    weights = class_weights.resolve(config.class_weights, train.targets, source.classes)
    remarks = source.remarks + _missing(train.targets, source.classes)
    return Data(train, val, source.test, source.classes, mean, std, weights, human, notes, remarks)


def split(images: Images, val_size: float, split_seed: int) -> tuple[Images, Images]:
    """Hold out a stratified validation set, drawn from ``split_seed`` alone.

    Each class gives its share, rounded so that the sizes add up.

    Raises:
        UsageError: if either part would have no image.
    """
    n = len(images)
    size = round(val_size * n) if val_size < 1 else int(val_size)
    if not 0 < size < n:
        raise UsageError(
            f"--val-size {val_size:g} leaves {size} of {n} training images for validation "
            f"and {n - size} for training: both need at least one"
        )
    val = selection.stratified(images.targets, images.index, size, split_seed, Stream.SPLIT)
    kept = torch.ones(n, dtype=torch.bool)
    kept[val] = False
    return images.take(kept.nonzero()[:, 0]), images.take(val)


def select(images: Images, classes: tuple[str, ...], config: RunConfig) -> Images:
    """What ``--imbalance`` and ``--train-size`` leave of the training images.

    Raises:
        UsageError: if a class would have no image, or there are not as many.
    """
    if config.imbalance > 1:
        images = images.take(
            selection.long_tailed(
                images.targets, images.index, classes, config.imbalance, config.split_seed
            )
        )
    if size := config.train_size:
        if size > len(images):
            raise UsageError(f"--train-size {size}: there are only {len(images)} training images")
        images = images.take(
            selection.stratified(
                images.targets, images.index, size, config.split_seed, Stream.SUBSET
            )
        )
    return images


def _relabelled(
    images: Images, published: int, classes: tuple[str, ...], config: RunConfig
) -> tuple[Images, dict[str, Any]]:
    """The images with the labels that the run asks for, and notes on them."""
    targets, notes = images.targets, {}
    if path := config.train_labels:
        table = label_file.read(
            "--train-labels", path, published, len(classes), what="training images"
        )
        targets = table[images.index]
        notes["train_labels_sha256"] = fingerprint(path)
    targets = labels.assign(targets, images.index, len(classes), config)
    notes |= labels.describe(targets, images.targets, len(classes))
    return replace(images, targets=targets), notes


def _missing(targets: Tensor, classes: tuple[str, ...]) -> tuple[str, ...]:
    """A remark on classes that no training image is of: the network cannot learn them."""
    counts = labels.class_counts(targets, len(classes)).tolist()
    missing = [name for name, count in zip(classes, counts, strict=True) if not count]
    if not missing:
        return ()
    more = ", ..." * (len(missing) > _SHOWN)
    names = ", ".join(missing[:_SHOWN])
    return (f"no training image is of {len(missing)} of {len(classes)} classes: {names}{more}",)


def _test_probabilities(path: str, images: int, classes: tuple[str, ...]) -> Tensor:
    option = "--test-probabilities"
    table = label_file.read(option, path, images, len(classes), what="test images")
    if not table.is_floating_point():
        raise UsageError(
            f"{option} {path} holds class indices: expected probabilities, "
            f"floating ({images}, {len(classes)})"
        )
    return table


def _moments(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of uint8 pixels by channel, in units of 255."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in pixels.unbind(1):
        counts = torch.from_numpy(np.bincount(channel.reshape(-1).numpy(), minlength=256))
        share = counts.double() / counts.sum()
        centre = float((share * levels).sum())
        mean.append(centre)
        # A constant channel has no spread to divide by.
        std.append(max(float((share * (levels - centre) ** 2).sum().sqrt()), 1e-3))
    return tuple(mean), tuple(std)
