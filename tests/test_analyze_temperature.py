"""The temperature: found exactly, flagged where there is none."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from analyze.calibration import Temperature, fit_temperature, metrics


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


def test_perfect_accuracy_wants_no_temperature_above_the_lower_bound():
    assert fit_temperature(10.0 * np.eye(3), [0, 1, 2]) == Temperature(0.01, True)
    assert fit_temperature(1e4 * np.eye(3), [0, 1, 2]) == Temperature(0.01, True)


def test_worse_than_chance_wants_the_upper_bound():
    assert fit_temperature(10.0 * np.eye(3), [1, 2, 0]) == Temperature(100.0, True)


def test_huge_logits_with_an_error_are_at_the_upper_bound_without_a_warning():
    logits = 1e4 * np.eye(4)[np.arange(40) % 4]
    targets = np.arange(40) % 4
    targets[:4] = (targets[:4] + 1) % 4
    value, at_bound = fit_temperature(logits, targets)
    assert (value, at_bound) == (100.0, True)


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
