"""Conformal prediction: sets of classes that hold the true one at a rate that is guaranteed.

The guarantee is for new images like those of calibration. A set is the classes whose score is at
most q, the k-th smallest score of the true classes of n validation images.

Formula:
    k = ⌈(n + 1) (1 - α)⌉; q is infinite, and every set has all classes, where k > n
    THR   s(x, c) = 1 - p_c
    APS   s(x, c) = Σ_j p_j over the classes j with p_j >= p_c

APS is without random numbers: c counts in full, so its sets hold the true class somewhat more
often than they must.

Source: Sadinle, Lei & Wasserman 2019, "Least Ambiguous Set-Valued Classifiers with Bounded Error
Levels", arXiv:1609.00451 (THR); Romano, Sesia & Candès 2020, "Classification with Valid and
Adaptive Coverage", arXiv:2006.02544 (APS).
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from analyze.metrics.predictions import Booleans, Floats, Integers

ALPHA = 0.1  # the rate at which sets may miss the true class


def threshold_scores(log_p: Floats) -> Floats:
    """The scores of THR, (N, C); -log p_c, which is in the order of 1 - p_c and does not round."""
    return -log_p


def adaptive_scores(log_p: Floats) -> Floats:
    """The scores of APS, (N, C)."""
    order = np.argsort(-log_p, axis=1, kind="stable")
    ranked = np.take_along_axis(log_p, order, axis=1)
    total = np.cumsum(np.exp(ranked), axis=1)
    # Equal probabilities have the score of the last of them, whatever the order of the classes.
    for column in range(log_p.shape[1] - 2, -1, -1):
        tied = ranked[:, column] == ranked[:, column + 1]
        total[tied, column] = total[tied, column + 1]
    scores = np.empty_like(total)
    np.put_along_axis(scores, order, total, axis=1)
    return scores


SCORES: dict[str, Callable[[Floats], Floats]] = {"thr": threshold_scores, "aps": adaptive_scores}


def quantile(scores: ArrayLike, alpha: float = ALPHA) -> float:
    """q, the ⌈(n + 1)(1 - α)⌉-th smallest of n scores; infinity if there are too few.

    Example:
        >>> quantile([3.0, 1.0, 2.0], alpha=0.5), quantile([1.0], alpha=0.1)
        (2.0, inf)
    """
    values = np.sort(np.asarray(scores, np.float64))
    rank = math.ceil((len(values) + 1) * (1 - alpha) - 1e-9)
    return float(values[rank - 1]) if rank <= len(values) else math.inf


def sets(scores: Floats, q: float) -> Booleans:
    """Whether each class is in the set of each image, (N, C)."""
    chosen: Booleans = scores <= q
    return chosen


def conformal(
    val_log_p: Floats, val_targets: Integers, log_p: Floats, targets: Integers
) -> dict[str, float]:
    """Coverage and mean size of the sets, for each score, at 1 - α = 90%.

    Args:
        val_log_p: Log-probabilities of the validation images, (n, C).
        val_targets: Their labels, (n,).
        log_p: Log-probabilities of the images to judge, (N, C).
        targets: Their labels, (N,).

    Returns:
        `coverage_thr`, `size_thr`, `coverage_aps` and `size_aps`.
    """
    return judged(quantiles(val_log_p, val_targets), log_p, targets)


def quantiles(val_log_p: Floats, val_targets: Integers) -> dict[str, float]:
    """Q of each score, from the validation images alone."""
    rows = np.arange(len(val_log_p))
    return {name: quantile(score(val_log_p)[rows, val_targets]) for name, score in SCORES.items()}


def judged(known: dict[str, float], log_p: Floats, targets: Integers) -> dict[str, float]:
    """As `conformal`, from the `quantiles`: many sets of images need them once."""
    values: dict[str, float] = {}
    for name, q in known.items():
        chosen = sets(SCORES[name](log_p), q)
        values[f"coverage_{name}"] = float(chosen[np.arange(len(log_p)), targets].mean())
        values[f"size_{name}"] = float(chosen.sum(axis=1).mean())
    return values
