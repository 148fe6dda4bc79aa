"""Measures of failures and conformal sets, by their definitions."""

import numpy as np
import pytest
from scipy import special
from sklearn.metrics import roc_auc_score

from analyze.metrics.beyond.conformal import adaptive_scores, conformal, quantile, sets
from analyze.metrics.beyond.failures import augrc, failures
from analyze.metrics.predictions import score


def by_definition(confidence, correct):
    """The mean over coverages of the generalised risk, with ties in random order on average."""
    levels = np.unique(confidence)[::-1]
    coverage, risk = [0.0], [0.0]
    for level in levels:
        accepted = confidence >= level
        coverage.append(accepted.mean())
        risk.append((accepted & ~correct).mean())
    return np.trapezoid(risk, coverage)


@pytest.mark.parametrize("ties", [False, True])
def test_augrc_is_the_area_under_the_curve(ties):
    rng = np.random.default_rng(3)
    confidence = rng.uniform(size=300)
    if ties:
        confidence = np.round(confidence, 1)
    correct = rng.uniform(size=300) < confidence
    # The smooth formula and the sum over images differ by less than an image's share.
    assert augrc(confidence, correct) == pytest.approx(
        by_definition(confidence, correct), abs=1e-12
    )
    assert augrc(confidence, np.ones(300, bool)) == 0.0
    assert augrc(confidence, np.zeros(300, bool)) == 0.5


def logits_of(n, *, seed, signal=2.0, classes=5):
    rng = np.random.default_rng(seed)
    targets = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), targets] += signal
    return logits, targets


def test_failures_as_scikit_learn_and_by_hand():
    logits, targets = logits_of(500, seed=0)
    found = failures(score(logits, targets))
    p = special.softmax(logits, axis=1).max(axis=1)
    right = logits.argmax(axis=1) == targets
    assert found["auroc_errors"] == pytest.approx(roc_auc_score(right, p), abs=1e-9)
    assert found["augrc"] == pytest.approx(by_definition(p, right), abs=1e-12)
    first = np.argsort(-p)
    for percent in (80, 90):
        expected = right[first[: 5 * percent]].mean()
        assert found[f"accuracy_at_{percent}"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("signal", [100.0, -100.0], ids=["all right", "all wrong"])
def test_without_errors_or_without_right_ones_there_is_no_auroc(signal):
    logits, targets = logits_of(50, seed=1, signal=signal)
    found = failures(score(logits, targets))
    assert "auroc_errors" not in found
    assert found["augrc"] == pytest.approx(0.0 if signal > 0 else 0.5, abs=1e-12)


def test_equal_and_saturated_confidence_say_nothing_of_errors():
    targets = np.array([0, 1, 0, 1])
    for logits in (np.zeros((4, 2)), np.tile([1000.0, 0.0], (4, 1))):
        found = failures(score(logits, targets))
        assert found["auroc_errors"] == 0.5
        assert found["augrc"] == pytest.approx(0.25, abs=1e-12)


def test_adaptive_scores_sum_the_classes_as_likely_or_likelier():
    p = np.array([[0.5, 0.3, 0.2], [0.25, 0.25, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    expected = [[0.5, 0.8, 1.0], [1.0, 1.0, 0.5], [1.0, 1.0, 1.0]]
    np.testing.assert_allclose(adaptive_scores(np.log(p)), expected, atol=1e-12)
    rng = np.random.default_rng(0)
    p = special.softmax(rng.normal(size=(200, 7)).round(1), axis=1)
    slow = [[row[row >= row[c]].sum() for c in range(7)] for row in p]
    np.testing.assert_allclose(adaptive_scores(np.log(p)), slow, atol=1e-12)


def test_the_quantile_is_that_of_split_conformal_prediction():
    assert quantile(np.arange(1, 100), alpha=0.1) == 90  # ceil(100 x 0.9)
    assert quantile(np.arange(1, 10), alpha=0.1) == 9
    assert quantile(np.arange(1, 9), alpha=0.1) == np.inf


@pytest.mark.parametrize("name", ["thr", "aps"])
def test_sets_hold_the_true_class_as_often_as_promised(name):
    """Over many draws of 99 validation images, coverage is 90%, or more where scores tie."""
    coverage = []
    for seed in range(200):
        logits, targets = logits_of(99 + 400, seed=seed, signal=1.0)
        log_p = special.log_softmax(logits, axis=1)
        found = conformal(log_p[:99], targets[:99], log_p[99:], targets[99:])
        coverage.append(found[f"coverage_{name}"])
    assert np.mean(coverage) == pytest.approx(0.9, abs=0.01)


def test_few_validation_images_give_all_classes():
    logits, targets = logits_of(20, seed=3)
    log_p = special.log_softmax(logits, axis=1)
    found = conformal(log_p[:5], targets[:5], log_p, targets)
    assert found == {"coverage_thr": 1.0, "size_thr": 5.0, "coverage_aps": 1.0, "size_aps": 5.0}
    assert sets(np.array([[0.2, 0.9]]), 0.5).tolist() == [[True, False]]
