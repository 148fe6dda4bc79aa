"""MixUp and CutMix: images and targets are mixed alike, in the papers' proportions."""

import numpy as np
import pytest
import torch
from scipy import stats
from test_pipeline import CPU, everything, pipeline, random_images

from experiments.data.datasets import Images
from experiments.data.mixing import beta
from experiments.data.pipeline import Augmentation, Pipeline

N = 4000


def shares(labels, targets):
    """The share of each image's own class in its target."""
    return targets[torch.arange(len(labels)), labels]


def distinct(n, size=8):
    """Every image a colour and a class of its own, so that a mixture tells what it is made of."""
    pixels = torch.arange(n).view(n, 1, 1, 1).expand(n, 1, size, size)
    return Images(pixels.to(torch.uint8), torch.arange(n), torch.arange(n))


def mixed_distinct(n=250, size=8, **alphas):
    images = distinct(n, size)
    pipe = Pipeline(
        images, (0.0,), (1 / 255,), CPU, classes=n, augmentation=Augmentation(**alphas)
    )
    out, targets = everything(pipe), pipe.labels(torch.arange(n), 0)
    partner = targets.clone()
    partner[torch.arange(n), torch.arange(n)] = -1
    return out[:, 0], targets, partner.argmax(1)


@pytest.mark.parametrize(
    "alphas", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 0.3, "cutmix": 2.0}]
)
def test_targets_are_probabilities_of_at_most_two_classes(alphas):
    _, targets, _ = mixed_distinct(**alphas)
    assert targets.dtype == torch.float32
    assert torch.allclose(targets.sum(1), torch.ones(len(targets)))
    assert (targets >= 0).all()
    assert ((targets > 0).sum(1) <= 2).all()


@pytest.mark.parametrize(
    "alphas", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}]
)
def test_the_share_in_the_target_is_the_share_in_the_image(alphas):
    out, targets, _ = mixed_distinct(**alphas)
    # An image's mean colour is its target's mean class, for either way of mixing.
    colours = torch.arange(len(targets)).float()
    assert torch.allclose(out.mean((1, 2)), targets @ colours, atol=1e-2)


def test_mixup_averages_all_pixels_and_cutmix_pastes_one_box():
    own = torch.arange(250)
    averaged, _, _ = mixed_distinct(mixup=1.0)
    assert torch.allclose(averaged, averaged[:, :1, :1].expand_as(averaged))
    pasted, targets, partner = mixed_distinct(cutmix=1.0)
    inside = pasted != own.view(-1, 1, 1)
    assert torch.equal(pasted[inside], partner.view(-1, 1, 1).expand_as(pasted)[inside].float())
    rows, columns = inside.any(2), inside.any(1)
    assert torch.equal(inside, rows[:, :, None] & columns[:, None, :])
    assert torch.allclose(inside.float().mean((1, 2)), 1 - shares(own, targets))


def test_with_both_half_of_the_images_take_each():
    out, _, _ = mixed_distinct(mixup=1.0, cutmix=1.0)
    uniform = (out.flatten(1).std(1) < 1e-3).float().mean()
    # Boxes of no area look averaged, too.
    assert 0.45 < float(uniform) < 0.7


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 4.0])
def test_mixups_coefficients_are_from_the_beta_distribution(alpha):
    images = random_images(N)
    pipe = pipeline(images, mixup=alpha)
    targets = pipe.labels(torch.arange(N), 0)
    partner = pipe._draws(0).mix.partner
    other = images.targets[partner] != images.targets
    drawn = shares(images.targets, targets)[other].double().numpy()
    # Close to 1 float32 is coarse, and the distribution is symmetric: its lower half says it all.
    low = drawn[drawn < 0.5]
    assert len(low) / len(drawn) == pytest.approx(0.5, abs=0.04)
    assert stats.kstest(low, lambda x: 2 * stats.beta(alpha, alpha).cdf(x)).pvalue > 1e-3


def test_cutmixs_boxes_have_the_area_drawn_where_they_fit():
    # With alpha so large, every coefficient is close to 1/2: boxes of 0.7 of each side.
    out, _, _ = mixed_distinct(size=32, cutmix=100.0)
    inside = out != torch.arange(len(out)).view(-1, 1, 1)
    heights, widths = inside.any(2).sum(1), inside.any(1).sum(1)
    longest = np.floor(32 * np.sqrt(0.5 + np.array([-0.15, 0.15])))
    assert longest[0] <= int(heights.max()) <= longest[1]
    assert longest[0] <= int(widths.max()) <= longest[1]
    # Centred at a border, half of it is cut off.
    assert int(heights.min()) <= int(heights.max()) // 2 + 1


def test_partners_are_any_training_image_with_equal_chance():
    partner = pipeline(random_images(N), mixup=1.0)._draws(0).mix.partner
    counts = np.bincount(partner // (N // 20), minlength=20)
    assert stats.chisquare(counts).pvalue > 1e-3
    # As many partners are never chosen as in N independent draws.
    never = N - len(torch.unique(partner))
    assert never == pytest.approx(N / np.e, rel=0.1)


def test_both_are_augmented_as_this_epoch_augments_them():
    images = random_images(200, channels=3)
    single = everything(pipeline(images, crop=2, flip=True, cutout=2), 3)
    pipe = pipeline(images, crop=2, flip=True, cutout=2, mixup=1.0)
    mix = pipe._draws(3).mix
    lam = mix.lam.view(-1, 1, 1, 1)
    expected = lam * single + (1 - lam) * single[mix.partner]
    assert torch.allclose(everything(pipe, 3), expected, atol=1e-3)


def test_tables_of_probabilities_are_mixed_too():
    images = random_images(50)
    table = torch.rand(50, 10, generator=torch.Generator().manual_seed(0))
    soft = Images(images.pixels, table / table.sum(1, keepdim=True), images.index)
    pipe = pipeline(soft, mixup=0.5)
    mix = pipe._draws(0).mix
    lam = mix.lam[:, None]
    expected = lam * soft.targets + (1 - lam) * soft.targets[mix.partner]
    assert torch.allclose(pipe.labels(torch.arange(50), 0), expected)


def test_epochs_draw_other_partners_and_coefficients():
    pipe = pipeline(random_images(N), mixup=1.0)
    mixes = [pipe._draws(epoch).mix for epoch in (0, 1)]
    assert (mixes[0].partner == mixes[1].partner).float().mean() < 0.01
    assert np.abs(np.corrcoef(mixes[0].lam, mixes[1].lam)[0, 1]) < 0.1


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 100.0])
def test_quantiles_are_finite_at_the_ends_of_what_can_be_asked_for(alpha):
    u = torch.tensor([0.0, 2.0**-53, 0.5, 1 - 2.0**-53], dtype=torch.float64)
    quantiles = beta(alpha, u)
    assert (quantiles.diff() >= 0).all()
    assert 0 <= float(quantiles[0]) <= float(quantiles[-1]) <= 1
    assert float(quantiles[2]) == pytest.approx(0.5)
