"""Batches, crops, mirrors and erased squares, as properties of what comes out."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from experiments.config import RunConfig
from experiments.data import datasets
from experiments.data.datasets import Images
from experiments.data.pipeline import Augmentation, Pipeline, Plan

CPU = torch.device("cpu")
AS_BYTES = ((0.0,), (1 / 255,))  # mean and std that leave pixels as they are


def random_images(n, size=8, channels=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(
        1, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator
    )
    return Images(pixels, torch.arange(n) % 10, torch.arange(n))


def pipeline(images, seed=0, **augmentation):
    mean, std = (moment * images.pixels.shape[1] for moment in AS_BYTES)
    return Pipeline(
        images, mean, std, CPU, classes=10, augmentation=Augmentation(**augmentation), seed=seed
    )


def everything(pipe, epoch=0):
    return pipe.augmented(torch.arange(len(pipe)), epoch)


# ------------------------------------------------------------------------------------- the batches


@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 3))
def test_an_epoch_sees_every_image_once(n, batch_size, epoch):
    plan = Plan(n, batch_size, seed=1)
    order = plan.order(epoch, torch.arange(n))
    batches = [plan.batch(order, step).tolist() for step in range(plan.steps)]
    assert sorted(i for batch in batches for i in batch) == list(range(n))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= batch_size


def test_the_order_is_that_of_the_larger_set_without_the_images_left_out():
    index = torch.arange(100)
    kept = index[index % 3 > 0]
    whole = index[Plan(100, 16, seed=0).order(2, index)].tolist()
    part = kept[Plan(len(kept), 16, seed=0).order(2, kept)].tolist()
    assert part == [i for i in whole if i % 3]


# ------------------------------------------------------------------------------ crops and mirrors


def test_normalised_training_pixels_have_mean_0_and_std_1():
    loaded = datasets.load(RunConfig(dataset="digits"))
    pipe = Pipeline(loaded.train, loaded.mean, loaded.std, CPU)
    images = pipe.clean(torch.arange(len(pipe)))
    assert images.dtype == torch.float32
    assert float(images.double().mean()) == pytest.approx(0, abs=1e-5)
    assert float(images.double().std()) == pytest.approx(1, abs=1e-3)


def test_channels_are_normalised_each_by_its_own_and_come_channels_last():
    images = random_images(5, channels=3)
    mean, std = (0.1, 0.5, 0.7), (0.2, 0.3, 0.4)
    out = Pipeline(images, mean, std, CPU).clean(torch.tensor([4, 2]))
    assert out.is_contiguous(memory_format=torch.channels_last)
    for c in range(3):
        expected = (images.pixels[[4, 2], c].double() / 255 - mean[c]) / std[c]
        assert torch.allclose(out[:, c].double(), expected, atol=1e-5)


def windows(image, padding):
    """Every crop of a zero-padded image (C, H, W), and its mirror: {bytes: (y, x, mirrored)}."""
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    size = image.shape[1]
    found = {}
    for y in range(2 * padding + 1):
        for x in range(2 * padding + 1):
            window = padded[:, y : y + size, x : x + size]
            found[window.tobytes()] = (y, x, False)
            found[window[:, :, ::-1].tobytes()] = (y, x, True)
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_every_augmented_image_is_one_of_its_windows_all_as_likely(channels):
    images = random_images(4000, size=4, channels=channels)
    out = everything(pipeline(images, crop=1, flip=True)).round().to(torch.uint8).numpy()
    drawn = Counter(
        windows(image, 1)[augmented.tobytes()]
        for image, augmented in zip(images.pixels.numpy(), out, strict=True)
    )
    assert len(drawn) == 3 * 3 * 2
    assert stats.chisquare(list(drawn.values())).pvalue > 1e-3


@pytest.mark.parametrize(
    "augmentation",
    [
        {"crop": 2, "flip": True},
        {"crop": 2, "flip": True, "trivial": True, "cutout": 3},
        {"crop": 2, "flip": True, "mixup": 0.4, "cutmix": 1.0},
    ],
)
@settings(deadline=None, max_examples=25)
@given(drawn=st.data())
def test_an_image_is_augmented_alike_in_any_batch(augmentation, drawn):
    pipe = pipeline(random_images(40, channels=3), **augmentation)
    epoch = drawn.draw(st.integers(0, 2))
    whole, labels = everything(pipe, epoch), pipe.labels(torch.arange(40), epoch)
    order = torch.tensor(drawn.draw(st.permutations(range(40))))
    cuts = sorted(drawn.draw(st.sets(st.integers(1, 39))))
    for start, end in pairwise([0, *cuts, 40]):
        positions = order[start:end]
        assert torch.equal(pipe.augmented(positions, epoch), whole[positions])
        assert torch.equal(pipe.labels(positions, epoch), labels[positions])


def test_an_image_is_augmented_alike_whichever_others_there_are():
    images = random_images(60, channels=3)
    kept = torch.arange(60)[::4]
    options = {"crop": 2, "flip": True, "trivial": True, "cutout": 3}
    whole = everything(pipeline(images, **options))
    assert torch.equal(everything(pipeline(images.take(kept), **options)), whole[kept])


def test_epochs_and_seeds_differ_and_come_back():
    images = random_images(50)
    pipe = pipeline(images, crop=2, flip=True)
    first, second = everything(pipe, 0), everything(pipe, 1)
    other = everything(pipeline(images, seed=1, crop=2, flip=True), 0)
    # 50 images, each with 50 windows: some stay as they were, most do not.
    for different in (second, other):
        assert (first != different).flatten(1).any(1).float().mean() > 0.8
    assert torch.equal(everything(pipe, 0), first)


def test_clean_images_are_not_augmented():
    images = random_images(10, channels=3)
    pipe = pipeline(images, crop=2, flip=True, trivial=True, cutout=4, mixup=1)
    assert torch.equal(pipe.clean(torch.arange(10)).round().to(torch.uint8), images.pixels)


# ----------------------------------------------------------------------------------------- cutout


@pytest.mark.parametrize("side", [1, 3, 4, 8])
def test_cutout_erases_one_square_cut_off_at_the_borders(side):
    images = random_images(3000, size=8, channels=2)
    erased = everything(pipeline(images, cutout=side)) == 0
    assert torch.equal(erased[:, 0], erased[:, 1])
    kept = everything(pipeline(images, cutout=side))[~erased]
    assert torch.equal(kept, everything(pipeline(images))[~erased])
    rows, columns = erased[:, 0].any(2), erased[:, 0].any(1)
    assert torch.equal(erased[:, 0], rows[:, :, None] & columns[:, None, :])
    for stretch in (rows, columns):
        lengths = stretch.sum(1)
        assert int(lengths.max()) == side
        assert int(lengths.min()) == side - side // 2 if side < 8 else 4
        assert (stretch.int().diff(dim=1).abs().sum(1) <= 2).all(), "it is in one piece"


def test_squares_are_centred_anywhere_with_equal_chance():
    erased = everything(pipeline(random_images(20_000, size=8), cutout=1)) == 0
    counts = erased[:, 0].sum(0).flatten().numpy()
    assert counts.sum() == 20_000
    assert stats.chisquare(counts).pvalue > 1e-3


# ------------------------------------------------------------------------------- what runs ask for


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Augmentation(crop=4, flip=True)),
        ({"augment": "none"}, Augmentation()),
        ({"dataset": "digits"}, Augmentation(crop=4)),
        ({"dataset": "digits", "augment": "standard"}, Augmentation(crop=4, flip=True)),
        ({"augment": "trivial"}, Augmentation(crop=4, flip=True, trivial=True)),
        ({"dataset": "digits", "augment": "trivial"}, Augmentation(crop=4, trivial=True)),
        (
            {"augment": "none", "cutout": 8, "mixup": 0.2, "cutmix": 1.0},
            Augmentation(cutout=8, mixup=0.2, cutmix=1.0),
        ),
    ],
)
def test_options_become_augmentations(options, expected):
    assert Augmentation.of(RunConfig(**options), height=32) == expected
