"""The 15 corruptions of Hendrycks & Dietterich 2019 (arXiv:1903.12261), made from test images.

The constants are those of CIFAR-10-C, for images of 32x32 pixels. A corrupted image is a pure
function of the corruption, its severity, the image and its index: the same on every machine, in
any batch. The images are generated here; the published CIFAR-10-C has other random numbers.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from analyze.errors import UsageError
from experiments.evaluation.warping import Draws, enlarged, gaussian, moved, plasma, sampled

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Pixels = NDArray[np.uint8]
SEVERITIES = (1, 2, 3, 4, 5)
_GREY = np.array([0.299, 0.587, 0.114])  # of red, green and blue (ITU-R 601)
# Corruption -> its constants at the five severities.
CONSTANTS: dict[str, tuple[Any, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": (1.06, 1.11, 1.16, 1.21, 1.26),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "elastic_transform": (
        *((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06)),
        *((0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": (80, 65, 58, 50, 40),
}
KINDS = tuple(CONSTANTS)


def corrupt(pixels: Pixels, index: Integers, kind: str, severity: int) -> Pixels:
    """Images with a corruption.

    Args:
        pixels: uint8, (N, 3, H, W).
        index: index of each image in its data set, int64, (N,).
        kind: one of KINDS.
        severity: 1 to 5.

    Returns:
        uint8, (N, 3, H, W).

    Raises:
        UsageError: for frost without its textures.
    """
    constant, draws = CONSTANTS[kind][severity - 1], Draws(kind, severity, index)
    result: NDArray[Any] = globals()[f"_{kind}"](pixels / 255, draws, constant)
    if result.dtype != np.uint8:
        # Cut off, not rounded, as in CIFAR-10-C.
        result = (np.clip(result, 0, 1) * 255).astype(np.uint8)
    return result


def _gaussian_noise(x: Floats, draws: Draws, scale: float) -> Floats:
    return x + draws.normal(0, scale, x.shape[1:])


def _shot_noise(x: Floats, draws: Draws, photons: float) -> Floats:
    return draws.poisson(x * photons) / photons


def _impulse_noise(x: Floats, draws: Draws, amount: float) -> Floats:
    """A share of the values becomes 0 or 1, each as often."""
    u = draws.random(x.shape[1:])
    return np.where(u < amount / 2, 1.0, np.where(u < amount, 0.0, x))


def _defocus_blur(x: Floats, draws: Draws, constants: tuple[float, float]) -> Floats:
    """Blur with a disk whose edge is smooth."""
    radius, smooth = constants
    reach = np.arange(-3, 4)
    disk = (reach[:, None] ** 2 + reach**2 <= radius**2).astype(float)
    taps = np.exp(-(np.arange(-1, 2) ** 2) / (2 * smooth**2))
    smoothing = np.outer(taps, taps) / taps.sum() ** 2
    kernel = ndimage.convolve(disk / disk.sum(), smoothing, mode="mirror")
    blurred: Floats = ndimage.convolve(x, kernel[None, None], mode="mirror")
    return blurred


def _glass_blur(x: Floats, draws: Draws, constants: tuple[float, int, int]) -> Floats:
    """Each pixel takes the place of a neighbour's, between two blurs."""
    sigma, reach, times = constants
    y = np.floor(gaussian(x, sigma) * 255)
    height, width = y.shape[2:]
    rows, columns = (range(n - reach, reach, -1) for n in (height, width))
    moves = draws.integers(-reach, reach, (times, len(rows), len(columns), 2))
    every = np.arange(len(y))
    for time in range(times):
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                down, right = row + moves[:, time, i, j, 1], column + moves[:, time, i, j, 0]
                y[:, :, row, column] = y[every, :, down, right]
    return gaussian(y / 255, sigma)


def _motion_blur(x: Floats, draws: Draws, constants: tuple[int, float]) -> Floats:
    radius, sigma = constants
    return moved(x, radius, sigma, draws.uniform(-45, 45))


def _zoom_blur(x: Floats, draws: Draws, furthest: float) -> Floats:
    """The mean of the image and its enlargements, in steps of a hundredth."""
    factors = np.arange(1, furthest, 0.01)
    total = sum(enlarged(x, factor) for factor in factors)
    return (x + total) / (len(factors) + 1)


def _snow(x: Floats, draws: Draws, constants: tuple[float, ...]) -> Floats:
    mean, sd, zoom, least, radius, sigma, share = constants
    layer = enlarged(draws.normal(mean, sd, (1, *x.shape[2:])), zoom)
    layer = np.where(layer < least, 0.0, layer)
    layer = np.floor(np.clip(layer, 0, 1) * 255)
    layer = np.round(moved(layer, int(radius), sigma, draws.uniform(-135, -45))) / 255
    grey = np.tensordot(x, _GREY, axes=(1, 0))[:, None]
    pale = share * x + (1 - share) * np.maximum(x, grey * 1.5 + 0.5)
    return pale + layer + layer[:, :, ::-1, ::-1]


