"""Corruptions: pure functions of the image, and statistics as in another implementation."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from corruption_oracle import oracle
from PIL import Image
from sklearn.datasets import load_sample_images

from analyze.errors import UsageError
from experiments.evaluation import corruptions
from experiments.evaluation.corruptions import KINDS, SEVERITIES, corrupt

HAS_FROST = find_spec("imagecorruptions") is not None
GAUSSIAN, IMPULSE = 389322, 393298  # sums of the pixels in `test_the_bytes...`
KINDS_HERE = [kind for kind in KINDS if kind != "frost" or HAS_FROST]


def photographs(n, side=32):
    """Crops of scikit-learn's two photographs, or CIFAR-10's test images where they are."""
    if folder := os.environ.get("CIFAR10_JPEG"):
        files = sorted(Path(folder).glob("test/*/*"))
        chosen = files[:: max(1, len(files) // n)][:n]
        images = [np.asarray(Image.open(file).convert("RGB")) for file in chosen]
        return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
    rng = np.random.default_rng(0)
    large = [Image.fromarray(image).resize((320, 213)) for image in load_sample_images().images]
    made = []
    for i in range(n):
        left, top = rng.integers(0, 320 - side), rng.integers(0, 213 - side)
        made.append(np.asarray(large[i % 2].crop((left, top, left + side, top + side))))
    return np.ascontiguousarray(np.stack(made).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_an_image_is_corrupted_alike_in_any_batch(kind):
    pixels, index = photographs(7), np.array([3, 9, 4, 0, 100, 7, 8])
    whole = corrupt(pixels, index, kind, 5)
    assert whole.shape == pixels.shape
    assert whole.dtype == np.uint8
    order = np.array([5, 2, 0])
    assert (corrupt(pixels[order], index[order], kind, 5) == whole[order]).all()
    assert (whole != pixels).mean() > 0.05
    # more severe is further from the image, whatever the kind, from the first to the last
    near, far = (
        np.abs(corrupt(pixels, index, kind, s).astype(float) - pixels).mean() for s in (1, 5)
    )
    if kind not in ("elastic_transform", "glass_blur"):  # their severities are not so ordered
        assert near < far


@pytest.mark.parametrize("side", [8, 20, 48])
def test_images_of_other_sizes_are_corrupted_too(side):
    pixels = photographs(2, 32)[:, :, :side, :side] if side <= 32 else photographs(2, side)
    for kind in KINDS_HERE:
        for severity in SEVERITIES:
            made = corrupt(pixels, np.arange(len(pixels)), kind, severity)
            assert made.shape == pixels.shape


def test_the_bytes_are_those_of_every_machine():
    """Sums of a fixed image: the random numbers and the arithmetic are the same everywhere."""
    ramp = np.arange(3 * 32 * 32).astype(np.uint8).reshape(1, 3, 32, 32)
    for kind, total in (("gaussian_noise", GAUSSIAN), ("impulse_noise", IMPULSE)):
        assert int(corrupt(ramp, np.array([5]), kind, 3).sum()) == total


@pytest.mark.slow
@pytest.mark.skipif(not HAS_FROST, reason="imagecorruptions is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_the_change_is_that_of_another_implementation(kind):
    pytest.importorskip("cv2")
    pixels = photographs(2000)
    images = pixels.transpose(0, 2, 3, 1)
    np.random.seed(0)  # noqa: NPY002 (the other implementation draws from it)
    other = oracle()[kind]
    for severity in SEVERITIES:
        ours = corrupt(pixels, np.arange(len(pixels)), kind, severity).transpose(0, 2, 3, 1)
        theirs = np.stack([other(image, severity) for image in images])
        a, b = (made.astype(float) - images for made in (ours, theirs))
        print(kind, severity, a.mean(), b.mean(), a.std(), b.std())
        assert a.std() == pytest.approx(b.std(), rel=0.02)
        # two per cent, or what the draw of angles, clouds and crops leaves open
        per_image = [change.mean(axis=(1, 2, 3)).std() for change in (a, b)]
        open_ = 3 * np.hypot(*per_image) / len(images) ** 0.5
        assert a.mean() == pytest.approx(b.mean(), abs=max(0.02 * b.std(), open_))


def test_without_its_textures_frost_is_refused(monkeypatch):
    monkeypatch.setattr(corruptions, "find_spec", lambda _: None)
    corruptions._textures.cache_clear()
    with pytest.raises(UsageError, match="pip install --no-deps imagecorruptions"):
        corrupt(photographs(1), np.array([0]), "frost", 1)
    corruptions._textures.cache_clear()
