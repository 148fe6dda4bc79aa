"""TrivialAugment's operations are torchvision's, applied to many images at once."""

import numpy as np
import pytest
import torch
from scipy import stats
from test_pipeline import everything, pipeline, random_images
from torchvision.transforms.v2 import TrivialAugmentWide

from experiments.data.trivial import LEVELS, OPERATIONS, trivial_augment

NUMBERS = {name: i for i, name in enumerate(OPERATIONS)}
GEOMETRY = {"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"}
SPACE = TrivialAugmentWide._AUGMENTATION_SPACE


def smooth_images(n, channels):
    """Gradients and blobs over most of the range, as photographs have."""
    noise = torch.rand(n, channels, 5, 5, generator=torch.Generator().manual_seed(channels))
    large = torch.nn.functional.interpolate(noise, size=32, mode="bicubic").clamp(0, 1)
    return (large * 200 + 20).to(torch.uint8)


def theirs(image, name, level, sign):
    magnitudes, signed = SPACE[name]
    values = magnitudes(LEVELS, *image.shape[-2:])
    magnitude = 0.0 if values is None else float(values[level])
    return TrivialAugmentWide()._apply_image_or_video_transform(
        image, name, magnitude * (sign if signed else 1), interpolation="nearest", fill={}
    )


def test_the_operations_are_those_of_the_paper():
    assert set(OPERATIONS) == set(SPACE)
    assert LEVELS == 31


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_torchvisions(name, channels):
    # Not 15 and 16, where rounding makes torchvision's shift of 16 pixels one of 15, and its
    # threshold of 119 one of 120.
    cases = [(level, sign) for level in (0, 1, 7, 14, 22, 30) for sign in (-1, 1)]
    images = smooth_images(len(cases), channels)
    strength = torch.tensor([sign * level / (LEVELS - 1) for level, sign in cases])
    ours = trivial_augment(images, torch.full((len(cases),), NUMBERS[name]), strength)
    for image, result, (level, sign) in zip(images, ours, cases, strict=True):
        expected = theirs(image, name, level, sign)
        difference = (result.int() - expected.int()).abs()
        if name in GEOMETRY:
            # Where a centre falls on the line between two pixels, either may be taken.
            assert (difference > 0).float().mean() < 0.02, (level, sign)
        else:
            assert int(difference.max()) <= 1, (level, sign)


def test_images_go_through_their_own_operations():
    images = smooth_images(64, 3)
    generator = torch.Generator().manual_seed(0)
    operation = torch.randint(len(OPERATIONS), (64,), generator=generator)
    strength = 2 * torch.rand(64, generator=generator) - 1
    together = trivial_augment(images, operation, strength)
    for i in range(64):
        alone = trivial_augment(images[i : i + 1], operation[i : i + 1], strength[i : i + 1])
        assert torch.equal(together[i], alone[0])


def test_the_images_given_are_not_written_to():
    images = smooth_images(28, 3)
    before = images.clone()
    trivial_augment(images, torch.arange(28) % 14, torch.full((28,), 0.7))
    assert torch.equal(images, before)


def test_small_images_move_at_most_their_own_width():
    image = torch.full((1, 1, 8, 8), 200, dtype=torch.uint8)
    for fraction, left in ((0.5, 4), (0.25, 6), (1.0, 0)):
        strength = torch.tensor([fraction])
        moved = trivial_augment(image, torch.tensor([NUMBERS["TranslateX"]]), strength)
        assert int((moved > 0).sum()) == 8 * left


def test_operations_levels_and_signs_are_drawn_with_equal_chance():
    draws = pipeline(random_images(30_000), trivial=True)._draws(0)
    operations = np.bincount(draws.operation, minlength=len(OPERATIONS))
    assert stats.chisquare(operations).pvalue > 1e-3
    levels = np.bincount((draws.strength.abs() * (LEVELS - 1)).round().long(), minlength=LEVELS)
    assert stats.chisquare(levels).pvalue > 1e-3
    assert float((draws.strength > 0).float().mean()) == pytest.approx(0.5 * 30 / 31, abs=0.02)


def test_most_images_are_changed_and_some_are_left_as_they_are():
    images = random_images(500, size=32, channels=3)
    changed = (everything(pipeline(images, trivial=True)) != everything(pipeline(images))).flatten(
        1
    )
    # Identity is one of 14; at strength 0 nine others do nothing either.
    assert 0.8 < float(changed.any(1).float().mean()) < 0.97
