"""How well a score tells the run's own images from others.

The own test images are the positive class: a good score is high for them and low for others.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from analyze.metrics.predictions import Floats

ACCEPTED = 0.95  # of the own images, at the threshold of `fpr_at_tpr`


def scores(logits: ArrayLike) -> dict[str, Floats]:
    """The scores by which an image counts as one of the run's own, each higher for these.

    Formula:
        msp      max_k p_k, p the softmax of the logits z, as -log(1 - max_k p_k): the same order,
                 also where p rounds to 1
        maxlogit max_k z_k
        entropy  Σ_k p_k log p_k, the negative entropy
        energy   log Σ_k exp z_k, the negative free energy at temperature 1

    Source: Hendrycks & Gimpel 2017, arXiv:1610.02136 (msp); Hendrycks et al. 2022,
    arXiv:1911.11132 (maxlogit); Liu et al. 2020, arXiv:2010.03759 (energy).

    Args:
        logits: Shape (N, C).

    Returns:
        Float64, shape (N,) each.
    """
    z = np.asarray(logits, dtype=np.float64)
    log_p, total = special.log_softmax(z, axis=1), special.logsumexp(z, axis=1)
    rest = z.copy()
    rest[np.arange(len(z)), z.argmax(axis=1)] = -np.inf
    return {
        "msp": total - special.logsumexp(rest, axis=1),
        "maxlogit": z.max(axis=1),
        "entropy": special.xlogy(np.exp(log_p), np.exp(log_p)).sum(axis=1),
        "energy": total,
    }


def auroc(own: ArrayLike, others: ArrayLike) -> float:
    """The probability that an own image scores higher than another; ties count one half.

    Args:
        own: Scores of the own images, shape (N,).
        others: Scores of the others, shape (M,).
    """
    x, y = np.asarray(own, np.float64), np.asarray(others, np.float64)
    ranks = stats.rankdata(np.concatenate([x, y]))[: len(x)]
    return float((ranks.sum() - len(x) * (len(x) + 1) / 2) / (len(x) * len(y)))


def auroc_terms(own: ArrayLike, others: ArrayLike) -> Floats:
    """A term for each image, own ones first, whose mean is the AUROC: it and its influence.

    The variance of their mean over all images is DeLong's variance of the AUROC, and the
    covariance of two scores' terms gives that of a difference.

    Formula:
        A + (N + M)/N (V_i - A)   for an own image; V_i is the share of others below it
        A + (N + M)/M (W_j - A)   for another; W_j is the share of own ones above it

    Source: DeLong et al. 1988, "Comparing the Areas under Two or More Correlated Receiver
    Operating Characteristic Curves".

    Args:
        own: Scores of the own images, shape (N,).
        others: Scores of the others, shape (M,).

    Returns:
        Float64, shape (N + M,).
    """
    x, y = np.asarray(own, np.float64), np.asarray(others, np.float64)
    n, m = len(x), len(y)
    ranks = stats.rankdata(np.concatenate([x, y]))
    below = (ranks[:n] - stats.rankdata(x)) / m
    above = 1 - (ranks[n:] - stats.rankdata(y)) / n
    area = below.mean()
    terms: Floats = np.concatenate([(n + m) / n * (below - area), (n + m) / m * (above - area)])
    terms += area
    return terms


def average_precision(positive: ArrayLike, negative: ArrayLike) -> float:
    """The area under precision against recall, in steps: Σ (R_n - R_n-1) P_n over thresholds.

    Args:
        positive: Scores of the positive class, shape (N,).
        negative: Scores of the negative class, shape (M,).
    """
    x, y = np.asarray(positive, np.float64), np.asarray(negative, np.float64)
    values, place = np.unique(np.concatenate([x, y]), return_inverse=True)
    hits, misses = (
        np.bincount(part, minlength=len(values))[::-1] for part in np.split(place, [len(x)])
    )
    right, all_ = np.cumsum(hits), np.cumsum(hits + misses)
    return float((hits / len(x) * right / all_).sum())


def fpr_at_tpr(own: ArrayLike, others: ArrayLike, accepted: float = ACCEPTED) -> float:
    """The share of other images that is accepted where at least this share of the own ones is.

    Args:
        own: Scores of the own images, shape (N,).
        others: Scores of the others, shape (M,).
        accepted: The share of own images, in (0, 1].
    """
    x, y = np.sort(np.asarray(own, np.float64))[::-1], np.asarray(others, np.float64)
    threshold = x[int(np.ceil(accepted * len(x) - 1e-9)) - 1]
    return float((y >= threshold).mean())


def detection(own_logits: ArrayLike, other_logits: ArrayLike) -> dict[str, float]:
    """All measures of detection, by score: `auroc_msp`, `aupr_own_msp`, ...

    `aupr_own` has the own images as positives, `aupr_other` the others, and `fpr95` is
    `fpr_at_tpr`.
    """
    values: dict[str, float] = {}
    others = scores(other_logits)
    for name, own in scores(own_logits).items():
        other = others[name]
        values |= {
            f"auroc_{name}": auroc(own, other),
            f"aupr_own_{name}": average_precision(own, other),
            f"aupr_other_{name}": average_precision(-other, -own),
            f"fpr95_{name}": fpr_at_tpr(own, other),
        }
    return values
