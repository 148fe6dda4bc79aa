"""The temperature: found exactly, flagged where there is none."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize_scalar

from analyze.metrics.calibration import Temperature, fit_temperature, metrics


def calibrated(n=4000, classes=10, temperature=1.0, seed=0):
    """Logits whose softmax at `temperature` is the distribution of the labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.0, size=(n, classes))
    cumulative = np.cumsum(np.exp(logits), axis=1)
    targets = (rng.random((n, 1)) * cumulative[:, -1:] < cumulative).argmax(axis=1)
    return temperature * logits, targets


@pytest.mark.parametrize("true", [0.05, 0.5, 1.0, 2.46, 19.7, 80.0])
def test_the_true_temperature_is_found_from_a_tenth_of_the_range_to_its_ends(true):
    value, at_bound = fit_temperature(*calibrated(temperature=true))
    assert value == pytest.approx(true, rel=0.05)
    assert not at_bound


@pytest.mark.parametrize("true", [0.3, 2.46, 19.7])
def test_it_is_the_minimum_of_nll(true):
    logits, targets = calibrated(n=500, temperature=true)

    def nll(log_t):
        return metrics(logits, targets, temperature=math.exp(log_t), names=["nll"])["nll"]

    found = fit_temperature(logits, targets).value
    best = minimize_scalar(nll, bounds=(math.log(0.01), math.log(100)), method="bounded")
    assert nll(math.log(found)) <= best.fun + 1e-13
    assert found == pytest.approx(math.exp(best.x), rel=1e-3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scaling_the_logits_scales_the_temperature(dtype):
    logits, targets = calibrated(n=300)
    logits = logits.astype(dtype)
    once = fit_temperature(logits, targets).value
    assert fit_temperature(8 * logits, targets).value == pytest.approx(8 * once, rel=1e-9)


SCALES = (1e-30, 1e-6, 0.02, 1.0, 1000.0, 1e6, 1e30)


@pytest.mark.parametrize("scale", SCALES)
def test_the_temperature_follows_the_scale_of_the_logits(scale):
    """Cosines, and the scores of an SVM: .01 and 100 were once the ends."""
    logits, targets = calibrated(n=500)
    once = fit_temperature(logits, targets)
    found = fit_temperature((scale * logits).astype(np.float32), targets)
    assert found.value == pytest.approx(scale * once.value, rel=1e-6)
    assert found.bound is None
    after, before = (
        metrics(z, targets, temperature=t.value, names=["nll"])["nll"]
        for z, t in ((logits, once), (scale * logits, found))
    )
    assert after == pytest.approx(before, abs=1e-9)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("classes", [2, 10])
def test_all_right_stands_for_zero_and_no_better_than_chance_for_infinity(scale, classes):
    logits = scale * np.eye(classes)
    spread = scale * math.sqrt((classes - 1) / classes**2)
    right = np.arange(classes)
    zero, infinity = (fit_temperature(logits, labels) for labels in (right, np.roll(right, 1)))
    assert (zero.bound, infinity.bound) == ("zero", "infinity")
    assert zero.at_bound
    assert infinity.at_bound
    assert (zero.value, infinity.value) == pytest.approx((spread / 100, 100 * spread))


def test_a_label_that_ties_with_the_maximum_is_all_right():
    found = fit_temperature([[2.0, 2.0, 0.0], [0.0, 1.0, 0.0]], [1, 1])
    assert found.bound == "zero"
    assert fit_temperature([[2.0, 2.0, 0.0], [0.0, 1.0, 0.0]], [0, 2]).bound is None


def test_chance_is_where_the_labels_are_as_high_as_the_mean():
    """The derivative at 1/T = 0 is sum(mean_c z - z_y): 0 in the first, -1e-6 in the last."""
    logits = np.array([[0.1, 0.2], [0.1, 0.2]])
    assert fit_temperature(logits, [0, 1]).bound == "infinity"
    assert fit_temperature(logits + 1e6, [0, 1]).bound == "infinity"
    logits[0, 0] += 2e-6
    nearly = fit_temperature(logits, [0, 1])
    assert nearly.bound is None
    assert nearly.value > 100


@pytest.mark.parametrize("label", [0, 1, 2])
def test_one_example_has_a_temperature_only_if_its_label_is_neither_best_nor_below_the_mean(label):
    found = fit_temperature([[3.0, 2.0, 0.0]], [label])
    assert found.bound == ("zero", None, "infinity")[label]
    if label == 1:
        p = np.exp(np.array([3.0, 2.0, 0.0]) / found.value)
        assert (p / p.sum()) @ [3.0, 2.0, 0.0] == pytest.approx(2.0)


def test_equal_logits_tell_nothing_and_stay_finite():
    assert fit_temperature(np.full((5, 3), 7.0), [0, 1, 2, 0, 1]) == Temperature(100.0, "infinity")


def test_one_error_among_huge_logits_leaves_a_minimum():
    """36 of 40 right with a gap of 1e4, in four classes: odds of 9 to the three others."""
    logits = 1e4 * np.eye(4)[np.arange(40) % 4]
    targets = np.arange(40) % 4
    targets[:4] = (targets[:4] + 1) % 4
    found = fit_temperature(logits, targets)
    assert found.value == pytest.approx(1e4 / math.log(27), rel=1e-9)
    assert not found.at_bound


def test_a_tiny_error_among_wide_margins_leaves_a_minimum():
    logits = np.concatenate([np.tile([[1.0, 0.0]], (999, 1)), [[1e-9, 0.0]]])
    targets = np.append(np.zeros(999, dtype=int), 1)
    found = fit_temperature(logits, targets)
    assert found.bound is None
    # 999 exp(-1/T) = 1e-9/2, but for terms that are smaller
    assert found.value == pytest.approx(1 / math.log(999 / 0.5e-9), rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 8).flatmap(
        lambda n: st.integers(2, 4).flatmap(
            lambda c: st.tuples(
                arrays(np.int64, (n, c), elements=st.integers(-3, 3)),
                arrays(np.int64, n, elements=st.integers(0, c - 1)),
            )
        )
    ),
    st.sampled_from(SCALES),
)
def test_what_is_flagged_is_what_has_no_minimum(sample, scale):
    """Integers, in which both conditions are exact."""
    logits, targets = sample
    own = logits[np.arange(len(logits)), targets]
    chance = (logits.sum(axis=1) - logits.shape[1] * own).sum() >= 0
    perfect = (own == logits.max(axis=1)).all()
    found = fit_temperature(scale * logits, targets)
    assert found.bound == ("infinity" if chance else "zero" if perfect else None)
    if found.bound is None:
        t = found.value / scale
        near = [
            metrics(logits, targets, temperature=t * f, names=["nll"])["nll"]
            for f in (0.9, 1, 1.1)
        ]
        assert near[1] <= min(near)


