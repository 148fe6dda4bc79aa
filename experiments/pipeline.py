"""Which images each step sees, and how they are augmented, on the device.

The order of an epoch is a function of (seed, epoch), an image's augmentation one of (seed, epoch,
index of the image): batches and crops are the same whatever the loss, the number of processes,
the batch size or the step at which a run was resumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from experiments.data import Images
from experiments.randomness import Stream, integers, permuted, uniform


@dataclass(frozen=True)
class Plan:
    """The batches of an epoch.

    Attributes:
        size: number of training images.
        batch_size: images in a batch, over all processes; the last batch may be smaller.
        seed: of the order.
    """

    size: int
    batch_size: int
    seed: int

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return -(-self.size // self.batch_size)

    def order(self, epoch: int, index: Tensor) -> Tensor:
        """Positions of the images in the order in which this epoch takes them.

        Args:
            epoch: counted from 0.
            index: of each image in the data set as published, int64, (N,).
        """
        position = torch.empty(int(index.max()) + 1, dtype=torch.int64)
        position[index] = torch.arange(len(index))
        return position[permuted(index, self.seed, Stream.ORDER, epoch)]

    def batch(self, order: Tensor, step: int) -> Tensor:
        """The positions of batch ``step`` of the epoch."""
        return order[step * self.batch_size : (step + 1) * self.batch_size]


class Pipeline:
    """Images of one split on a device: normalised and, for training, augmented.

    Args:
        images: the split.
        mean: of the training pixels by channel, in [0, 1].
        std: likewise.
        device: where the images are kept and batches are made.
        seed: of the augmentation.
        crop: pixels of zero padding around the image, of which a window is cropped; 0: none.
        flip: whether half of the images are mirrored.
    """

    def __init__(
        self,
        images: Images,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        *,
        seed: int = 0,
        crop: int = 0,
        flip: bool = False,
    ) -> None:
        self.seed, self.crop, self.flip = seed, crop, flip
        self.pixels = images.pixels.to(device)
        self.targets = images.targets.to(device)
        self.index = images.index.to(device)
        shape = (1, len(mean), 1, 1)
        self.mean = 255 * torch.tensor(mean, device=device).view(shape)
        self.std = 255 * torch.tensor(std, device=device).view(shape)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.targets)

    @cached_property
    def windows(self) -> Tensor:
        """Every crop of every padded image, as a view: (N, 2p + 1, 2p + 1, C, H, W)."""
        height, width = self.pixels.shape[2:]
        padded = F.pad(self.pixels, (self.crop,) * 4)
        return padded.unfold(2, height, 1).unfold(3, width, 1).permute(0, 2, 3, 1, 4, 5)

    def clean(self, positions: Tensor) -> Tensor:
        """The images as they are, normalised: float32, (n, C, H, W), channels last."""
        return self._normalised(self.pixels[positions])

    def augmented(self, positions: Tensor, epoch: int) -> Tensor:
        """The images as this epoch sees them, normalised: float32, (n, C, H, W), channels last."""
        index = self.index[positions]
        if self.crop:
            offsets = (
                integers(2 * self.crop + 1, self.seed, stream, epoch, index)
                for stream in (Stream.CROP_Y, Stream.CROP_X)
            )
            pixels = self.windows[positions, *offsets]
        else:
            pixels = self.pixels[positions]
        if self.flip:
            mirrored = uniform(self.seed, Stream.FLIP, epoch, index) < 0.5
            pixels = torch.where(mirrored.view(-1, 1, 1, 1), pixels.flip(3), pixels)
        return self._normalised(pixels)

    def _normalised(self, pixels: Tensor) -> Tensor:
        images = pixels.to(dtype=torch.float32, memory_format=torch.channels_last)
        return images.sub_(self.mean).div_(self.std)
