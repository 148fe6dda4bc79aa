"""One loading function per data set. `experiments.catalogue` lists them."""

from __future__ import annotations

import urllib.error

import numpy as np
import torch
from torch import Tensor

from analyze.errors import UsageError
from analyze.runs import image_files
from experiments.config import RunConfig
from experiments.data import folder
from experiments.data.datasets import Images, Source
from experiments.machine import locks


def _images(pixels: Tensor, targets: object) -> Images:
    labels = torch.as_tensor(np.asarray(targets), dtype=torch.int64)
    return Images(pixels.contiguous(), labels, torch.arange(len(labels)))


def digits(config: RunConfig) -> Source:
    """The 1,797 digits of 8x8 pixels in scikit-learn; every fourth is a test image."""
    from sklearn.datasets import load_digits

    published = load_digits()
    pixels = torch.from_numpy(np.round(published.images * (255 / 16)).astype(np.uint8))[:, None]
    targets = torch.from_numpy(published.target).long()
    test = torch.arange(len(targets)) % 4 == 3
    return Source(
        _images(pixels[~test], targets[~test]),
        _images(pixels[test], targets[test]),
        tuple("0123456789"),
    )


def cifar(config: RunConfig) -> Source:
    """CIFAR-10 or -100 (Krizhevsky 2009), downloaded and checked by torchvision."""
    from torchvision.datasets import CIFAR10, CIFAR100

    name, root = config.dataset, config.data_dir
    dataset = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    ways_out = (
        f"Put {dataset.filename} into {root} (or name another folder with --data-dir), or train "
        "on your own images with --dataset folder --data-dir DIR, or on the digits that need no "
        "download with --dataset digits."
    )
    try:
        with locks.alone(root / f".{name}.lock"):  # other runs may start the same download
            train, test = (dataset(root, train=train, download=True) for train in (True, False))
    except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        raise UsageError(
            f"{name} is not in {root} and could not be downloaded ({reason}). {ways_out}"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise UsageError(
            f"{name} in {root} is damaged or unreadable ({error}). {ways_out}"
        ) from error
    splits = [
        _images(torch.from_numpy(split.data).permute(0, 3, 1, 2), split.targets)
        for split in (train, test)
    ]
    return Source(splits[0], splits[1], tuple(train.classes))


def image_folder(config: RunConfig) -> Source:
    """``DIR/train/CLASS/*`` and ``DIR/test/CLASS/*``, the layout of ImageFolder."""
    try:
        decoded = folder.read(config.data_dir, config.image_size)
    except MemoryError as error:
        raise UsageError(
            f"--image-size {config.image_size}: memory does not hold the images ({error}): choose "
            "a smaller size"
        ) from error
    train, test = (
        _images(torch.from_numpy(decoded.pixels[split]), decoded.targets[split])
        for split in image_files.SPLITS
    )
    return Source(train, test, decoded.classes, tuple(decoded.remarks))
