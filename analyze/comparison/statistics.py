"""Paired differences between two losses: interval, p value, seeds needed and verdict."""

import bisect
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from analyze.comparison.variances import Difference
from analyze.metrics.predictions import Floats

CONFIDENCE = 0.95
FEWEST_SEEDS = 3  # for a verdict
EXACT_SEEDS = 20  # up to here the sign-flip test enumerates all assignments, at most 2^20
MOST_SEEDS = 1000  # upper limit of `seeds_needed`
POWER = 0.8
LOWEST_LOG_P = -460.0  # p = 1e-200; t quantiles overflow beyond


class Interval(NamedTuple):
    """The ends of a confidence interval."""

    low: float
    high: float


def critical(difference: Difference, alpha: float) -> float:
    """The two-sided critical value of mean / error at level alpha (Cochran and Cox).

    It is the average of the t quantiles with the degrees of freedom of the two parts of the
    variance, weighted by these parts. Satterthwaite's degrees of freedom, the usual choice, fail
    with few seeds. If the part over seeds is small by chance, they jump from 2 to hundreds. With
    three seeds and alpha = 0.0025, they reject 2.1% of true null hypotheses.

    Source: Cochran 1964, "Approximate Significance Levels of the Behrens-Fisher Test",
    Biometrics 20, 191-195.
    """
    freedom = [difference.freedom_over_seeds, max(difference.examples - 1, 1)]
    quantiles = -special.stdtrit(freedom, alpha / 2)
    parts = np.array([difference.over_seeds, difference.over_examples])
    return float(quantiles @ parts / parts.sum()) if parts.sum() > 0 else float(quantiles[0])


def interval(difference: Difference, confidence: float = CONFIDENCE) -> Interval:
    """The confidence interval mean ± critical value x error."""
    half = critical(difference, 1 - confidence) * difference.error
    return Interval(difference.mean - half, difference.mean + half)


def p_value(difference: Difference) -> float:
    """The two-sided p value: the level at which one end of the interval is exactly 0.

    A difference of exactly 0 has p = 1, even without variance. Any other difference without
    variance has no p value (NaN): identical seeds are no evidence.
    """
    if difference.mean == 0:
        return 1.0
    if difference.error == 0:
        return float("nan")
    statistic = abs(difference.mean) / difference.error

    def excess(log_alpha: float) -> float:
        return critical(difference, float(np.exp(log_alpha))) - statistic

    if excess(LOWEST_LOG_P) <= 0:
        return float(np.exp(LOWEST_LOG_P))
    return float(np.exp(optimize.brentq(excess, LOWEST_LOG_P, 0.0, xtol=1e-12)))


def p_beyond(difference: Difference, floor: float) -> float:
    """The p value of the hypothesis that the true difference lies between 0 and the floor.

    A binned ECE is above 0 by chance alone, more so for a less accurate network: its noise floor.
    Two calibrated networks differ by the difference of their floors, which is no difference in
    calibration. With a floor of 0 this is `p_value`.

    Args:
        difference: The observed difference.
        floor: The difference of the noise floors.
    """
    if min(0.0, floor) <= difference.mean <= max(0.0, floor):
        return 1.0
    beyond = replace(difference, mean=difference.mean - floor)
    return float(np.max([p_value(difference), p_value(beyond)]))


def p_equivalent(difference: Difference, margin: float) -> float:
    """The p value of the hypothesis that the true difference is at least the margin in size.

    It is the larger of two one-sided p values, at -m and at m.

    Source: Schuirmann 1987, "A Comparison of the Two One-Sided Tests Procedure and the Power
    Approach", Journal of Pharmacokinetics and Biopharmaceutics 15, 657-680.

    Args:
        difference: The observed difference.
        margin: m > 0, named before looking at the results.
    """
    sides = (difference.mean + margin, margin - difference.mean)
    return max(one_sided(replace(difference, mean=side)) for side in sides)


def one_sided(difference: Difference) -> float:
    """The p value of the hypothesis that the true difference is at most 0."""
    p = p_value(difference)
    return p / 2 if difference.mean > 0 else 1 - p / 2


