"""The value of each loss: against its formula in float64, other libraries and known numbers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clsloss_cases import ADDITIVE, DRAWS, batches, build, settings_of
from clsloss_references import expected, expected_overlap
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, hinge_loss
from torchvision.ops import sigmoid_focal_loss

import clsloss


@pytest.mark.parametrize("name", ADDITIVE)
@DRAWS
@given(data=st.data())
def test_equals_its_formula_in_float64(name, data):
    logits, target, weight = data.draw(batches(name))
    chosen = data.draw(settings_of(name))
    loss = build(name, **chosen, weight=weight)
    values, weights = loss.per_example(logits, target)
    want_values, want_weights = expected(name, logits, target, weight, **chosen)
    np.testing.assert_allclose(values.flatten(), want_values, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(weights.flatten(), want_weights, rtol=1e-12)
    total = want_weights.sum()
    mean = want_values.sum() / total if total else 0.0
    np.testing.assert_allclose(loss(logits, target), mean, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["dice", "tversky"])
@DRAWS
@given(data=st.data())
def test_overlap_equals_its_formula_in_float64(name, data):
    logits, target, weight = data.draw(batches(name))
    chosen = data.draw(settings_of(name))
    got = build(name, **chosen, weight=weight)(logits, target)
    want = expected_overlap(name, logits, target, weight, **chosen)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


TORCH = {
    "ce": lambda z, t, w, **kw: F.cross_entropy(z, t, w, **kw),
    "label_smoothing": lambda z, t, w, **kw: F.cross_entropy(z, t, w, label_smoothing=0.1, **kw),
    "nll": lambda z, t, w, **kw: F.nll_loss(z, t, w, **kw),
}


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@DRAWS
@given(data=st.data())
def test_equals_torch_with_gradients(name, reduction, data):
    logits, target, weight = data.draw(batches(name))
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    got = build(name, weight=weight, reduction=reduction)(ours, target)
    want = TORCH[name](theirs, target, weight, reduction=reduction)
    if not want.isfinite().all():  # the mean of nothing, where torch gives NaN or inf
        want = (0 * theirs).sum()
    assert got.shape == want.shape
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    got.sum().backward()
    want.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


@DRAWS
@given(data=st.data())
def test_kl_equals_torch_with_gradients(data):
    logits, target, _ = data.draw(batches("kl", soft=True, unbatched=False))
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    got = clsloss.kl_div_loss(ours, target, reduction="sum")
    want = F.kl_div(theirs, target, reduction="sum")
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    if logits.dim() == 2 and len(logits):
        mean = clsloss.kl_div_loss(logits, target)
        torch.testing.assert_close(mean, F.kl_div(logits, target, reduction="batchmean"))
    got.backward()
    want.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


@DRAWS
@given(data=st.data())
def test_bce_equals_torch(data):
    logits, target, weight = data.draw(batches("bce", soft=True, unbatched=False))
    factor = data.draw(st.sampled_from([0.5, 3.0]))
    flat_z, flat_q = (t.movedim(1, -1).flatten(0, -2) for t in (logits, target))
    pos_weight = torch.full(flat_z.shape[1:], factor, dtype=torch.float64)
    want = F.binary_cross_entropy_with_logits(
        flat_z, flat_q, weight, pos_weight=pos_weight, reduction="sum"
    )
    got = clsloss.one_vs_rest_bce_loss(logits, target, factor, weight=weight, reduction="sum")
    torch.testing.assert_close(got * logits.shape[1], want, rtol=1e-12, atol=1e-12)


@DRAWS
@given(data=st.data())
def test_sigmoid_focal_equals_torchvision(data):
    logits, target, _ = data.draw(batches("sigmoid_focal", soft=True, unbatched=False))
    chosen = {"gamma": data.draw(st.sampled_from([0, 1, 2.5])), "alpha": 0.25}
    got = clsloss.sigmoid_focal_loss(logits, target, **chosen, reduction="none")
    want = sigmoid_focal_loss(logits, target, **chosen).mean(1)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_brier_equals_scikit_learn():
    torch.manual_seed(0)
    logits, target = torch.randn(50, 4, dtype=torch.float64), torch.randint(4, (50,))
    probs = logits.softmax(1).numpy()
    want = brier_score_loss(target.numpy(), probs, labels=range(4), scale_by_half=False)
    assert clsloss.brier_loss(logits, target).item() == pytest.approx(want, rel=1e-12)


def test_hinge_equals_scikit_learn():
    torch.manual_seed(0)
    scores, target = torch.randn(50, 4, dtype=torch.float64), torch.randint(4, (50,))
    want = hinge_loss(target.numpy(), scores.numpy(), labels=range(4))
    assert clsloss.crammer_singer_loss(scores, target).item() == pytest.approx(want, rel=1e-12)


def test_hinge_of_masked_rivals():
    """Classes masked by -inf are no rivals, wherever they stand."""
    masked = torch.tensor(
        [[2.0, -torch.inf, -torch.inf], [-torch.inf, 2.0, 1.5]], requires_grad=True
    )
    values = clsloss.crammer_singer_loss(masked, torch.tensor([0, 1]), reduction="none")
    assert values.tolist() == [0.0, 0.5]
    values.sum().backward()
    assert masked.grad.tolist() == [[0.0, 0.0, 0.0], [0.0, -1.0, 1.0]]


def test_mae_of_indices_is_twice_one_minus_p():
    torch.manual_seed(0)
    logits, target = torch.randn(50, 4, dtype=torch.float64), torch.randint(4, (50,))
    p = logits.softmax(1)[range(50), target]
    torch.testing.assert_close(clsloss.mae_loss(logits, target), (2 * (1 - p)).mean())


def test_focal_of_gamma_zero_is_cross_entropy():
    torch.manual_seed(0)
    logits, weight = torch.randn(6, 4, 3, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    for target in (torch.randint(4, (6, 3)), torch.rand(6, 4, 3, dtype=torch.float64)):
        got = clsloss.focal_loss(logits, target, 0.0, weight=weight)
        torch.testing.assert_close(got, F.cross_entropy(logits, target, weight))


def test_focal_takes_an_alpha_for_each_class():
    torch.manual_seed(0)
    logits, target = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, -100])
    alpha, weight = torch.tensor([0.1, 0.5, 2.0]), torch.tensor([3.0, 1.0, 0.5])
    values, weights = build("focal", alpha=alpha, weight=weight).per_example(logits, target)
    want, _ = expected("focal", logits, target, weight, alpha=alpha.double().numpy())
    np.testing.assert_allclose(values, want, rtol=1e-6)
    assert weights.tolist() == [3.0, 1.0, 0.5, 0.5, 1.0, 0.0]  # alpha is not in the divisor


def test_bce_takes_a_positive_weight_for_each_class():
    logits, target = torch.randn(6, 3, 2, dtype=torch.float64), torch.randint(3, (6, 2))
    pos_weight = torch.tensor([0.1, 0.5, 2.0])
    values = build("bce", pos_weight=pos_weight).values(logits, target)
    want, _ = expected("bce", logits, target, pos_weight=pos_weight.double().numpy())
    np.testing.assert_allclose(values.flatten(), want, rtol=1e-6)


def test_tversky_of_halves_is_dice_with_twice_the_smoothing():
    logits, target = torch.randn(6, 4, 2, dtype=torch.float64), torch.randint(4, (6, 2))
    got = clsloss.tversky_loss(logits, target, 0.5, 0.5, smooth=0.7)
    torch.testing.assert_close(got, clsloss.dice_loss(logits, target, smooth=1.4))


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


SCORES = tensor(
    [0.7114, -0.9152, -0.3899, 0.9435, -0.1819],
    [-0.6162, -0.0346, -0.5723, -1.1487, -1.4400],
    [0.3388, -0.9662, -0.2876, -0.1088, -0.1857],
    [-1.3066, 1.5789, -0.3382, -0.6364, 2.9867],
)
LOG_PROBS = tensor(
    [-2.1952, -2.0639, -0.3655, -4.2204, -2.9338],
    [-2.2309, -1.6147, -1.2787, -1.6363, -1.5118],
    [-2.1938, -3.0970, -1.5740, -1.3624, -0.9675],
    [-1.9533, -1.1320, -3.2088, -1.2513, -1.5640],
)
KL_INPUT = tensor(
    [-4.4963, -1.2036, -1.5853, -1.4722, -1.3688],
    [-2.6413, -2.2889, -2.2535, -0.5027, -2.1419],
    [-2.3875, -1.0028, -2.9582, -3.1580, -0.8055],
    [-2.3296, -0.4341, -2.2907, -2.1956, -3.1619],
)
KL_TARGET = tensor(
    [0.0345, 0.1775, 0.1944, 0.2313, 0.3622],
    [0.1333, 0.6237, 0.1228, 0.0795, 0.0406],
    [0.3026, 0.1969, 0.0661, 0.2365, 0.1979],
    [0.1164, 0.4287, 0.2206, 0.1695, 0.0648],
)
CYCLE = tensor([1.5, 0.5, -0.5], [-0.5, 1.5, 0.5], [0.5, -0.5, 1.5])
FIRST = tensor([0.8, 0.1, 0.1], [0.2, 0.3, 0.5], [0.1, 0.6, 0.3])
SECOND = tensor([0.1, 0.8, 0.1], [0.2, 0.3, 0.5], [0.4, 0.3, 0.3])
KNOWN = {
    "cycle": ("ce", CYCLE, [0, 1, 2], 0.40760597586631775, 1e-7),
    "first": ("ce", FIRST, [1, 2, 0], 1.2276147603988647, 1e-7),
    "second": ("ce", SECOND, [1, 2, 0], 0.887542188167572, 1e-7),
    "second as probabilities": ("nll", SECOND.log(), [1, 2, 0], 0.6108604879161034, 1e-7),
    "scores": ("ce", SCORES, [1, 0, 3, 2], 2.3831, 5e-5),
    "scores as log-probabilities": ("nll", SCORES.log_softmax(1), [1, 0, 3, 2], 2.3831, 5e-5),
    "log-probabilities": ("nll", LOG_PROBS, [1, 0, 3, 2], 2.2165, 5e-5),
    "kl of one": ("kl", tensor([0.4, 0.3, 0.3]).log(), [[0.2, 0.3, 0.5]], 0.11678, 5e-6),
    "kl of four": ("kl", KL_INPUT, KL_TARGET.tolist(), 0.4276, 5e-5),
    "bce": ("bce", tensor(0.1, 0.9, 0.8, 0.3).logit(), [0.0, 1.0, 1.0, 0.0], 0.1976, 5e-5),
}


@pytest.mark.parametrize("case", KNOWN)
def test_known_values_of_the_teaching_material(case):
    name, logits, target, want, tolerance = KNOWN[case]
    assert build(name)(logits, torch.tensor(target)).item() == pytest.approx(want, abs=tolerance)


def test_known_values_of_seeded_logits():
    torch.manual_seed(42)
    ce = clsloss.cross_entropy(torch.randn(3, 5), torch.tensor([1, 0, 3]))
    assert ce.item() == pytest.approx(2.6812, abs=5e-5)
    torch.manual_seed(11)
    log_probs, target = torch.randn(5, 3).log_softmax(1), torch.tensor([0, 0, 1, 2, 1])
    nll = clsloss.nll_loss(log_probs, target)
    weighted = clsloss.nll_loss(log_probs, target, torch.tensor([1.0, 1.0, 2.0]))
    ignoring = clsloss.nll_loss(log_probs, target, ignore_index=2)
    got = [nll.item(), weighted.item(), ignoring.item()]
    assert got == pytest.approx([1.6553, 1.7188, 1.5599], abs=5e-5)
