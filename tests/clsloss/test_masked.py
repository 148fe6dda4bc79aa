"""Masked classes, whose logits are -inf: every loss is its limit for z_c → -∞, without NaN."""

import math

import pytest
import torch
import torch.nn.functional as F
from clsloss_cases import EVERY, FUNCTIONS, LOG_PROBS, SOFT, batch, build, cases, variants
from torch.func import hessian

import clsloss

LOW = -1e6  # e^LOW is 0 in float64, so that to all finite losses this is -∞
# Losses that fall off as a power of z, not exponentially.
SLOW = {"nce", "nfl", "bitempered"}
# Losses of the logits themselves, whose limit would be infinite: they leave the class out.
LEFT_OUT = ("mbls", "maxsup", "squentropy", "logitnorm")
LIMITED = tuple(name for name in EVERY if name not in LEFT_OUT)
INFINITE = 1e3  # what is above with LOW, is infinite with -∞
SHAPES = [(4, 5), (5,), (2, 5, 3)]


def low_of(name):
    """A logit that to the loss is -∞."""
    return -1e150 if name in SLOW else LOW


def masked_batch(name, shape, soft):
    """(logits, target, mask): in each example two classes that its target does not name."""
    logits, target = batch("ce", shape, soft=soft)
    dim = min(len(shape) - 1, 1)
    if soft:
        mask = target <= target.sort(dim).values.narrow(dim, 1, 1)
        target = target.masked_fill(mask, 0.0)
        return logits, target / target.sum(dim, keepdim=True), mask
    first = target.clamp_min(0).unsqueeze(dim)
    mask = torch.zeros(shape, dtype=torch.bool)
    for step in (1, 3):
        mask = mask.scatter(dim, (first + step) % 5, True)
    return logits, target, mask


def call(name, target, settings, **shared):
    """The loss as a function of logits, also where it takes log-probabilities."""
    loss = build(name, **settings, **shared)
    if name not in LOG_PROBS:
        return lambda z: loss(z, target)
    return lambda z: loss(z.log_softmax(min(z.dim() - 1, 1)), target)


def with_gradient(function, z):
    z = z.detach().requires_grad_()
    values = function(z)
    values[values < INFINITE].sum().backward()
    return values.detach(), z.grad


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "soft"), cases(LIMITED))
def test_a_masked_class_is_the_limit(name, soft, shape):
    logits, target, mask = masked_batch(name, shape, soft)
    masked, low = (logits.masked_fill(mask, value) for value in (-math.inf, low_of(name)))
    weight = torch.linspace(0, 2, 5, dtype=torch.float64).flip(0)
    for settings in variants(name):
        for w in (None, weight):
            f = call(name, target, settings, weight=w, reduction="none")
            values, grad = with_gradient(f, masked)
            want, want_grad = with_gradient(f, low)
            # a share of the label smoothing costs infinitely much there, as it does in torch
            want = want.masked_fill(want > INFINITE, math.inf)
            torch.testing.assert_close(values, want, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(grad, want_grad, rtol=1e-12, atol=1e-12)
            assert grad[mask].count_nonzero() == 0
            mean = call(name, target, settings, weight=w)
            got, at_low = mean(masked), mean(low)
            assert got == math.inf if at_low > INFINITE else torch.isclose(got, at_low)


@pytest.mark.parametrize(("name", "soft"), cases(LIMITED))
def test_second_derivatives_of_masked_classes(name, soft):
    logits, target, mask = masked_batch(name, (4, 5), soft)
    f = call(name, target, {}, reduction="sum")
    low = logits.masked_fill(mask, low_of(name))
    if f(low) < INFINITE:
        got = hessian(f)(logits.masked_fill(mask, -math.inf))
        torch.testing.assert_close(got, hessian(f)(low), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "soft"), cases(LIMITED))
def test_a_label_on_a_masked_class_is_the_limit(name, soft):
    """Infinite, or what the loss can be at most; with class weight 0, nothing."""
    logits, target, mask = masked_batch(name, (4, 5), soft)
    if soft:
        target = target.masked_fill(mask, 0.25)
    else:
        label = target.clamp_min(0)
        mask, target = F.one_hot(label, 5).bool(), label
    masked, low = (logits.masked_fill(mask, value) for value in (-math.inf, low_of(name)))
    for weight in (None, torch.zeros(5).index_fill(0, torch.tensor(4), 1.0)):
        f = call(name, target, {}, weight=weight, reduction="none")
        want = f(low)
        want = want.masked_fill(want > INFINITE, math.inf)
        torch.testing.assert_close(f(masked), want, rtol=1e-12, atol=1e-12)
        if want.isfinite().all():
            assert not with_gradient(f, masked)[1].isnan().any()


