"""MixUp and CutMix, drawn per image.

Both papers (Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899) mix each batch
with a permutation of itself, with one coefficient for all images. Here every image has its own
coefficient, and its partner is any training image. Both are functions of (seed, epoch, index of
the image). They do not depend on the batch, and hence not on the batch size, the number of
processes, or a resume. Each mixed image has the distribution of the papers. The partner is
augmented as in the same epoch.
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
    """How the images of an epoch are mixed.

    Attributes:
        partner: position of each image's partner, int64, (N,).
        lam: weight of the image in its target, float32, (N,); the partner has 1 - lam.
        opacity: weight of the image in pixels outside the box: lam (MixUp) or 1 (CutMix).
        rows: first row of the box and the row after its last, each (N,); empty for MixUp.
        columns: the same for columns.
    """

    partner: Tensor
    lam: Tensor
    opacity: Tensor
    rows: tuple[Tensor, Tensor]
    columns: tuple[Tensor, Tensor]

    def images(self, own: Tensor, other: Tensor, positions: Tensor) -> Tensor:
        """Mix images with their partners.

        Args:
            own: the images, float32, (n, H, W, C).
            other: their partners, float32, (n, H, W, C).
            positions: positions of the images, (n,).
        """
        rows, columns = (
            (first[positions], end[positions]) for first, end in (self.rows, self.columns)
        )
        weight = outside(rows, columns, own.shape) * self.opacity[positions].view(-1, 1, 1, 1)
        return torch.lerp(other, own, weight)

    def targets(self, probabilities: Tensor, positions: Tensor, classes: int) -> Tensor:
        """The mixed targets of images: float32, (n, C).

        Args:
            probabilities: targets of all images: probabilities, float32, (N, C), or class
                indices, int64, (N,).
            positions: positions of the images, (n,).
            classes: C.
        """
        own = as_probabilities(probabilities[positions], classes)
        other = as_probabilities(probabilities[self.partner[positions]], classes)
        return torch.lerp(other, own, self.lam[positions].view(-1, 1))


def draw(
    index: Tensor, size: tuple[int, int], seed: int, epoch: int, mixup: float, cutmix: float
) -> Mix:
    """Draw the mixing of an epoch.

    The coefficient lam is drawn from Beta(alpha, alpha) through its inverse distribution function.
    MixUp weighs every pixel of the image by lam. CutMix pastes a box of the partner that has the
    aspect ratio of the image and the fraction 1 - lam of its area. The box is centred anywhere and
    clipped at the borders; lam is then what it leaves of the image. If both are on, each image
    gets either with probability 1/2.

    Args:
        index: position of each image in the published data set, int64, (N,).
        size: height and width of the images.
        seed: seed of the run.
        epoch: counted from 0.
        mixup: alpha of MixUp, 0 for none.
        cutmix: alpha of CutMix, 0 for none. At least one of the two is positive.
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
    """Turn uniform numbers into draws from Beta(alpha, alpha), float64; alpha 0 changes none."""
    if not alpha:
        return u
    quantiles: Tensor = torch.as_tensor(betaincinv(alpha, alpha, u.cpu().numpy()))
    return quantiles.to(u.device)


def span(centre: Tensor, length: Tensor | int, limit: int) -> tuple[Tensor, Tensor]:
    """First pixel, and the pixel after the last, of a segment clipped at the borders.

    Args:
        centre: pixel in the middle of the segment, int64, (n,).
        length: length in pixels, rounded down.
        limit: number of pixels in the image.
    """
    length = torch.as_tensor(length).long()
    first = centre - length // 2
    return first.clamp(0, limit), (first + length).clamp(0, limit)


def outside(
    rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor], shape: torch.Size
) -> Tensor:
    """1 outside each image's box, 0 inside: float32, (n, H, W, C).

    Args:
        rows: first row of the box and the row after its last, each (n,).
        columns: the same for columns.
        shape: shape of the images, (n, H, W, C).
    """
    _, height, width, channels = shape
    row = torch.arange(height, device=rows[0].device)
    # Index values rather than pixels: broadcasting along three channels is slow.
    column = torch.arange(width * channels, device=rows[0].device) // channels
    inside_rows = (row >= rows[0][:, None]) & (row < rows[1][:, None])
    inside_columns = (column >= columns[0][:, None]) & (column < columns[1][:, None])
    inside = inside_rows[:, :, None] & inside_columns[:, None, :]
    return (~inside).float().view(shape)


def as_probabilities(targets: Tensor, classes: int) -> Tensor:
    """Class indices (n,) as one-hot rows, float32, (n, C); probabilities unchanged."""
    return targets if targets.is_floating_point() else F.one_hot(targets, classes).float()
