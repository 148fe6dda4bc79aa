"""Calibration terms over the batch: values, shards, pairs, and the contract where it applies."""

import math

import numpy as np
import pytest
import torch
from clsloss_cases import FUNCTIONS, TERMS, batch, build, weights
from torch.autograd import gradcheck, gradgradcheck

import clsloss
from clsloss.base import REGISTRY

VARIANTS = {
    "mdca": [{}],
    "mmce": [{}, {"width": 1.0}, {"weighted": True}, {"weighted": True, "form": "code"}],
    "soft_ece": [{}, {"bins": 5, "temperature": 0.1}],
}
CASES = [(name, settings) for name in TERMS for settings in VARIANTS[name]]
LOGITS = torch.tensor(
    [
        [0.7114, -0.9152, -0.3899, 0.9435, -0.1819],
        [-0.6162, -0.0346, -0.5723, -1.1487, -1.44],
        [0.3388, -0.9662, -0.2876, -0.1088, -0.1857],
        [-1.3066, 1.5789, -0.3382, -0.6364, 2.9867],
    ],
    dtype=torch.float64,
)
LABELS = (torch.tensor([1, 0, 3, 2]), torch.tensor([3, 1, 3, 2]))
# Computed with the authors' code, or for mmce with the papers' formulas: value, gradient norm.
VALUES = {
    "mdca": ((0.11701, 0.033413), (0.202806, 0.04678)),
    "mmce": ((0.379797, 0.11968), (0.235465, 0.155087)),
    "mmce:weighted=true": ((0.0, 0.0), (0.470931, 0.310174)),
    "mmce:weighted=true,form=code": ((0.0, 0.0), (0.235465, 0.155087)),
}


@pytest.mark.parametrize("spec", VALUES)
def test_values_and_gradients_are_published(spec):
    for labels, (value, norm) in zip(LABELS, VALUES[spec], strict=True):
        logits = LOGITS.clone().requires_grad_()
        got = clsloss.create(spec)(logits, labels)
        got.backward()
        assert got.item() == pytest.approx(value, rel=1e-6, abs=6e-7)
        assert logits.grad.norm().item() == pytest.approx(norm, rel=1e-6, abs=6e-7)


def examples(logits, target, weight):
    """Each example's weight, confidence, hit, probabilities and one-hot label, in NumPy."""
    z = logits.numpy()
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    w = np.ones(z.shape[1]) if weight is None else weight.numpy()
    kept = target.numpy() >= 0
    y = target.numpy()[kept]
    return w[y], p[kept].max(1), p[kept].argmax(1) == y, p[kept], np.eye(z.shape[1])[y]


def mdca(v, c, hit, p, q):
    return np.abs(np.average(p, 0, v) - np.average(q, 0, v)).mean()


def soft_ece(v, c, hit, p, q, bins=15, temperature=0.01):
    total, size = 0.0, 0.0
    centres = (np.arange(bins) + 0.5) / bins
    u = np.exp(-((c[:, None] - centres) ** 2) / temperature)
    u = v[:, None] * u / u.sum(1, keepdims=True)
    for b in range(bins):
        s = u[:, b].sum()
        gap = np.average(hit, weights=u[:, b]) - np.average(c, weights=u[:, b])
        total, size = total + s * gap**2, size + s
    return math.sqrt(total / size)


def mmce(v, c, hit, p, q, width=0.4, weighted=False, form="paper"):
    def mean(a, b, va, vb):
        pairs = [
            x * y * math.exp(-abs(i - j) / width) * wx * wy
            for x, i, wx in zip(*a, va, strict=True)
            for y, j, wy in zip(*b, vb, strict=True)
        ]
        divisor = va.sum() * vb.sum()
        return sum(pairs) / (divisor**2 if form == "code" else divisor)

    if not weighted:
        return math.sqrt(mean((hit - c, c), (hit - c, c), v, v))
    r, w = hit, ~hit
    if not v[r].sum() or not v[w].sum():
        return 0.0
    right, wrong = (1 - c[r], c[r]), (c[w], c[w])
    square = mean(right, right, v[r], v[r]) + mean(wrong, wrong, v[w], v[w])
    return math.sqrt(square - 2 * mean(right, wrong, v[r], v[w]))