def sign_flip(differences: ArrayLike, rng: np.random.Generator) -> float:
    """The exact two-sided sign-flip test over seeds.

    The p value is the fraction of all 2^S sign assignments whose |sum| is at least the observed
    one. It cannot be below 2^(1-S): 0.25 with 3 seeds, 0.0625 with 5 and 0.002 with 10. The only
    assumption is that, without an effect, a difference is as likely as its negative. Above 20
    seeds, 2^20 random assignments are drawn.

    Args:
        differences: One paired difference per seed, shape (S,), S >= 1.
        rng: Draws the signs above 20 seeds.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) <= EXACT_SEEDS:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
    else:
        signs = rng.integers(0, 2, size=(2**EXACT_SEEDS, len(values)), dtype=np.int8)
        sums = np.append((2.0 * signs - 1) @ values, values.sum())
    # Sums that differ only by rounding count as equal.
    tolerance = 1e-9 * np.abs(values).sum()
    return float((np.abs(sums) >= abs(values.sum()) - tolerance).mean())


def holm(p_values: ArrayLike) -> Floats:
    """Holm's adjusted p values of one family, shape (K,). NaN stays NaN and is not counted.

    The method controls the probability of any false rejection under every dependence of the
    tests.

    Formula:
        min(1, max_{j≤k} (K + 1 - j) p_j)  for the k-th smallest of K p values

    Source: Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian
    Journal of Statistics 6, 65-70.

    Example:
        >>> holm([0.01, np.nan, 0.04, 0.03]).tolist()
        [0.03, nan, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # NaN sorts last
    steps = np.arange(len(order), 0, -1) * p[order]
    adjusted = np.full_like(p, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def seeds_needed(difference: Difference, alpha: float, size: float | None = None) -> float:
    """The number of seeds that would detect a difference of this size, given this spread.

    Args:
        difference: The observed difference.
        alpha: The level of the test.
        size: The size of the true difference; that of the observed one if None.

    It is the smallest S from 3 to 1,000 at which a test at level alpha has a power of about 80%:
    |mean| >= (critical value + t quantile of 0.8) x error, with the part over seeds scaled to S.
    It is NaN if no such S exists; more test examples are needed then.
    """
    size = abs(difference.mean) if size is None else size
    per_seed = difference.over_seeds * difference.seeds

    def is_detected(seeds: int) -> bool:
        scaled = replace(difference, seeds=seeds, over_seeds=per_seed / seeds, freedom=None)
        required = (critical(scaled, alpha) + special.stdtrit(seeds - 1, POWER)) * scaled.error
        return bool(size >= required > 0)

    if not is_detected(MOST_SEEDS):
        return float("nan")
    candidates = range(FEWEST_SEEDS, MOST_SEEDS + 1)
    return float(candidates[bisect.bisect_left(candidates, True, key=is_detected)])


def seeds_range(difference: Difference, alpha: float, size: float | None = None) -> Interval:
    """The range of `seeds_needed`, since a few seeds tell little of the spread: 5 to 95%.

    Formula:
        ν v / χ²_ν(.95)  ..  ν v / χ²_ν(.05)   the variance over seeds, for a size that is named
        D ± t_ν(.95) e                         the difference, for the size observed

    NaN stands for more than 1,000.
    """
    freedom = difference.freedom_over_seeds
    if size is None:
        reach = critical(difference, 0.1) * difference.error
        ends = (abs(difference.mean) + reach, max(abs(difference.mean) - reach, 0.0))
        return Interval(*(seeds_needed(difference, alpha, end) for end in ends))
    factors = freedom / special.chdtri(freedom, np.array([0.05, 0.95]))
    return Interval(
        *(
            seeds_needed(
                replace(difference, over_seeds=difference.over_seeds * factor), alpha, size
            )
            for factor in factors
        )
    )


def verdict(
    difference: float,
    bounds: Interval,
    p_adjusted: float,
    higher_is_better: bool,
    floor: float = 0.0,
) -> str:
    """The verdict: "better", "worse" or "not distinguishable"; "" if there is no p value.

    The verdict is a difference only if the corrected test and the interval both exclude 0, and
    all that the noise floors explain: see `p_beyond`.
    """
    if np.isnan(p_adjusted):
        return ""
    excluded = bounds.low > max(0.0, floor) or bounds.high < min(0.0, floor)
    if p_adjusted >= 1 - CONFIDENCE or not excluded:
        return "not distinguishable"
    return "better" if (difference > 0) == higher_is_better else "worse"