@pytest.mark.parametrize("name", [name for name in SOFT if name not in LEFT_OUT])
def test_a_mask_costs_the_other_arguments_no_gradient(name):
    logits, target, mask = masked_batch(name, (4, 5), True)
    masked, low = (logits.masked_fill(mask, value) for value in (-math.inf, low_of(name)))
    arguments = [target.requires_grad_(), torch.ones(5, dtype=torch.float64, requires_grad=True)]
    found = []
    for z in (masked, low):
        z = z.log_softmax(1) if name in LOG_PROBS else z
        value = FUNCTIONS[name](z, target, weight=arguments[1])
        if value < INFINITE:
            found.append(torch.autograd.grad(value, arguments))
    if found:
        (by_q, by_weight), (want_q, want_weight) = found
        torch.testing.assert_close(by_q[~mask], want_q[~mask])
        torch.testing.assert_close(by_weight, want_weight)
        assert not by_q.isnan().any()


@pytest.mark.parametrize(("name", "soft"), cases(LIMITED))
def test_masked_classes_under_vmap_and_float32(name, soft):
    logits, target, mask = masked_batch(name, (4, 5, 3), soft)
    f = build(name)
    z = logits.masked_fill(mask, -math.inf)
    z = z.log_softmax(1) if name in LOG_PROBS else z
    want = torch.stack([f(z[..., i], target[..., i]) for i in range(3)])
    mapped = torch.vmap(f, in_dims=-1)
    torch.testing.assert_close(mapped(z, target), want, rtol=1e-12, atol=1e-12)
    single = mapped(z.float(), target.float() if soft else target)
    torch.testing.assert_close(single, want.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_a_nan_among_the_logits_shows(name):
    logits, target, mask = masked_batch(name, (4, 5), name in SOFT)
    z = logits.masked_fill(mask, -math.inf)
    z[1] = math.nan
    assert build(name)(z, target).isnan()


def test_known_values_of_masked_classes():
    """What torch gives for its own cross-entropy, and optax for probabilities."""
    z, y = torch.tensor([[2.0, -math.inf, 1.0]]), torch.tensor([0])
    want = math.log1p(math.exp(-1))
    hot = F.one_hot(y, 3).float()
    for got in (
        clsloss.cross_entropy(z, y),
        clsloss.cross_entropy(z, hot),
        clsloss.label_smoothing_cross_entropy(z, y, 0.0),
        clsloss.label_smoothing_cross_entropy(z, hot, 0.0),
        clsloss.focal_loss(z, hot, 0.0),
        clsloss.kl_div_loss(z.log_softmax(1), y),
        clsloss.kl_div_loss(z.log_softmax(1), hot),
        F.cross_entropy(z, y),
    ):
        assert got.item() == pytest.approx(want, rel=1e-6)
    assert clsloss.label_smoothing_cross_entropy(z, y, 0.1) == math.inf
    assert F.cross_entropy(z, y, label_smoothing=0.1) == math.inf
    assert clsloss.cross_entropy(z, torch.tensor([1])) == math.inf
    # (σ(1) and σ(2) of a positive and a negative, nothing for the masked one) / 3
    bce = (math.log1p(math.exp(-2)) + math.log1p(math.exp(1))) / 3
    assert clsloss.one_vs_rest_bce_loss(z, y).item() == pytest.approx(bce, rel=1e-6)


@pytest.mark.parametrize(("name", "soft"), cases(LEFT_OUT))
def test_a_masked_class_is_left_out_of_what_has_no_limit(name, soft):
    logits, target, mask = masked_batch(name, (4, 5), soft)
    w = torch.linspace(0.5, 2, 5, dtype=torch.float64)
    for settings in variants(name):
        z = logits.masked_fill(mask, -math.inf).requires_grad_()
        values = build(name, **settings, weight=w, reduction="none")(z, target)
        values.sum().backward()
        assert z.grad.isfinite().all()
        assert z.grad[mask].count_nonzero() == 0
        for row in range(4):
            kept = ~mask[row]
            if soft:
                label = target[row][kept]
            else:
                label = target[row]
                label = label if label < 0 else kept[: int(label)].sum()
            alone = build(name, **settings, weight=w[kept], reduction="none")
            torch.testing.assert_close(values[row], alone(logits[row][kept], label))