@pytest.mark.parametrize(("name", "settings"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_its_formula_with_weights_and_ignored_labels(name, settings, weighted):
    logits, target = batch("ce", (30, 5))
    logits, w = 2 * logits, weights() + 0.1 if weighted else None
    got = build(name, **settings, weight=w)(logits, target)
    want = globals()[name](*examples(logits, target, w), **settings)
    assert got.item() == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("name", ["mdca", "soft_ece"])
def test_statistics_of_shards_add_up(name):
    logits, target = batch("ce", (31, 5))
    loss = build(name, weight=weights())
    parts = [loss.statistics(z, y) for z, y in zip(logits.split(9), target.split(9), strict=True)]
    a, b = loss.statistics_size
    assert all(part.shape == (a + b * 5,) for part in parts)
    torch.testing.assert_close(loss.from_statistics(sum(parts)), loss(logits, target))
    assert not loss.additive
    total = clsloss.create(f"ce+0.5*{name}", weight=weights())
    stats = sum(
        total.statistics(z, y) for z, y in zip(logits.split(9), target.split(9), strict=True)
    )
    torch.testing.assert_close(total.from_statistics(stats), total(logits, target))


def test_mmce_is_pairwise_and_so_are_sums_with_it():
    for spec in ("mmce", "ce+mmce"):
        loss = clsloss.create(spec)
        assert loss.pairwise
        assert loss.per_batch
        assert loss.reading == "softmax"


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_gradients_equal_differences(name, settings):
    logits, target = batch("ce", (6, 5))
    loss = build(name, **settings, weight=weights() + 0.1)
    z = (2 * logits).requires_grad_()
    assert gradcheck(lambda x: loss(x, target), z)
    if name != "mdca":  # whose second derivative jumps
        assert gradgradcheck(lambda x: loss(x, target), z, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_finite_at_the_extremes_and_on_nothing(name, settings, dtype):
    loss = build(name, **settings)
    rows = [[1e4, -1e4, 0], [-1e4, 1e4, 0], [0, 0, 0], [100, 0, 0]]
    z = torch.tensor(rows, dtype=dtype, requires_grad=True)
    for target in ([0, 1, 2, 1], [0, 1, 0, 0], [-100] * 4):
        value = loss(z, torch.tensor(target))
        (gradient,) = torch.autograd.grad(value, z)
        assert value.isfinite()
        assert gradient.isfinite().all()
        assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert loss(z, torch.full((4,), -100)) == 0
    assert loss(z[:0], torch.zeros(0, dtype=torch.int64)) == 0


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_dense_input_is_one_set_of_examples_and_compiles(name, settings):
    logits, target = batch("ce", (2, 5, 3))
    loss = build(name, **settings)
    rows = logits.movedim(1, -1).reshape(-1, 5)
    torch.testing.assert_close(loss(logits, target), loss(rows, target.flatten()))
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(logits, target), loss(logits, target))
    if loss.takes_probabilities:
        hot = torch.nn.functional.one_hot(target.clamp_min(0), 5).movedim(-1, 1).double()
        index = loss(logits, target.clamp_min(0))
        torch.testing.assert_close(loss(logits, hot), index)


def test_a_masked_class_has_probability_zero():
    z = torch.tensor([[0.0, 1.0, -math.inf], [2.0, 0.0, -math.inf]], requires_grad=True)
    for name, settings in CASES:
        value = build(name, **settings)(z, torch.tensor([0, 0]))
        (gradient,) = torch.autograd.grad(value, z)
        assert value.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", TERMS)
def test_wrong_settings_are_told_in_one_line(name):
    with pytest.raises(ValueError, match="has reduction 'mean' only"):
        REGISTRY[name](reduction="none")
    for spec, said in (
        ("soft_ece:bins=0", "bins must be finite and > 0"),
        ("soft_ece:temperature=0", "temperature must be finite and > 0"),
        ("mmce:form=papr", "form must be one of paper, code"),
        ("mmce:width=-1", "width must be finite and > 0"),
    ):
        with pytest.raises(ValueError, match=said):
            clsloss.create(spec)
    assert FUNCTIONS[name](torch.zeros(2, 5), torch.tensor([0, 1])).isfinite()
