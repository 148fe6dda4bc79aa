"""MixUp and CutMix, drawn per image.

Both papers (Zhang et al. 2018; Yun et al. 2019) mix each batch with a permutation of itself, with
one coefficient for all its images. Here the partner of an image is any training image, and the
coefficient its own, both functions of (seed, epoch, index of the image): what an image is mixed
with does not depend on the batch that it fell into, so neither batch size, nor the number of
processes, nor the step at which a run was resumed changes it. The distribution of one mixed image
is the papers'. The partner comes as this epoch augments it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.special import betaincinv
from torch import Tensor
from torch.nn import functional as F

from experiments.randomness import Stream, integers, uniform


@dataclass(frozen=True)
class Mix:
    """What every image of an epoch is mixed with.

    Attributes:
        partner: position of the other image, int64, (N,).
        share: of the image in its target, float32, (N,); the partner has the rest.
        opacity: of the image where no box is pasted: its share (MixUp), or 1 (CutMix).
        rows: first row of the box and the one after its last, two tensors (N,); MixUp has none.
        columns: likewise.
    """

    partner: Tensor
    lam: Tensor
    opacity: Tensor
    rows: tuple[Tensor, Tensor]
    columns: tuple[Tensor, Tensor]

    def images(self, own: Tensor, other: Tensor, positions: Tensor) -> Tensor:
        """The images at some positions, mixed with their partners.

        Args:
            own: the images, float32, (n, H, W, C).
            other: their partners, likewise.
            positions: of the images, (n,).
        """
        rows, columns = (
            (first[positions], end[positions]) for first, end in (self.rows, self.columns)
        )
        weight = outside(rows, columns, own.shape) * self.opacity[positions].view(-1, 1, 1, 1)
        return torch.lerp(other, own, weight)

    def targets(self, probabilities: Tensor, positions: Tensor, classes: int) -> Tensor:
        """The targets of the images at some positions, mixed alike: float32, (n, C).

        Args:
            probabilities: of all images, float32, (N, C), or their class indices, int64, (N,).
            positions: of the images, (n,).
            classes: C.
        """
        own = as_probabilities(probabilities[positions], classes)
        other = as_probabilities(probabilities[self.partner[positions]], classes)
        return torch.lerp(other, own, self.lam[positions].view(-1, 1))


def draw(
    index: Tensor, size: tuple[int, int], seed: int, epoch: int, mixup: float, cutmix: float
) -> Mix:
    """The mixing of an epoch.

    The coefficient is drawn from Beta(alpha, alpha), by its inverse distribution function. MixUp
    gives the image that share of every pixel. CutMix pastes a box of the partner, of the image's
    shape, whose area is the rest; it is centred anywhere and cut off at the borders, and the
    share is what it leaves of the image. Where both are asked for, each image takes either with
    equal chance.

    Args:
        index: of each image in the data set as published, int64, (N,).
        size: height and width of the images.
        seed: of the run.
        epoch: counted from 0.
        mixup: alpha of MixUp, 0 for none.
        cutmix: alpha of CutMix, 0 for none; one of the two is positive.
    """

    def drawn(stream: Stream) -> Tensor:
        return uniform(seed, stream, epoch, index)

    partner = integers(len(index), seed, Stream.PARTNER, epoch, index)
    chance_of_cut = 0.0 if not cutmix else 0.5 if mixup else 1.0
    cut = drawn(Stream.MIX_KIND) < chance_of_cut
    u = drawn(Stream.MIX_LAM)
    lam = torch.where(cut, beta(cutmix, u), beta(mixup, u))
    side = torch.where(cut, (1 - lam).sqrt(), 0.0)
    height, width = size
    rows = span(integers(height, seed, Stream.BOX_Y, epoch, index), side * height, height)
    columns = span(integers(width, seed, Stream.BOX_X, epoch, index), side * width, width)
    area = (rows[1] - rows[0]) * (columns[1] - columns[0])
    lam = torch.where(cut, 1 - area / (height * width), lam)
    opacity = torch.where(cut, 1.0, lam)
    return Mix(partner, lam.float(), opacity.float(), rows, columns)


def beta(alpha: float, u: Tensor) -> Tensor:
    """Uniform numbers as draws from Beta(alpha, alpha), float64; as they are where alpha is 0."""
    if not alpha:
        return u
    quantiles: Tensor = torch.as_tensor(betaincinv(alpha, alpha, u.cpu().numpy()))
    return quantiles.to(u.device)


def span(centre: Tensor, length: Tensor | int, limit: int) -> tuple[Tensor, Tensor]:
    """First pixel and the one after the last of a stretch around ``centre``, cut off at borders.

    Args:
        centre: pixel in its middle, int64, (n,).
        length: in pixels, rounded down.
        limit: pixels that there are.
    """
    length = torch.as_tensor(length).long()
    first = centre - length // 2
    return first.clamp(0, limit), (first + length).clamp(0, limit)


def outside(
    rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor], shape: torch.Size
) -> Tensor:
    """1 for the values outside of each image's box, 0 inside: float32, (n, H, W, C).

    Args:
        rows: first row and the one after the last, each (n,).
        columns: likewise.
        shape: of the images, (n, H, W, C).
    """
    _, height, width, channels = shape
    row = torch.arange(height, device=rows[0].device)
    # A row of values, not of pixels: to broadcast along three channels is slow.
    column = torch.arange(width * channels, device=rows[0].device) // channels
    inside_rows = (row >= rows[0][:, None]) & (row < rows[1][:, None])
    inside_columns = (column >= columns[0][:, None]) & (column < columns[1][:, None])
    inside = inside_rows[:, :, None] & inside_columns[:, None, :]
    return (~inside).float().view(shape)


def as_probabilities(targets: Tensor, classes: int) -> Tensor:
    """Class indices (n,) as one-hot rows, float32, (n, C); probabilities as they are."""
    return targets if targets.is_floating_point() else F.one_hot(targets, classes).float()
