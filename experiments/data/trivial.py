"""TrivialAugment: one random operation of random strength per image.

Source: Müller & Hutter 2021, arXiv:2103.10158. This is the "wide" space of table 2, as in
torchvision's TrivialAugmentWide: 14 operations, 31 strengths, and a random sign if the operation
has one. All images of a batch with the same operation go through it together, on their device.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 31
_LUMA = (0.2989, 0.587, 0.114)

Operation = Callable[[Tensor, Tensor], Tensor]


def trivial_augment(pixels: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    """Apply its operation to each image.

    On a GPU this waits for the device, to learn how many images have each operation.

    Args:
        pixels: uint8, (n, C, H, W).
        operation: index of each image's operation in `OPERATIONS`, int64, (n,).
        strength: signed, in [-1, 1], float32, (n,).

    Returns:
        A new tensor, uint8, (n, C, H, W).
    """
    order = operation.argsort(stable=True)
    sizes = operation.bincount(minlength=len(OPERATIONS)).tolist()
    groups = torch.split(pixels[order], sizes), torch.split(strength[order], sizes)
    changed = [
        apply(images, strengths)
        for apply, images, strengths in zip(OPERATIONS.values(), *groups, strict=True)
        if len(images)
    ]
    result = torch.empty_like(pixels)
    result[order] = torch.cat(changed)
    return result


def identity(pixels: Tensor, strength: Tensor) -> Tensor:
    """Leave the images unchanged."""
    return pixels


# ------------------------------------------------------------------------------------- geometry


def warp(pixels: Tensor, matrix: Tensor) -> Tensor:
    """Warp images by nearest-neighbour sampling, with black outside the image.

    Args:
        pixels: uint8, (n, C, H, W).
        matrix: map from output coordinates (x, y, 1) to source coordinates, float32, (n, 2, 3).
            The origin is the upper left corner of the image, the unit is a pixel.
    """
    height, width = pixels.shape[2:]
    columns = torch.arange(width, device=pixels.device) + 0.5
    rows = torch.arange(height, device=pixels.device)[:, None] + 0.5

    def source(axis: int) -> Tensor:
        # Avoid a matrix product, whose rounding may depend on the number of images.
        a, b, c = (matrix[:, axis, i].view(-1, 1, 1) for i in range(3))
        return (a * columns + (b * rows + c)).floor_()

    x, y = source(0), source(1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    place = ((y * width + x) * inside).long().flatten(1)
    flat = pixels.flatten(2)
    taken = flat.gather(2, place[:, None].expand_as(flat)) * inside.flatten(1)[:, None]
    return taken.view_as(pixels)


def _affine(strength: Tensor, **entries: Tensor | float) -> Tensor:
    """Identity matrices (n, 2, 3) with some entries replaced; ``a01`` is row 0, column 1."""
    matrix = torch.eye(2, 3, device=strength.device).repeat(len(strength), 1, 1)
    for name, value in entries.items():
        row, column = int(name[1]), int(name[2])
        matrix[:, row, column] = value
    return matrix


def shear_x(pixels: Tensor, strength: Tensor) -> Tensor:
    """Shift each row in proportion to its distance from the top, by up to 0.99 pixels a row."""
    return warp(pixels, _affine(strength, a01=0.99 * strength))


def shear_y(pixels: Tensor, strength: Tensor) -> Tensor:
    """Shift each column in proportion to its distance from the left edge."""
    return warp(pixels, _affine(strength, a10=0.99 * strength))


def translate_x(pixels: Tensor, strength: Tensor) -> Tensor:
    """Shift by up to 32 pixels, or the width of smaller images."""
    reach = min(32, pixels.shape[3])
    return warp(pixels, _affine(strength, a02=-(reach * strength).trunc()))


def translate_y(pixels: Tensor, strength: Tensor) -> Tensor:
    """Shift by up to 32 pixels, or the height of smaller images."""
    reach = min(32, pixels.shape[2])
    return warp(pixels, _affine(strength, a12=-(reach * strength).trunc()))


def rotate(pixels: Tensor, strength: Tensor) -> Tensor:
    """Rotate counter-clockwise about the centre, by up to 135 degrees."""
    angle = math.radians(135) * strength
    cos, sin = angle.cos(), angle.sin()
    y, x = (side / 2 for side in pixels.shape[2:])
    return warp(
        pixels,
        _affine(
            strength,
            a00=cos,
            a01=-sin,
            a02=x - cos * x + sin * y,
            a10=sin,
            a11=cos,
            a12=y - sin * x - cos * y,
        ),
    )


# ---------------------------------------------------------------------------------------- colour


def blend(pixels: Tensor, plain: Tensor, strength: Tensor) -> Tensor:
    """Move each image towards a plain version of it, or away from it for positive strength."""
    factor = (1 + 0.99 * strength).view(-1, 1, 1, 1)
    return (factor * pixels + (1 - factor) * plain).clamp(0, 255).to(torch.uint8)


def grey(pixels: Tensor) -> Tensor:
    """Luma of ITU-R BT.601, rounded down: float32, (n, 1, H, W)."""
    if pixels.shape[1] != 3:
        return pixels[:, :1].float()
    red, green, blue = (pixels[:, i : i + 1] * weight for i, weight in enumerate(_LUMA))
    return (red + green + blue).floor()


def brightness(pixels: Tensor, strength: Tensor) -> Tensor:
    """Blend with black."""
    return blend(pixels, torch.zeros((), device=pixels.device), strength)


def color(pixels: Tensor, strength: Tensor) -> Tensor:
    """Blend with the greyscale image."""
    return blend(pixels, grey(pixels), strength)


def contrast(pixels: Tensor, strength: Tensor) -> Tensor:
    """Blend with the mean grey of the image."""
    return blend(pixels, grey(pixels).mean((1, 2, 3), keepdim=True).floor(), strength)


def sharpness(pixels: Tensor, strength: Tensor) -> Tensor:
    """Blend with a smoothed image, whose border pixels are not smoothed."""
    channels = pixels.shape[1]
    kernel = torch.ones(channels, 1, 3, 3, device=pixels.device) / 13
    kernel[:, :, 1, 1] = 5 / 13
    smooth = pixels.float()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(pixels.float(), kernel, groups=channels).round()
    return blend(pixels, smooth, strength)


def posterize(pixels: Tensor, strength: Tensor) -> Tensor:
    """Keep only the upper 8 to 2 bits of each value."""
    dropped = (6 * strength.abs()).round().to(torch.uint8).view(-1, 1, 1, 1)
    return (pixels >> dropped) << dropped


def solarize(pixels: Tensor, strength: Tensor) -> Tensor:
    """Invert values at or above a threshold, which falls from 255 to 0 with the strength."""
    # At level 16 the threshold is 119, which 255 (1 - 16 / 30) may exceed by rounding.
    threshold = (255 * (1 - strength.abs()) - 1e-3).view(-1, 1, 1, 1)
    return torch.where(pixels >= threshold, 255 - pixels, pixels)


def autocontrast(pixels: Tensor, strength: Tensor) -> Tensor:
    """Stretch each channel to the full range."""
    from torchvision.transforms.v2.functional import autocontrast_image

    result: Tensor = autocontrast_image(pixels)
    return result


def equalize(pixels: Tensor, strength: Tensor) -> Tensor:
    """Equalise the histogram of each channel."""
    from torchvision.transforms.v2.functional import equalize_image

    result: Tensor = equalize_image(pixels)
    return result


OPERATIONS: dict[str, Operation] = {
    "Identity": identity,
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
    "Rotate": rotate,
    "Brightness": brightness,
    "Color": color,
    "Contrast": contrast,
    "Sharpness": sharpness,
    "Posterize": posterize,
    "Solarize": solarize,
    "AutoContrast": autocontrast,
    "Equalize": equalize,
}
