"""The losses that know the class counts: values, contract, and what they are in special cases."""

import math

import clsloss_references_long_tail as references
import numpy as np
import pytest
import torch
from clsloss_cases import COUNTED, FUNCTIONS, batch, weights
from clsloss_references import rows
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

import clsloss
from clsloss.base import REGISTRY

COUNTS = torch.tensor([100.0, 50.0, 20.0, 10.0, 5.0], dtype=torch.float64)
SHAPES = [(4, 5), (3, 5, 2), (2, 5, 2, 3), (5,)]
SOFT = [name for name in COUNTED if REGISTRY[name].takes_probabilities]
# Computed with the authors' code: mean of four examples, and the norm of the gradient.
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
VALUES = {
    "logit_adjusted": ((2.428973, 0.547333), (2.394544, 0.550419)),
    "logit_adjusted:tau=1.5": ((2.749644, 0.570093), (3.003038, 0.595403)),
    "vs:gamma=0.3,tau=1": ((2.247924, 0.435155), (2.372485, 0.412304)),
    "ldam:scale=30": ((56.283294, 21.210698), (35.512395, 18.349743)),
    "ldam:scale=1": ((2.670317, 0.537865), (2.061129, 0.487276)),
    "seesaw:p=0.8,q=2": ((4.424575, 0.592473), (3.088067, 0.488418)),
}


def made(name, **settings):
    return REGISTRY[name](COUNTS, **settings)


@pytest.mark.parametrize("spec", VALUES)
def test_values_and_gradients_are_those_of_the_authors(spec):
    loss = clsloss.create(spec, class_counts=COUNTS)
    for labels, (value, norm) in zip(LABELS, VALUES[spec], strict=True):
        logits = LOGITS.clone().requires_grad_()
        got = loss(logits, labels)
        got.backward()
        assert got.item() == pytest.approx(value, rel=1e-6, abs=6e-7)
        assert logits.grad.norm().item() == pytest.approx(norm, rel=1e-6, abs=6e-7)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", COUNTED)
def test_equals_its_formula_in_any_layout_with_weights_and_ignored_labels(name, shape):
    choices = references.SETTINGS[name]
    settings = [{}, *({key: value} for key, values in choices.items() for value in values)]
    for soft in (False, True) if name in SOFT else (False,):
        for w in (None, weights()):
            logits, target = batch("ce", shape, soft=soft)
            z, q, counts = rows(logits, target)
            weight = np.ones(5) if w is None else w.numpy()
            for chosen in settings:
                loss = made(name, weight=w, **chosen)
                values, divisor = loss.per_example(logits, target)
                want = counts * vars(references)[name](z, q, weight, COUNTS.numpy(), **chosen)
                np.testing.assert_allclose(values.flatten(), want, rtol=1e-12, atol=1e-13)
                total = float(divisor.sum())
                mean = want.sum() / total if total else 0.0
                np.testing.assert_allclose(loss(logits, target), mean, rtol=1e-6)


@pytest.mark.parametrize("name", COUNTED)
def test_gradients_equal_differences(name):
    logits, target = batch("ce")
    for weight in (None, weights()):
        # the factors of seesaw are constants of the gradient
        loss = made(name, weight=weight, **({"q": 0.0} if name == "seesaw" else {}))
        loss = made(name, weight=weight, scale=2.0) if name == "ldam" else loss
        z = logits.clone().requires_grad_()
        assert gradcheck(lambda x, f=loss: f(x, target), z)
        assert gradgradcheck(lambda x, f=loss: f(x, target), z)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", COUNTED)
def test_finite_at_the_extremes_in_any_precision(name, dtype):
    rows = [[1e4, -1e4, 0, 3, 1], [-1e4, 1e4, 0, 0, 0], [0.0] * 5, [100, 0, 0, 0, -100]]
    z = torch.tensor(rows, dtype=dtype, requires_grad=True)
    loss = made(name)
    value = loss(z, torch.tensor([1, 0, 4, 0]))
    value.backward()
    assert value.isfinite()
    assert z.grad.isfinite().all()
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("name", COUNTED)
def test_vmap_compile_and_autocast_change_nothing(name):
    logits, target = batch("ce", (6, 5), ignored=False)
    loss = made(name)
    want = loss(logits, target)
    each = torch.vmap(loss)(logits[:, None], target[:, None])
    torch.testing.assert_close(each.mean(), want)
    compiled = torch.compile(loss, fullgraph=True)
    torch.testing.assert_close(compiled(logits, target), want)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss(logits.float(), target), want.float())


