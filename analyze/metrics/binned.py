"""Binned calibration errors of the predicted class.

Each function takes confidences in [0, 1] (float64) and correctness (bool), both of shape (N,),
and returns a fraction. The gap of a bin is its mean confidence minus its accuracy.
"""

import numpy as np

from analyze.metrics.equal_mass import EqualMass
from analyze.metrics.predictions import BINS, Booleans, Floats, bin_index


def ece(confidence: Floats, correct: Booleans, bins: int = BINS) -> float:
    """Expected calibration error over equal-width bins (a, b].

    Formula:
        Σ_b n_b/N |gap_b|  n_b of the N examples lie in bin b

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599.

    Example:
        >>> ece(np.array([0.5, 0.6, 0.8]), np.array([True, False, False]), bins=2).__round__(3)
        0.633
    """
    residual = np.bincount(bin_index(confidence, bins), confidence - correct, bins)
    return float(np.abs(residual).sum() / len(confidence))


def ece_terms(confidence: Floats, correct: Booleans, bins: int = BINS) -> Floats:
    """The terms whose mean is `ece`, one per example.

    Formula:
        sign(gap_b) (confidence - correct)  b is the bin of the example

    The sign of a gap below 1e-12 is taken as 0. It would be the sign of a rounding error, which
    depends on the order of the rows.
    """
    index = bin_index(confidence, bins)
    residual = confidence - correct
    total = np.bincount(index, residual, bins)
    sign = np.where(np.abs(total) > 1e-12 * np.bincount(index, minlength=bins), np.sign(total), 0)
    terms: Floats = sign[index] * residual
    return terms


def mce(confidence: Floats, correct: Booleans, bins: int = BINS) -> float:
    """Maximum calibration error: the largest |gap_b| over the non-empty equal-width bins.

    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    index = bin_index(confidence, bins)
    count = np.bincount(index, minlength=bins)
    residual = np.bincount(index, confidence - correct, bins)
    return float(np.max(np.abs(residual[count > 0]) / count[count > 0]))


def ada_ece(confidence: Floats, correct: Booleans, bins: int = BINS) -> float:
    """ECE over bins of equal mass; tied confidences share a bin (`analyze.metrics.equal_mass`).

    Source: Nguyen and O'Connor 2015, "Posterior calibration and exploratory analysis for natural
    language processing models", arXiv:1508.05154; AdaECE in Mukhoti et al. 2020,
    arXiv:2002.09437.

    Example:
        >>> ada_ece(np.full(30, 0.5), np.arange(30) < 15)  # in any order of the rows
        0.0
    """
    return _gaps(EqualMass(confidence, correct), bins)


def l2_debiased(confidence: Floats, correct: Booleans, bins: int = BINS) -> float:
    """Debiased squared L2 calibration error over bins of equal mass.

    Formula:
        Σ_b n_b/N (gap_b^2 - acc_b (1 - acc_b)/(n_b - 1))

    It estimates the squared error of the binned model without bias and can therefore be
    negative. Average before truncating at 0. A bin with one example contributes 0, as in the
    authors' library. Tied confidences share a bin.

    Source: Kumar et al. 2019, "Verified Uncertainty Calibration", arXiv:1909.10155.

    Example:
        >>> round(l2_debiased(np.ones(200), np.arange(200) >= 25), 6)  # .125^2 - .125 .875/199
        0.015075
    """
    sizes, sums, hits = EqualMass(confidence, correct).split(bins)
    gap, accuracy = (sums - hits) / sizes, hits / sizes
    noise = accuracy * (1 - accuracy) / np.maximum(sizes - 1, 1)
    terms = np.where(sizes > 1, gap**2 - noise, 0.0)
    return float((sizes * terms).sum() / len(confidence))


def ece_sweep(confidence: Floats, correct: Booleans) -> float:
    """ECE over the largest number of equal-mass bins that keeps accuracy monotone.

    The number of bins grows from 1. It stops before the first at which accuracy falls from one
    bin to the next. Tied confidences share a bin.

    Source: Roelofs et al. 2022, "Mitigating Bias in Calibration Error Estimation",
    arXiv:2012.08668.
    """
    examples = EqualMass(confidence, correct)
    return _gaps(examples, examples.monotone())


def classwise_ece(class_gaps: Floats, n: int) -> float:
    """Mean over classes of the one-vs-rest ECE of p_c, from `Scores.class_gaps` of n examples.

    Source: Kull et al. 2019, "Beyond temperature scaling: Obtaining well-calibrated multiclass
    probabilities with Dirichlet calibration", arXiv:1910.12656.
    """
    return float(np.abs(class_gaps).sum(axis=1).mean() / n)


def null_ece(
    confidence: Floats, rng: np.random.Generator, draws: int = 200, bins: int = BINS
) -> float:
    """The noise floor: the mean ECE of a perfectly calibrated model with these confidences.

    Each of `draws` simulations draws the correctness of every example from its confidence.
    """
    ordered = np.sort(confidence)
    starts = np.flatnonzero(np.diff(bin_index(ordered, bins), prepend=-1))
    ends = [*starts[1:], len(ordered)]
    expected = np.add.reduceat(ordered, starts)
    chance = ordered.astype(
        np.float32
    )  # float32 resolves 2^-24, which suffices for a draw, and is twice as fast
    total = 0.0
    for _ in range(draws):
        right = rng.random(len(chance), dtype=np.float32) < chance
        hits = [np.count_nonzero(right[a:b]) for a, b in zip(starts, ends, strict=True)]
        total += float(np.abs(expected - hits).sum())
    return total / draws / len(ordered)


def _gaps(examples: EqualMass, bins: int) -> float:
    _, sums, hits = examples.split(bins)
    return float(np.abs(sums - hits).sum() / examples.n)
