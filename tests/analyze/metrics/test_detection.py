"""Measures of detection, against scikit-learn."""

import numpy as np
import pytest
from scipy import special
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from analyze.metrics.beyond.detection import (
    auroc,
    average_precision,
    detection,
    fpr_at_tpr,
    scores,
)

RNG = np.random.default_rng(0)
CASES = {
    "normal": (RNG.normal(1, 1, 400), RNG.normal(0, 1, 300)),
    "ties": (RNG.integers(0, 5, 200).astype(float), RNG.integers(0, 4, 333).astype(float)),
    "all equal": (np.zeros(50), np.zeros(70)),
    "apart": (np.ones(20), np.zeros(30)),
    "the wrong way round": (np.zeros(20), np.ones(30)),
    "one each": (np.array([0.3]), np.array([0.4])),
    "saturated": (np.concatenate([np.full(90, 1.0), [0.5] * 10]), np.full(40, 1.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_as_scikit_learn(name):
    own, others = CASES[name]
    labels = np.r_[np.ones(len(own)), np.zeros(len(others))]
    both = np.r_[own, others]
    assert auroc(own, others) == pytest.approx(roc_auc_score(labels, both), abs=1e-12)
    assert average_precision(own, others) == pytest.approx(
        average_precision_score(labels, both), abs=1e-12
    )
    assert average_precision(-others, -own) == pytest.approx(
        average_precision_score(1 - labels, -both), abs=1e-12
    )
    fpr, tpr, _ = roc_curve(labels, both, drop_intermediate=False)
    assert fpr_at_tpr(own, others) == pytest.approx(fpr[np.argmax(tpr >= 0.95 - 1e-12)], abs=1e-12)


def test_scores_by_their_definition():
    z = np.random.default_rng(1).normal(size=(20, 5)) * 3
    p = special.softmax(z, axis=1)
    found = scores(z)
    np.testing.assert_allclose(1 - np.exp(-found["msp"]), p.max(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found["entropy"], (p * np.log(p)).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found["energy"], np.log(np.exp(z).sum(axis=1)), rtol=1e-12)
    assert (found["maxlogit"] == z.max(axis=1)).all()
    # p rounds to 1 in both, and the order is kept
    sure = scores([[50.0, 0.0], [60.0, 0.0], [1000.0, 0.0]])
    assert sure["msp"][0] < sure["msp"][1] < sure["msp"][2]
    assert np.isfinite([*sure.values()]).all()


def test_all_measures_of_all_scores():
    rng = np.random.default_rng(2)
    values = detection(rng.normal(size=(30, 4)) * 4, rng.normal(size=(40, 4)))
    assert len(values) == 16
    assert values["auroc_msp"] > 0.5
    assert all(0 <= value <= 1 for value in values.values())