@pytest.mark.parametrize("name", COUNTED)
def test_a_masked_class_is_the_limit(name):
    logits, target = batch("ce", ignored=False)
    mask = F.one_hot((target + 1) % 5, 5).bool()
    loss = made(name, weight=weights(), reduction="none")
    values = []
    for low in (-math.inf, -1e6):
        z = logits.masked_fill(mask, low).requires_grad_()
        values.append(loss(z, target))
        values[-1].sum().backward()
        assert z.grad.isfinite().all()
    torch.testing.assert_close(*values, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", COUNTED)
def test_wrong_input_is_told_in_one_line(name):
    loss = made(name)
    with pytest.raises(ValueError, match=r"class_counts must have shape \(4,\)"):
        loss(torch.zeros(2, 4), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="class_counts must be finite"):
        REGISTRY[name]([3, -1])
    with pytest.raises(clsloss.ClassesNeeded, match=f"{name}: needs the examples of each class"):
        clsloss.create(name)
    if name not in SOFT:
        with pytest.raises(TypeError, match="targets must be class indices"):
            loss(torch.zeros(2, 5), torch.full((2, 5), 0.2))
    assert "class_counts=[100, 50, 20, 10, 5]" in repr(loss)
    assert FUNCTIONS[name](torch.zeros(2, 5), torch.tensor([0, 1]), COUNTS).isfinite()


def test_a_class_without_examples():
    counts = torch.tensor([10.0, 0.0, 5.0])
    for name in COUNTED:
        z = torch.zeros(2, 3, requires_grad=True)
        value = REGISTRY[name](counts)(z, torch.tensor([0, 2]))
        value.backward()
        assert value.isfinite()
        assert z.grad.isfinite().all()


IDENTITIES = {
    "logit_adjusted:tau=0": ("ce", COUNTS),
    "logit_adjusted:tau=2": ("ce", torch.full((5,), 7.0)),
    "vs:gamma=0,tau=1.5": ("logit_adjusted:tau=1.5", COUNTS),
    "ldam:max_margin=0,scale=1": ("ce", COUNTS),
    "seesaw:p=0,q=0": ("ce", COUNTS),
}


@pytest.mark.parametrize("spec", IDENTITIES)
def test_special_cases_are_other_losses(spec):
    other, counts = IDENTITIES[spec]
    logits, target = batch("ce", (32, 5))
    got, want = (clsloss.create(s, class_counts=counts) for s in (spec, other))
    torch.testing.assert_close(got(logits, target), want(logits, target), rtol=1e-12, atol=0)


def test_balanced_softmax_is_tau_one():
    """Ren et al. 2020: -log of n_y e^z_y / Σ n_c e^z_c."""
    logits, target = batch("ce", ignored=False)
    share = COUNTS * logits.exp()
    want = -(share.gather(1, target[:, None])[:, 0] / share.sum(1)).log().mean()
    torch.testing.assert_close(made("logit_adjusted")(logits, target), want)


def test_ldam_without_margins_is_the_cross_entropy_of_the_scaled_cosines():
    logits, target = batch("ce")
    got = made("ldam", max_margin=0.0)(logits, target)
    torch.testing.assert_close(got, F.cross_entropy(30 * logits, target))


@pytest.mark.parametrize("name", COUNTED)
def test_readings(name):
    logits = torch.randn(3, 5, dtype=torch.float64)
    log_p = made(name).log_probs(logits)
    prior = (COUNTS / COUNTS.sum()).log()
    want = {
        "logit_adjusted": logits + prior,
        "vs": logits * (COUNTS / 100) ** 0.3 + prior,
        "ldam": 30 * logits,
    }
    if name == "seesaw":
        assert log_p is None
    else:
        torch.testing.assert_close(log_p, want[name].log_softmax(1))