def test_probabilities_have_the_temperature_of_their_logarithms():
    logits, targets = calibrated(n=500, temperature=3.0)
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)
    expected = fit_temperature(logits, targets).value
    assert fit_temperature(p, targets, probabilities=True).value == pytest.approx(expected)
    p[p < 1e-4] = 0
    p[np.arange(500), targets] = np.maximum(p[np.arange(500), targets], 1e-4)
    p /= p.sum(axis=1, keepdims=True)
    found = fit_temperature(p, targets, probabilities=True)
    masked = np.where(p > 0, np.log(np.maximum(p, 1e-9)), -1e6)  # underflows to 0
    assert found.value == pytest.approx(fit_temperature(masked, targets).value, rel=1e-9)
    with pytest.raises(ValueError, match="a label has probability 0"):
        fit_temperature([[1.0, 0.0]], [1], probabilities=True)


def test_by_ece_the_temperature_is_on_the_grid_and_has_the_lowest_ece_of_it():
    logits, targets = calibrated(n=1000, temperature=2.0)
    value, at_bound = fit_temperature(logits, targets, criterion="ece")
    grid = np.arange(1, 101) / 10
    eces = [metrics(logits, targets, temperature=t, names=["ece"])["ece"] for t in grid]
    assert value == grid[np.argmin(eces)]
    assert abs(value - 2.0) < 0.4
    assert not at_bound


def test_bad_arrays_are_refused():
    with pytest.raises(ValueError, match="has NaN"):
        fit_temperature([[np.nan, 0.0]], [0])


def test_certain_and_right_is_not_called_chance():
    """One-hot probabilities: no temperature changes them, and every label is its row's maximum."""
    assert fit_temperature(np.eye(5)[[0, 1, 2]], [0, 1, 2], probabilities=True).bound == "zero"
    assert fit_temperature(np.ones((3, 5)), [0, 1, 2]).bound == "infinity"
