"""The Dice and Tversky losses: over the batch, per image, and which classes count."""

import pytest
import torch
from clsloss_cases import batch, build, weights
from clsloss_references import expected_overlap

import clsloss

OVERLAPS = ("dice", "tversky")


def images(soft=False, seed=0, shape=(3, 5, 4, 4)):
    logits, target = batch("dice", shape, soft=soft, seed=seed, ignored=len(shape) > 2)
    if not soft:
        target[1] = -100
    return logits, target


@pytest.mark.parametrize("shape", [(3, 5, 4, 4), (3, 5, 4), (3, 5)])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("weight", [None, weights()])
@pytest.mark.parametrize("name", OVERLAPS)
def test_per_image_is_the_mean_of_the_images(name, weight, soft, shape):
    """Of (N, C) too, where each example is an image of one pixel."""
    logits, target = images(soft, shape=shape)
    loss = build(name, per_image=True, weight=weight)
    values, divisor = loss.per_example(logits, target)
    alone = [
        expected_overlap(name, z[None], t[None], weight)
        for z, t in zip(logits, target, strict=True)
    ]
    assert values.tolist() == pytest.approx(alone, rel=1e-12)
    counted = [1.0, 1.0, 1.0] if soft else [1.0, 0.0, 1.0]  # all of the second is ignored
    assert divisor.tolist() == counted
    assert loss(logits, target).item() == pytest.approx(sum(alone) / sum(counted), rel=1e-12)


@pytest.mark.parametrize("name", OVERLAPS)
def test_per_image_is_additive_and_over_the_batch_is_not(name):
    logits, target = images()
    assert not build(name).additive
    loss = build(name, per_image=True)
    assert loss.additive
    total = sum(loss.statistics(logits[i : i + 1], target[i : i + 1]) for i in range(3))
    torch.testing.assert_close(loss.from_statistics(total), loss(logits, target))
    z, y = logits[0, :, 0, 0], target[0, 0, 1]  # unbatched: an image of one pixel
    assert loss.example_weights(y).shape == loss.values(z, y).shape == ()
    torch.testing.assert_close(loss(z, y), loss(z[None], y[None]))


@pytest.mark.parametrize("name", OVERLAPS)
def test_an_image_of_classes_of_weight_zero_counts_for_nothing(name):
    logits, target = images()
    target[2] = 4
    loss = build(name, per_image=True, weight=weights())  # the last weight is 0
    assert loss.example_weights(target).tolist() == [1.0, 0.0, 0.0]
    torch.testing.assert_close(loss(logits, target), loss(logits[:1], target[:1]))


@pytest.mark.parametrize("name", OVERLAPS)
def test_absent_classes_do_not_count(name):
    logits, target = images()
    target = torch.where(target > 1, 0, target)
    each = build(name, reduction="none")(logits, target)
    assert each.shape == (5,)
    assert (each > 0).tolist() == [True, True, False, False, False]
    torch.testing.assert_close(build(name)(logits, target), each[:2].mean())
    torch.testing.assert_close(build(name, reduction="sum")(logits, target), each.sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "spec",
    ["dice:smooth=0", "dice:smooth=0,squared=true", "tversky:smooth=0", "tversky:smooth=0,beta=0"],
)
def test_classes_that_are_nearly_nowhere_have_finite_derivatives(spec, dtype):
    """Without smoothing, what is divided by is as small as the absent class's probability."""
    loss = clsloss.create(spec)
    confident = (25, 30, 43, 60, 88, 100, 360, 740)
    z = torch.tensor([[v, 0, -v] for v in confident], dtype=dtype).repeat(3, 1)
    y = torch.arange(3).repeat_interleave(len(confident))
    assert torch.vmap(torch.func.grad(loss))(z, y).isfinite().all()
    for first in (torch.func.jacfwd, torch.func.jacrev):
        assert torch.vmap(torch.func.jacfwd(first(loss)))(z, y).isfinite().all()


@pytest.mark.parametrize("name", OVERLAPS)
def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_all(name):
    target = torch.tensor([[0, 1, 2, 2]])
    right = 1e4 * torch.nn.functional.one_hot(target, 3).movedim(-1, 1).double()
    wrong = right.roll(1, 1)
    loss = build(name, smooth=0.0)
    assert loss(right, target).item() == 0.0
    assert loss(wrong, target).item() == 1.0


def test_squares_below_the_line_are_another_loss():
    logits, target = images()
    plain, squared = (build("dice", squared=flag)(logits, target).item() for flag in (False, True))
    assert squared == pytest.approx(expected_overlap("dice", logits, target, squared=True))
    assert abs(plain - squared) > 0.01


def test_false_positives_and_negatives_are_charged_apart():
    target = torch.tensor([0, 0, 0, 1])
    timid = torch.tensor([[0.0, 1e4]] * 4)  # all 1: misses class 0, and overshoots class 1
    charged = {
        key: build("tversky", alpha=a, beta=b, smooth=0.0, reduction="none")(timid, target)
        for key, a, b in (("positives", 1.0, 0.0), ("negatives", 0.0, 1.0))
    }
    torch.testing.assert_close(charged["positives"], torch.tensor([0.0, 0.75]))
    torch.testing.assert_close(charged["negatives"], torch.tensor([1.0, 0.0]))