def _frost(x: Floats, draws: Draws, constants: tuple[float, float]) -> Floats:
    of_image, of_frost = constants
    textures = _textures()
    which = draws.integers(len(textures))
    height, width = x.shape[2:]
    places = draws.random(2)
    cuts = []
    for texture, place in zip(which, places, strict=True):
        frost = textures[int(texture)]
        top, left = (
            int(share * (size - side))
            for share, size, side in zip(place, frost.shape[1:], (height, width), strict=True)
        )
        cuts.append(frost[:, top : top + height, left : left + width])
    return of_image * x + of_frost * np.stack(cuts) / 255


def _fog(x: Floats, draws: Draws, constants: tuple[float, float]) -> Floats:
    amount, decay = constants
    side = 1 << (max(x.shape[2:]) - 1).bit_length()
    fog = plasma(draws, side, decay)[:, None, : x.shape[2], : x.shape[3]]
    highest = x.max(axis=(1, 2, 3), keepdims=True)
    result: Floats = (x + amount * fog) * highest / (highest + amount)
    return result


def _brightness(x: Floats, draws: Draws, amount: float) -> Floats:
    """A higher value at the same hue and saturation."""
    value = x.max(axis=1, keepdims=True)
    raised = np.clip(value + amount, 0, 1)
    result: Floats = np.where(value > 0, x * raised / np.where(value > 0, value, 1), raised)
    return result


def _contrast(x: Floats, draws: Draws, factor: float) -> Floats:
    mean = x.mean(axis=(2, 3), keepdims=True)
    result: Floats = (x - mean) * factor + mean
    return result


def _elastic_transform(x: Floats, draws: Draws, constants: tuple[float, float, float]) -> Floats:
    """A random affine map, then a smooth random displacement of each pixel."""
    height, width = x.shape[2:]
    alpha, sigma, affine = (constant * min(height, width) for constant in constants)
    middle, square = np.array([height, width]) // 2, min(height, width) // 3
    corners = [middle + square, [middle[0] + square, middle[1] - square], middle - square]
    before = np.array(corners, dtype=np.float64)
    after = before + draws.uniform(-affine, affine, (3, 2))
    ones = np.ones((len(x), 3, 1))
    # Where each pixel of the result comes from: the inverse of the map from before to after. The
    # points are (x, y).
    origins = np.broadcast_to(before, after.shape)
    solved = np.linalg.solve(np.concatenate([after, ones], axis=2), origins)
    down, right = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    places = np.stack([right, down, np.ones_like(down)], axis=-1) @ solved[:, None]
    displaced = sampled(x, places[..., 1], places[..., 0], "mirror")
    shifts = draws.uniform(-1, 1, (2, height, width))
    if sigma:
        shifts = ndimage.gaussian_filter(shifts, (0, 0, sigma, sigma), mode="reflect", truncate=3)
    return sampled(displaced, down + alpha * shifts[:, 1], right + alpha * shifts[:, 0], "reflect")


def _pixelate(x: Floats, draws: Draws, share: float) -> Pixels:
    height, width = x.shape[2:]
    small = (int(width * share), int(height * share))
    return _by_pillow(
        x,
        lambda image: image.resize(small, Image.Resampling.BOX).resize(
            (width, height), Image.Resampling.BOX
        ),
    )


def _jpeg_compression(x: Floats, draws: Draws, quality: int) -> Pixels:
    def compressed(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return _by_pillow(x, compressed)


def _by_pillow(x: Floats, change: Callable[[Image.Image], Image.Image]) -> Pixels:
    pixels = np.round(x * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    changed = [np.asarray(change(Image.fromarray(one))) for one in pixels]
    return np.ascontiguousarray(np.stack(changed).transpose(0, 3, 1, 2))


@cache
def _textures() -> list[Floats]:
    """Photographs of frost, a fifth of their size, (3, H, W) each."""
    found = find_spec("imagecorruptions")  # not imported, for it needs more than its files
    try:
        folder = Path(((found and found.submodule_search_locations) or [""])[0], "frost")
        names = [f"frost{i}.{'png' if i <= 3 else 'jpg'}" for i in range(1, 6)]
        images = [Image.open(folder / name) for name in names]
    except OSError as error:
        raise UsageError(
            "the textures of frost are in a package: pip install --no-deps imagecorruptions; or "
            "name other kinds, as in corruptions:kinds=fog|snow"
        ) from error
    # Every fifth pixel: linear interpolation at a fifth of the size meets pixels exactly.
    return [
        np.asarray(image.convert("RGB"), dtype=np.float64)[2::5, 2::5].transpose(2, 0, 1)
        for image in images
    ]
