"""Binned calibration errors of the top class, from confidences and whether they were right.

All take confidences in [0, 1] (float64) and correct (bool), both of shape (N,), and return a
fraction. The gap of a bin is mean confidence - accuracy.
"""

import numpy as np

from analyze.metrics.equal_mass import EqualMass
from analyze.metrics.predictions import BINS, Booleans, Floats, bin_index


def ece(confidence: Floats, correct: Booleans, bins: int = BINS) -> float:
    """Expected calibration error: sum over equal-width bins (a, b] of n_b/n |gap_b|.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks.

    Example:
        >>> ece(np.array([0.5, 0.6, 0.8]), np.array([True, False, False]), bins=2).__round__(3)
        0.633
    """
    residual = np.bincount(bin_index(confidence, bins), confidence - correct, bins)
    return float(np.abs(residual).sum() / len(confidence))


def ece_terms(confidence: Floats, correct: Booleans, bins: int = BINS) -> Floats:
    """What each example adds to `ece`, their mean: sign(gap of its bin) (conf - correct).

    A gap below 1e-12 is none: its sign would be that of rounding, and change with the order of
    the rows.
    """
    index = bin_index(confidence, bins)
    residual = confidence - correct
    total = np.bincount(index, residual, bins)
    sign = np.where(np.abs(total) > 1e-12 * np.bincount(index, minlength=bins), np.sign(total), 0)
    terms: Floats = sign[index] * residual
    return terms


def mce(confidence: Floats, correct: Booleans, bins: int = BINS) -> float:
    """Maximum calibration error: the largest |gap_b| over the equal-width bins in use."""
    index = bin_index(confidence, bins)
    count = np.bincount(index, minlength=bins)
    residual = np.bincount(index, confidence - correct, bins)
    return float(np.max(np.abs(residual[count > 0]) / count[count > 0]))


def ada_ece(confidence: Floats, correct: Booleans, bins: int = BINS) -> float:
    """ECE over bins of equal mass, which never split a tie: see `analyze.metrics.equal_mass`.

    Source: Nguyen & O'Connor 2015, Posterior Calibration; AdaECE in Mukhoti et al. 2020.

    Example:
        >>> ada_ece(np.full(30, 0.5), np.arange(30) < 15)  # in any order of the rows
        0.0
    """
    return _gaps(EqualMass(confidence, correct), bins)


def l2_debiased(confidence: Floats, correct: Booleans, bins: int = BINS) -> float:
    """Debiased squared L2 calibration error over bins of equal mass, which never split a tie.

    sum over bins of n_b/n [gap_b^2 - acc_b (1 - acc_b)/(n_b - 1)]: its mean over samples is the
    squared error of the binned model, so it may be negative, and is not to be truncated before
    averaging. A bin with one example counts 0, as in the authors' library.

    Source: Kumar et al. 2019, Verified Uncertainty Calibration.

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

    The number of bins grows from 1 and stops before the first at which accuracy falls from one
    bin to the next. The bins never split a tie.

    Source: Roelofs et al. 2022, Mitigating Bias in Calibration Error Estimation.
    """
    examples = EqualMass(confidence, correct)
    return _gaps(examples, examples.monotone())


def classwise_ece(class_gaps: Floats, n: int) -> float:
    """Mean over classes of the one-vs-rest ECE of p_c, from `Scores.class_gaps` of n examples.

    Source: Kull et al. 2019, Beyond Temperature Scaling.
    """
    return float(np.abs(class_gaps).sum(axis=1).mean() / n)


def null_ece(
    confidence: Floats, rng: np.random.Generator, draws: int = 200, bins: int = BINS
) -> float:
    """The noise floor: the mean ECE of a perfectly calibrated model with these confidences.

    Whether each example is right is drawn from its own confidence, `draws` times.
    """
    ordered = np.sort(confidence)
    starts = np.flatnonzero(np.diff(bin_index(ordered, bins), prepend=-1))
    ends = [*starts[1:], len(ordered)]
    expected = np.add.reduceat(ordered, starts)
    chance = ordered.astype(np.float32)  # 2^-24 is fine enough for a draw, and twice as fast
    total = 0.0
    for _ in range(draws):
        right = rng.random(len(chance), dtype=np.float32) < chance
        hits = [np.count_nonzero(right[a:b]) for a, b in zip(starts, ends, strict=True)]
        total += float(np.abs(expected - hits).sum())
    return total / draws / len(ordered)


def _gaps(examples: EqualMass, bins: int) -> float:
    _, sums, hits = examples.split(bins)
    return float(np.abs(sums - hits).sum() / examples.n)
