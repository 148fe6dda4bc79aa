"""Recalibrations: against other libraries, and by their properties."""

import numpy as np
import pytest
import torch
from scipy import special
from sklearn.isotonic import IsotonicRegression

from analyze.metrics.beyond import recalibration
from analyze.metrics.calibration import fit_temperature

CLASSES = 4


def split(n, seed):
    """Logits that are overconfident, more so for the later classes, and their labels."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(CLASSES, size=n)
    logits = rng.normal(size=(n, CLASSES))
    logits[np.arange(n), targets] += 1.5
    return 3 * logits * (1 + 0.4 * np.arange(CLASSES)), targets


VAL, TEST = split(1500, 0), split(4000, 1)
T = fit_temperature(*VAL).value


def nll(log_p, targets):
    return -log_p[np.arange(len(targets)), targets].mean()


def fitted(name, data=VAL):
    return recalibration.METHODS[name](*data, fit_temperature(*data).value)


@pytest.mark.parametrize("name", recalibration.METHODS)
def test_probabilities_sum_to_one_and_the_temperature_is_bettered(name):
    apply = fitted(name)
    log_p = apply(TEST[0])
    np.testing.assert_allclose(special.logsumexp(log_p, axis=1), 0, atol=1e-9)
    assert (
        nll(apply(VAL[0]), VAL[1]) <= nll(special.log_softmax(VAL[0] / T, axis=1), VAL[1]) + 1e-9
    )
    if name != "ensemble":  # these can correct what differs between classes
        assert nll(log_p, TEST[1]) < nll(special.log_softmax(TEST[0] / T, axis=1), TEST[1])


def test_vector_scaling_is_the_minimum_that_torch_finds():
    z, y = (torch.from_numpy(part) for part in VAL)
    w = torch.ones(CLASSES, dtype=torch.float64, requires_grad=True)
    b = torch.zeros(CLASSES, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([w, b], max_iter=500, tolerance_grad=1e-10, tolerance_change=0)

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(z * w + b, y)
        loss.backward()
        return loss

    optimizer.step(closure)
    ours = nll(fitted("vector")(VAL[0]), VAL[1])
    assert ours == pytest.approx(float(closure().detach()), abs=1e-9)


def test_isotonic_regression_is_that_of_scikit_learn():
    p, q = (special.softmax(part[0], axis=1) for part in (VAL, TEST))
    columns = []
    for c in range(CLASSES):
        theirs = IsotonicRegression(out_of_bounds="clip").fit(p[:, c], VAL[1] == c)
        columns.append(theirs.predict(q[:, c]))
    values = np.stack(columns, axis=1).clip(0.5 / len(p), 1 - 0.5 / len(p))
    expected = values / values.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(fitted("isotonic")(TEST[0])), expected, atol=1e-9)


def test_ensemble_temperature_keeps_predictions_and_no_weights_on_a_grid_are_better():
    apply = fitted("ensemble")
    log_p = apply(TEST[0])
    assert (log_p.argmax(axis=1) == TEST[0].argmax(axis=1)).all()
    parts = [special.softmax(VAL[0] / t, axis=1) for t in (T, 1.0)]
    ours, grid = nll(apply(VAL[0]), VAL[1]), np.linspace(0, 1, 21)
    for a in grid:
        for b in grid[grid <= 1 - a + 1e-12]:
            mixed = a * parts[0] + b * parts[1] + (1 - a - b) / CLASSES
            with np.errstate(divide="ignore"):
                assert ours <= nll(np.log(mixed), VAL[1]) + 1e-9


def test_structured_matrix_scaling_is_that_of_probmetrics():
    """Its search is in float32 and stops earlier: ours must be as good by its own objective."""
    calibrators = pytest.importorskip("probmetrics.calibrators")  # needs numba too
    theirs = calibrators.get_calibrator("sms", sms_print_init_info=False)
    theirs.fit(special.softmax(VAL[0], axis=1), VAL[1])
    expected = theirs.predict_proba(special.softmax(TEST[0], axis=1))
    found = np.exp(fitted("matrix")(TEST[0]))
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_no_step_from_structured_matrix_scaling_lowers_its_penalised_nll():
    n = len(VAL[1])
    p = (n * special.softmax(VAL[0] / T, axis=1) + 1 / CLASSES) / (n + 1)
    x, y = torch.from_numpy(np.log(p)), torch.from_numpy(VAL[1])
    # Read the map off its outputs: log-odds are linear in x.
    log_p = torch.from_numpy(fitted("matrix")(VAL[0]))
    odds = log_p - log_p[:, :1]
    design = torch.cat([x, torch.ones(n, 1)], dim=1)
    read = torch.linalg.lstsq(design, odds).solution.T
    base = torch.cat([torch.eye(CLASSES), torch.zeros(CLASSES, 1)], dim=1).double()
    # The outputs fix the map but for what is added to all classes; the penalty chooses that.
    free = (read - base - (read - base)[:1]).clone()
    weights = torch.full((CLASSES, CLASSES), CLASSES * (CLASSES - 1) / n).double()
    weights.fill_diagonal_(CLASSES / n)
    weights = torch.cat([weights, torch.full((CLASSES, 1), CLASSES / n)], dim=1)
    shift = (read[:, :] - base - free).mean(dim=0)
    delta = free + shift
    delta = delta - (weights * delta).sum(dim=0) / weights.sum(dim=0)
    delta.requires_grad_()
    nll = torch.nn.functional.cross_entropy(design @ (base + delta).T, y)
    value = nll + (weights * delta**2).sum()
    value.backward()
    assert float(delta.grad.abs().max()) < 1e-6


@pytest.mark.parametrize("name", recalibration.METHODS)
def test_odd_validation_images_give_finite_probabilities(name):
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=40)
    odd = {
        "ties": (np.round(rng.normal(size=(40, CLASSES))), labels),
        "saturated": (1000 * rng.normal(size=(40, CLASSES)), labels),
        "one class": (rng.normal(size=(40, CLASSES)), np.zeros(40, dtype=np.int64)),
    }
    for data in odd.values():
        p = np.exp(recalibration.METHODS[name](*data, 1.0)(data[0]))
        assert np.isfinite(p).all()
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-9)
