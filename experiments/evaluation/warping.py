"""Random numbers for each image, and the geometry of corruptions: blurs, enlargement, sampling."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Draws:
    """The random numbers of some images: each image has its own, whatever the batch.

    Args:
        kind: the corruption.
        severity: 1 to 5.
        index: index of each image, (N,).
    """

    def __init__(self, kind: str, severity: int, index: Integers) -> None:
        digest = hashlib.sha256(f"{kind} {severity}".encode()).digest()
        key = int.from_bytes(digest[:8], "little")
        self._generators = [
            np.random.Generator(np.random.Philox(key=[key, int(i)])) for i in index
        ]

    def __getattr__(self, name: str) -> Callable[..., Floats]:
        """A method of numpy's generators, whose results for the images are stacked: (N, ...)."""

        def draw(*args: Any, **options: Any) -> Floats:  # noqa: ANN401
            return np.stack([getattr(g, name)(*args, **options) for g in self._generators])

        return draw

    def poisson(self, rates: Floats) -> Floats:
        """Poisson numbers with a rate for each pixel of each image."""
        return np.stack([g.poisson(r) for g, r in zip(self._generators, rates, strict=True)])


def gaussian(x: Floats, sigma: float) -> Floats:
    """Blur with a Gaussian."""
    blurred: Floats = ndimage.gaussian_filter(x, (0, 0, sigma, sigma), mode="nearest", truncate=4)
    return blurred


def moved(x: Floats, radius: int, sigma: float, degrees: Floats) -> Floats:
    """Blur along a line on one side: the weights of a half Gaussian, the edge repeated."""
    width = 2 * radius + 1
    weights = np.exp(-(np.arange(width) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    angles = np.deg2rad(degrees)
    height, across = x.shape[2:]
    every = np.arange(len(x))[:, None, None]
    total = np.zeros_like(x)
    for i, weight in enumerate(weights):
        down = -np.ceil(i * np.sin(angles) - 0.5).astype(int)
        right = -np.ceil(i * np.cos(angles) - 0.5).astype(int)
        rows = np.clip(np.arange(height) - down[:, None], 0, height - 1)
        columns = np.clip(np.arange(across) - right[:, None], 0, across - 1)
        taken = x[every, :, rows[:, :, None], columns[:, None, :]].transpose(0, 3, 1, 2)
        total += weight * taken
    return total


def enlarged(x: Floats, factor: float) -> Floats:
    """The middle of each image, enlarged to its size by linear interpolation."""
    rows, columns = (_interpolation(size, float(factor)) for size in x.shape[2:])
    result: Floats = rows @ x @ columns.T
    return result


@cache
def _interpolation(size: int, factor: float) -> Floats:
    """The matrix (size, size) that enlarges the middle of a line."""
    part = int(np.ceil(size / factor))
    first = (size - part) // 2
    long = round(part * factor)
    places = np.linspace(0, part - 1, long)
    low = np.minimum(np.floor(places).astype(int), max(part - 2, 0))
    matrix = np.zeros((long, size))
    matrix[np.arange(long), first + low] = 1 - (places - low)
    matrix[np.arange(long), first + np.minimum(low + 1, part - 1)] += places - low
    trim = (long - size) // 2
    result: Floats = matrix[trim : trim + size]
    return result


def sampled(x: Floats, down: NDArray[Any], right: NDArray[Any], mode: str) -> Floats:
    """The images at places (N, H, W), by bilinear interpolation."""
    height, width = x.shape[2:]
    top, left = np.floor(down).astype(int), np.floor(right).astype(int)
    below, beside = (down - top)[:, None], (right - left)[:, None]
    every = np.arange(len(x))[:, None, None]

    def at(i: int, j: int) -> Floats:
        rows, columns = _within(top + i, height, mode), _within(left + j, width, mode)
        return x[every, :, rows, columns].transpose(0, 3, 1, 2)

    upper = at(0, 0) * (1 - beside) + at(0, 1) * beside
    lower = at(1, 0) * (1 - beside) + at(1, 1) * beside
    result: Floats = upper * (1 - below) + lower * below
    return result


def _within(places: NDArray[Any], size: int, mode: str) -> NDArray[Any]:
    """Places beyond the border, reflected: about the edge pixel (mirror) or its rim (reflect)."""
    if mode == "mirror":
        period = 2 * (size - 1)
        folded = np.abs(places) % period
        result: NDArray[Any] = np.minimum(folded, period - folded)
        return result
    folded = places % (2 * size)
    return np.minimum(folded, 2 * size - 1 - folded)  # type: ignore[no-any-return]


def plasma(draws: Draws, side: int, decay: float) -> Floats:
    """Clouds by midpoint displacement, from 0 to 1: (N, side, side).

    Source: Fournier, Fussell & Carpenter 1982, "Computer Rendering of Stochastic Models".
    """
    clouds: Floats = np.zeros((len(draws.random(0)), side, side))
    step, rough = side, 100.0

    def displaced(total: Floats) -> Floats:
        return total / 4 + rough * draws.uniform(-rough, rough, total.shape[1:])

    while step >= 2:
        half = step // 2
        corners = clouds[:, ::step, ::step]
        square = corners + np.roll(corners, -1, 1)
        clouds[:, half::step, half::step] = displaced(square + np.roll(square, -1, 2))
        centres = clouds[:, half::step, half::step]
        sides = centres + np.roll(centres, 1, 1) + corners + np.roll(corners, -1, 2)
        clouds[:, ::step, half::step] = displaced(sides)
        sides = centres + np.roll(centres, 1, 2) + corners + np.roll(corners, -1, 1)
        clouds[:, half::step, ::step] = displaced(sides)
        step, rough = half, rough / decay
    clouds -= clouds.min(axis=(1, 2), keepdims=True)
    result: Floats = clouds / clouds.max(axis=(1, 2), keepdims=True)
    return result
