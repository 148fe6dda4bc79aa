"""Load a data set, and split, select and label its images for a run.

Images are stored as uint8. Nothing here depends on the loss. The test images are those of the
data set, less the classes left out. The training images go through these steps, which depend on
``data_seed`` alone:

1. ``--hold-out-classes`` leaves out classes, of training and test images.
2. ``--val-size`` holds out validation images, stratified by the original labels.
3. ``--imbalance`` makes the classes long-tailed, and ``--train-size`` draws a stratified subset.
   Both use the original labels.
4. ``--train-labels`` replaces the labels, ``--label-noise`` changes some of them, and
   ``--unlabelled`` hides some, in this order.
5. ``--class-weights`` counts the labels that result.

Validation and test images keep their original labels.
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
from experiments.data import class_weights, label_file, labels, open_set, selection
from experiments.machine.fingerprint import fingerprint
from experiments.randomness import Stream

_SHOWN = 5


@dataclass(frozen=True)
class Images:
    """Images with their labels.

    Attributes:
        pixels: uint8, (N, C, H, W).
        targets: class indices, int64, (N,), with -100 for no label. Training images may have
            probabilities instead, float32, (N, C).
        index: position of each image in the published data set, int64, (N,).
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
    """A data set as published: images, class names, and remarks for the user."""

    train: Images
    test: Images
    classes: tuple[str, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Data:
    """The three splits of a run, and what goes with them.

    Attributes:
        train: training images.
        val: validation images, held out from the training images of the data set.
        test: test images.
        classes: names of the classes.
        mean: per-channel mean of the training pixels, in [0, 1].
        std: their per-channel standard deviation.
        class_weights: float32, (C,), or None if all classes weigh the same.
        test_probabilities: label distributions of human annotators on the test images, float32,
            (N, C).
        notes: for the record, what happened to the labels, and the SHA-256 of the label files.
        remarks: lines that the user should read.
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
        """SHA-256 of the pixels of all splits and the labels of validation and test images."""
        digest = hashlib.sha256()
        splits = (self.train, self.val, self.test)
        for tensor in (*(split.pixels for split in splits), self.val.targets, self.test.targets):
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()


def load(config: RunConfig) -> Data:
    """Load the data set of a run; split, select and label its images.

    Raises:
        UsageError: if data or labels are missing, damaged, or too few for the split.
    """
    source, _ = published(config)
    train, val = split(source.train, config.val_size, config.data_seed)
    chosen = select(train, source.classes, config)
    train, notes = _relabelled(chosen, len(source.train), source.classes, config)
    human = None
    if path := config.test_probabilities:
        human = _test_probabilities(path, len(source.test), source.classes)
        notes["test_probabilities_sha256"] = fingerprint(path)
    mean, std = _pretrained_moments(config, train) or _moments(train.pixels)
    weights = class_weights.resolve(config.class_weights, train.targets, source.classes)
    remarks = source.remarks + _missing(train.targets, source.classes) + _sizes(config, train)
    return Data(train, val, source.test, source.classes, mean, std, weights, human, notes, remarks)


def published(config: RunConfig) -> tuple[Source, Tensor]:
    """The data set of a run without the classes that it leaves out, and their test images.

    Returns:
        The data set, and pixels of the test images of the classes left out: uint8, (M, C, H, W).

    Raises:
        UsageError: if the data are missing or damaged, or lack one of these classes.
    """
    source: Source = pkgutil.resolve_name(DATASETS[config.dataset].load)(config)
    if not config.hold_out_classes:
        return source, source.test.pixels[:0]
    left_out = open_set.positions(config.hold_out_classes, source.classes)
    train, test = (
        _without(images, left_out, len(source.classes)) for images in (source.train, source.test)
    )
    others = torch.isin(source.test.targets, torch.tensor(left_out))
    names = tuple(name for i, name in enumerate(source.classes) if i not in left_out)
    return Source(train, test, names, source.remarks), source.test.pixels[others]


def _without(images: Images, left_out: list[int], classes: int) -> Images:
    """The images of all other classes, which are numbered anew."""
    kept = [c for c in range(classes) if c not in left_out]
    renumbered = torch.full((classes,), -1).scatter(0, torch.tensor(kept), torch.arange(len(kept)))
    targets = renumbered[images.targets]
    images = Images(images.pixels, targets, images.index)
    return images.take((targets >= 0).nonzero()[:, 0])


def split(images: Images, val_size: float, split_seed: int) -> tuple[Images, Images]:
    """Hold out a stratified validation set that depends on ``split_seed`` alone.

    Each class contributes in proportion to its size, rounded so that the sizes add up.

    Raises:
        UsageError: if either split would be empty.
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
    """Select training images by ``--imbalance`` and ``--train-size``.

    Raises:
        UsageError: if a class would be empty, or if there are too few images.
    """
    if config.imbalance > 1:
        images = images.take(
            selection.long_tailed(
                images.targets, images.index, classes, config.imbalance, config.data_seed
            )
        )
    if size := config.train_size:
        if size > len(images):
            raise UsageError(f"--train-size {size}: there are only {len(images)} training images")
        images = images.take(
            selection.stratified(
                images.targets, images.index, size, config.data_seed, Stream.SUBSET
            )
        )
    return images


def _relabelled(
    images: Images, published: int, classes: tuple[str, ...], config: RunConfig
) -> tuple[Images, dict[str, Any]]:
    """Give the images the labels that the run asks for; return them with notes for the record."""
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


def _pretrained_moments(
    config: RunConfig, train: Images
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and std with which the pretrained weights were trained; None without such weights."""
    if not config.pretrained:
        return None
    known = _timm_settings(config.model)
    channels = train.pixels.shape[1]
    mean, std = (tuple(map(float, known[name])) for name in ("mean", "std"))
    if len(mean) != channels:  # timm adds up or repeats the weights of the first layer
        mean, std = ((sum(m) / len(m),) * channels for m in (mean, std))
    return mean, std


def _sizes(config: RunConfig, train: Images) -> tuple[str, ...]:
    """A remark where pretrained weights were trained on larger or smaller images."""
    if not config.pretrained:
        return ()
    there, here = _timm_settings(config.model)["input_size"][-1], train.pixels.shape[-1]
    if there == here:
        return ()
    return (
        f"{config.model} was pretrained on images of {there}x{there} pixels, and these have "
        f"{here}x{here}: --image-size {there} would fit",
    )


def _timm_settings(model: str) -> dict[str, Any]:
    import timm

    settings = timm.get_pretrained_cfg(model.removeprefix("timm:"))
    if settings is None:
        raise UsageError(f"--pretrained: timm has no weights for {model}", "pretrained")
    return vars(settings)


def _missing(targets: Tensor, classes: tuple[str, ...]) -> tuple[str, ...]:
    """A remark on classes without training images, which the network cannot learn."""
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
    """Per-channel mean and standard deviation of uint8 pixels, in units of 255."""
    # From histograms: a pixel has 256 levels, so this needs no float copy of the images.
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in pixels.unbind(1):
        counts = torch.from_numpy(np.bincount(channel.reshape(-1).numpy(), minlength=256))
        frequency = counts.double() / counts.sum()
        centre = float((frequency * levels).sum())
        mean.append(centre)
        # A constant channel has standard deviation 0, by which no one can divide.
        std.append(max(float((frequency * (levels - centre) ** 2).sum().sqrt()), 1e-3))
    return tuple(mean), tuple(std)
