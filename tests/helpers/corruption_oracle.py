"""The corruptions of the package imagecorruptions, with the constants of CIFAR-10-C set."""

from __future__ import annotations

import re
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.evaluation.corruptions import CONSTANTS

RNG = np.random.default_rng(0)


def oracle():
    """Kind -> function of an image (H, W, 3) and a severity; from the package's own text."""
    import cv2

    folder = Path(find_spec("imagecorruptions").submodule_search_locations[0])
    text = (folder / "corruptions.py").read_text(encoding="utf-8")
    text = re.sub(
        r"c = \[.*?\]\[\s*severity - 1\]", "c = CONSTANTS[severity - 1]", text, flags=re.DOTALL
    )
    text = text.replace("np.float_", "np.float64").replace("multichannel=True", "channel_axis=-1")
    text = text.replace("from scipy.ndimage.interpolation import", "from scipy.ndimage import")
    # CIFAR-10-C enlarges by the mean of a box too.
    text = text.replace("Image.NEAREST", "Image.BOX")
    # It trims an enlarged image on both sides.
    trimmed = "    t = [(n - o) // 2 for n, o in zip(img.shape, given.shape)]\n"
    trimmed += (
        "    return img[t[0] : t[0] + given.shape[0], t[1] : t[1] + given.shape[1]]\n\ndef getO"
    )
    text = text.replace("    return img\n\ndef getO", trimmed)
    text = text.replace(
        "def clipped_zoom(img, zoom_factor):\n",
        "def clipped_zoom(img, zoom_factor):\n    given = img\n",
    )
    resource = types.ModuleType("pkg_resources")
    resource.resource_filename = lambda _, name: str(folder / name)
    sys.modules.setdefault("pkg_resources", resource)
    module = types.ModuleType("oracle")
    exec(compile(text, "oracle", "exec"), module.__dict__)

    def call(kind):
        def made(image, severity):
            module.CONSTANTS = list(CONSTANTS[kind])
            if kind == "zoom_blur":
                module.CONSTANTS = [np.arange(1, end, 0.01) for end in CONSTANTS[kind]]
            result = getattr(module, kind)(Image.fromarray(image), severity)
            return np.uint8(np.asarray(result))

        return made

    def frost(image, severity):
        of_image, of_frost = CONSTANTS["frost"][severity - 1]
        i = RNG.integers(5)
        texture = cv2.imread(str(folder / "frost" / f"frost{i + 1}.{'png' if i < 3 else 'jpg'}"))
        texture = cv2.resize(texture, (0, 0), fx=0.2, fy=0.2)
        top, left = (RNG.integers(0, size - 32) for size in texture.shape[:2])
        cut = texture[top : top + 32, left : left + 32][..., ::-1]
        return np.uint8(np.clip(of_image * image + of_frost * cut, 0, 255))

    def elastic_transform(image, severity):
        from scipy.ndimage import gaussian_filter, map_coordinates

        alpha, sigma, affine = (
            32 * constant for constant in CONSTANTS["elastic_transform"][severity - 1]
        )
        x = np.float32(image) / 255
        size, centre, square = (32, 32), np.float32([16, 16]), 10
        before = np.float32(
            [centre + square, [centre[0] + square, centre[1] - square], centre - square]
        )
        after = before + RNG.uniform(-affine, affine, before.shape).astype(np.float32)
        matrix = cv2.getAffineTransform(before, after)
        x = cv2.warpAffine(x, matrix, size, borderMode=cv2.BORDER_REFLECT_101)
        shifts = RNG.uniform(-1, 1, (2, *size))
        if sigma:
            shifts = [gaussian_filter(s, sigma, mode="reflect", truncate=3) for s in shifts]
        down, right = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
        places = (down + alpha * shifts[1], right + alpha * shifts[0])
        moved = [map_coordinates(x[..., c], places, order=1, mode="reflect") for c in range(3)]
        return np.uint8(np.clip(np.stack(moved, axis=-1), 0, 1) * 255)

    own = {"frost": frost, "elastic_transform": elastic_transform}
    return {kind: own.get(kind) or call(kind) for kind in CONSTANTS}
