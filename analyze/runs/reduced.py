"""Reduces scores and logits to the statistics in the figures."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyze.metrics.binned import ece, null_ece
from analyze.metrics.predictions import BINS, Floats, Integers, Scores, bin_index
from analyze.metrics.selective import risk_curve

FINE = 2 * BINS  # bins of the confidence histograms; each pair makes one bin of ECE
POINTS = 200  # on a risk-coverage curve
BIN_NUMBERS = (5, 10, 15, 20, 30, 50, 100)
TEMPERATURES = np.geomspace(0.1, 10.0, 41)
NULL_DRAWS = 20  # per run and number of bins; few suffice, since seeds are averaged
MOST_LOGITS = 4_000_000  # behind the NLL curve over temperatures; more are subsampled


@dataclass(frozen=True)
class Stage:
    """A run's confidences on the test examples, before or after temperature.

    Attributes:
        bins: Number of examples, their summed confidence and the number of correct ones, in FINE
            equal-width bins (a, b], shape (3, FINE).
        predicted: The same three by predicted class, shape (3, C).
        ece, null_ece: With each of BIN_NUMBERS bins.
    """

    bins: Floats
    predicted: Floats
    ece: Floats
    null_ece: Floats


def stage(scores: Scores, classes: int) -> Stage:
    """Reduces the confidences of a set of scores."""
    confidence, correct = scores.confidence, scores.correct
    rng = np.random.default_rng(0)
    return Stage(
        bins=_sums(bin_index(confidence, FINE), scores, FINE),
        predicted=_sums(scores.predicted, scores, classes),
        ece=np.array([ece(confidence, correct, bins) for bins in BIN_NUMBERS]),
        null_ece=np.array([null_ece(confidence, rng, NULL_DRAWS, bins) for bins in BIN_NUMBERS]),
    )


def risk_by_coverage(scores: Scores) -> Floats:
    """The error rate among the most confident examples, at POINTS coverages up to 1."""
    curve = risk_curve(scores.log_uncertainty, scores.correct)
    coverages = np.arange(1, POINTS + 1) / POINTS
    risk: Floats = curve[np.ceil(coverages * len(curve) - 1e-9).astype(int) - 1]
    return risk


def nll_by_temperature(logits: Any, targets: Integers) -> Floats:  # noqa: ANN401 (any real dtype)
    """Mean NLL at each of TEMPERATURES, over evenly spaced rows if there are too many."""
    step = -(-logits.size // MOST_LOGITS)
    z, y = logits[::step].astype(np.float64), targets[::step]
    z -= z.max(axis=1, keepdims=True)
    z_y = z[np.arange(len(z)), y]
    return np.array([np.mean(np.log(np.exp(z / t).sum(axis=1)) - z_y / t) for t in TEMPERATURES])


def _sums(cell: Integers, scores: Scores, cells: int) -> Floats:
    weights = (None, scores.confidence, scores.correct)
    return np.stack([np.bincount(cell, weight, cells).astype(np.float64) for weight in weights])
