"""Choose the images of each step, and augment them on the device.

The order of an epoch is a function of (seed, epoch). The augmentation of an image is a function of
(seed, epoch, index of the image). Neither depends on the loss, the number of processes, the batch
size, or a resume.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from experiments.catalogue import DATASETS
from experiments.config import RunConfig
from experiments.data.datasets import Images
from experiments.data.mixing import Mix, as_probabilities, draw, outside, span
from experiments.data.trivial import LEVELS, OPERATIONS, trivial_augment
from experiments.randomness import Stream, integers, permuted, uniform


@dataclass(frozen=True)
class Plan:
    """The batches of an epoch.

    Attributes:
        size: number of training images.
        batch_size: images in a batch, over all processes; the last batch may be smaller.
        seed: seed of the order.
    """

    size: int
    batch_size: int
    seed: int

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return -(-self.size // self.batch_size)

    def order(self, epoch: int, index: Tensor) -> Tensor:
        """Positions of the images in the order of this epoch.

        Args:
            epoch: counted from 0.
            index: position of each image in the published data set, int64, (N,).

        Returns:
            int64, (N,), on the device of ``index``. Batches are then slices of it, without a copy
            to the device, which would wait for the step before.
        """
        position = torch.empty(int(index.max()) + 1, dtype=torch.int64, device=index.device)
        position[index] = torch.arange(len(index), device=index.device)
        return position[permuted(index, self.seed, Stream.ORDER, epoch)]

    def batch(self, order: Tensor, step: int) -> Tensor:
        """The positions of batch ``step`` of the epoch."""
        return order[step * self.batch_size : (step + 1) * self.batch_size]


@dataclass(frozen=True)
class Augmentation:
    """The augmentations of a training image, in this order.

    Attributes:
        crop: width in pixels of the zero padding from which a window is cropped; 0 for none.
        flip: whether to mirror each image with probability 1/2.
        trivial: whether to apply one operation of TrivialAugment.
        cutout: side of the erased square, centred anywhere and clipped at the borders (DeVries &
            Taylor 2017, arXiv:1708.04552); 0 for none.
        mixup: alpha of MixUp; 0 for none.
        cutmix: alpha of CutMix; 0 for none.
    """

    crop: int = 0
    flip: bool = False
    trivial: bool = False
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0

    @classmethod
    def of(cls, config: RunConfig, height: int) -> Augmentation:
        """The augmentations that a run asks for, for images of this height."""
        moves = config.augment != "none"
        mirrors = config.augment == "standard" or DATASETS[config.dataset].flips
        return cls(
            crop=height // 8 if moves else 0,
            flip=moves and mirrors,
            trivial=config.augment == "trivial",
            cutout=config.cutout,
            mixup=config.mixup,
            cutmix=config.cutmix,
        )


@dataclass(frozen=True)
class _Draws:
    """The random numbers of an epoch; each tensor has one entry per image."""

    epoch: int
    window: tuple[Tensor, Tensor]
    mirrored: Tensor
    operation: Tensor
    strength: Tensor
    erased: tuple[Tensor, Tensor]
    mix: Mix | None


class Pipeline:
    """Images of one split on a device: normalised and, for training, augmented.

    All random numbers of an epoch are drawn when its first batch is requested.

    Args:
        images: the split.
        mean: per-channel mean of the training pixels, in [0, 1].
        std: their per-channel standard deviation.
        device: device of images and batches.
        classes: C; needed if targets are probabilities.
        soft: whether to return probabilities even if no images are mixed.
        augmentation: augmentation of training images; None for none.
        seed: seed of the augmentation.
    """

    def __init__(
        self,
        images: Images,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        *,
        classes: int = 0,
        soft: bool = False,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.augmentation = augmentation or Augmentation()
        self.classes, self.soft, self.seed = classes, soft, seed
        self.targets = images.targets.to(device)
        self.index = images.index.to(device)
        # Convolutions are fastest with channels last. The rows of a window are contiguous, too.
        padding = (self.augmentation.crop,) * 4
        padded = F.pad(images.pixels, padding).permute(0, 2, 3, 1).contiguous().to(device)
        height, width = images.pixels.shape[2:]
        # Every window of every image, as a view: (N, 2p + 1, 2p + 1, H, W, C).
        self._windows = padded.unfold(1, height, 1).unfold(2, width, 1).permute(0, 1, 2, 4, 5, 3)
        # Expand to the shape of an image: broadcasting along three channels is slow.
        self._mean, self._std = (
            (255 * torch.tensor(moment, device=device)).expand(height, width, -1).contiguous()
            for moment in (mean, std)
        )
        self._drawn: _Draws | None = None

    def __len__(self) -> int:
        """The number of images."""
        return len(self.targets)

    @property
    def positions(self) -> Tensor:
        """Positions of all images, on the device: int64, (N,)."""
        return torch.arange(len(self), device=self.index.device)

    def clean(self, positions: Tensor) -> Tensor:
        """Normalised images without augmentation: float32, (n, C, H, W), channels last."""
        middle = self.augmentation.crop
        pixels = self._windows[positions, middle, middle]
        return self._normalised(pixels).permute(0, 3, 1, 2)

    def augmented(self, positions: Tensor, epoch: int) -> Tensor:
        """Normalised images as augmented in this epoch: float32, (n, C, H, W), channels last."""
        draws = self._draws(epoch)
        if draws.mix is None:
            return self._unmixed(positions, draws).permute(0, 3, 1, 2)
        both = torch.cat([positions, draws.mix.partner[positions]])
        own, other = self._unmixed(both, draws).chunk(2)
        return draws.mix.images(own, other, positions).permute(0, 3, 1, 2)

    def labels(self, positions: Tensor, epoch: int) -> Tensor:
        """The targets of images in this epoch.

        Returns:
            Class indices, int64, (n,). Probabilities, float32, (n, C), if the data set has them,
            images are mixed, or ``soft`` is set.
        """
        if mix := self._draws(epoch).mix:
            return mix.targets(self.targets, positions, self.classes)
        targets = self.targets[positions]
        return as_probabilities(targets, self.classes) if self.soft else targets

    def _unmixed(self, positions: Tensor, draws: _Draws) -> Tensor:
        """Images after all augmentations except mixing: float32, (n, H, W, C)."""
        y, x = (offset[positions] for offset in draws.window)
        pixels = self._windows[positions, y, x]
        if self.augmentation.flip:
            mirrored = draws.mirrored[positions].view(-1, 1, 1, 1)
            pixels = torch.where(mirrored, pixels.flip(2), pixels)
        if self.augmentation.trivial:
            operation = draws.operation[positions]
            strength = draws.strength[positions]
            pixels = trivial_augment(pixels.permute(0, 3, 1, 2), operation, strength)
            pixels = pixels.permute(0, 2, 3, 1)
        images = self._normalised(pixels)
        if side := self.augmentation.cutout:
            y, x = (centre[positions] for centre in draws.erased)
            rows, columns = span(y, side, images.shape[1]), span(x, side, images.shape[2])
            images *= outside(rows, columns, images.shape)
        return images

    def _normalised(self, pixels: Tensor) -> Tensor:
        return pixels.float().sub_(self._mean).div_(self._std)

    def _draws(self, epoch: int) -> _Draws:
        if self._drawn is None or self._drawn.epoch != epoch:
            self._drawn = self._draw(epoch)
        return self._drawn

    def _draw(self, epoch: int) -> _Draws:
        a, index = self.augmentation, self.index
        height, width = self._mean.shape[:2]

        def draw_int(high: int, stream: Stream) -> Tensor:
            return integers(high, self.seed, stream, epoch, index)

        def coin(stream: Stream) -> Tensor:
            return uniform(self.seed, stream, epoch, index) < 0.5

        level = draw_int(LEVELS, Stream.LEVEL).float() / (LEVELS - 1)
        mixes = a.mixup or a.cutmix
        offsets = 2 * a.crop + 1
        return _Draws(
            epoch=epoch,
            window=(draw_int(offsets, Stream.CROP_Y), draw_int(offsets, Stream.CROP_X)),
            mirrored=coin(Stream.FLIP),
            operation=draw_int(len(OPERATIONS), Stream.OPERATION),
            strength=torch.where(coin(Stream.SIGN), level, -level),
            erased=(draw_int(height, Stream.CUTOUT_Y), draw_int(width, Stream.CUTOUT_X)),
            mix=draw(index, (height, width), self.seed, epoch, a.mixup, a.cutmix)
            if mixes
            else None,
        )
