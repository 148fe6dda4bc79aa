"""Paired differences between two losses: their variance, interval, p and verdict.

The unit is the difference to the reference loss with the same seed on the same examples.
"""

import bisect
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from analyze.metrics.predictions import Floats

CONFIDENCE = 0.95
FEWEST_SEEDS = 3  # fewer give no verdict
EXACT_SEEDS = 20  # up to here the sign-flip test enumerates: 2^20 assignments
MOST_SEEDS = 1000  # that `seeds_needed` considers
POWER = 0.8
LOWEST_LOG_P = -460.0  # 1e-200: t quantiles beyond overflow


@dataclass(frozen=True)
class Difference:
    """A mean paired difference and the two parts of its variance.

    Attributes:
        mean: The mean over seeds (and examples).
        seeds: S, how many seeds it is the mean of.
        over_seeds: The part that falls with the number of seeds; S - 1 degrees of freedom.
        over_examples: The part that stays with these test examples; n - 1 degrees of freedom.
        examples: n; 1 where examples were not resampled, and `over_examples` is 0.
    """

    mean: float
    seeds: int
    over_seeds: float
    over_examples: float = 0.0
    examples: int = 1

    @property
    def error(self) -> float:
        """The standard error."""
        return float(np.sqrt(self.over_seeds + self.over_examples))


class Interval(NamedTuple):
    """The ends of a confidence interval."""

    low: float
    high: float


def crossed(differences: ArrayLike, covariance: Floats, examples: int) -> Difference:
    """The difference with seeds and examples both random, for means over examples.

    With D the S x n table of paired differences, m its mean, d_s its row means, e_i its column
    means:
    v_s = sum (d_s - m)^2 / ((S-1) S), v_i = sum (e_i - m)^2 / ((n-1) n),
    v_r = sum (D - d_s - e_i + m)^2 / ((S-1)(n-1) S n). The variance of m is the sum of
    max(v_s, v_r/20) over seeds and max(v_i - v_r, 0) over examples. Of the table only d and the
    covariance C of its rows are needed: v_i = 1'C1 / (S^2 n) and
    v_r = (tr C - 1'C1 / S) / ((S-1) S n).

    v_s is expected to be at least v_r, what the noise of single examples adds to a mean over
    seeds. Three seeds that happen to have the same number of hits make v_s = 0; the floor keeps
    such luck from passing for certainty. By chance alone it is reached in 5% of studies with
    three seeds and in .5% with five.

    Args:
        differences: d, one paired difference for each seed, shape (S,), S >= 2.
        covariance: C, of the seeds' differences over the examples (ddof = 1), shape (S, S).
        examples: n >= 2.

    Raises:
        ValueError: Fewer than two seeds or examples, or shapes that do not fit.

    Source: the two-way random model without replication; Owen 2007, The pigeonhole bootstrap.
    """
    over = over_seeds(differences)
    seeds = over.seeds
    if examples < 2 or covariance.shape != (seeds, seeds):
        raise ValueError(
            f"{seeds} seeds need a covariance of {seeds} x {seeds} over 2 or more examples, "
            f"got shape {covariance.shape} over {examples}"
        )
    total = covariance.sum() / seeds
    v_i = total / (seeds * examples)
    v_r = max(np.trace(covariance) - total, 0.0) / ((seeds - 1) * seeds * examples)
    return replace(
        over,
        over_seeds=float(max(over.over_seeds, v_r / 20)),
        over_examples=float(max(v_i - v_r, 0.0)),
        examples=examples,
    )


def over_seeds(differences: ArrayLike) -> Difference:
    """The difference with seeds alone random, on these test examples.

    Args:
        differences: One paired difference per seed, shape (S,), S >= 2.

    Raises:
        ValueError: Fewer than two seeds.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"differences must be one for each of 2 or more seeds, got {values.shape}"
        )
    return Difference(float(values.mean()), len(values), float(values.var(ddof=1) / len(values)))


def critical(difference: Difference, alpha: float) -> float:
    """The two-sided critical value of mean / error at level alpha (Cochran & Cox).

    The quantiles of t with S - 1 and with n - 1 degrees of freedom, weighted by the two parts of
    the variance. Satterthwaite's degrees of freedom, the usual choice, fail at few seeds: where
    the part over seeds comes out small by luck, they jump from 2 to hundreds, and at three seeds
    and alpha = .0025 reject 2.1% where there is nothing.

    Source: Cochran 1964, Approximate Significance Levels of the Behrens-Fisher Test.
    """
    freedom = [difference.seeds - 1, max(difference.examples - 1, 1)]
    quantiles = -special.stdtrit(freedom, alpha / 2)
    parts = np.array([difference.over_seeds, difference.over_examples])
    return float(quantiles @ parts / parts.sum()) if parts.sum() > 0 else float(quantiles[0])


def interval(difference: Difference, confidence: float = CONFIDENCE) -> Interval:
    """The confidence interval mean ± critical value x error."""
    half = critical(difference, 1 - confidence) * difference.error
    return Interval(difference.mean - half, difference.mean + half)


def p_value(difference: Difference) -> float:
    """The two-sided p: the level at which the interval's end is exactly 0.

    A difference of exactly 0 has p = 1, also where nothing varies; any other that does not vary
    at all has no p (NaN): identical seeds are no evidence.
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


def sign_flip(differences: ArrayLike, rng: np.random.Generator) -> float:
    """The exact two-sided sign-flip test over seeds.

    The share of all 2^S choices of signs whose |sum| is at least the observed one: p >= 2^(1-S),
    that is .25 at 3 seeds, .0625 at 5 and .002 at 10. It assumes no more than that, without an
    effect, a difference is as likely as its opposite. Above 20 seeds, 2^20 random choices.

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
    # sums that are equal but for their rounding count as equal
    tolerance = 1e-9 * np.abs(values).sum()
    return float((np.abs(sums) >= abs(values.sum()) - tolerance).mean())


def holm(p_values: ArrayLike) -> Floats:
    """Holm's adjusted p values of one family, shape (K,); NaN stays NaN and is not counted.

    The k-th smallest of K becomes the largest of (K + 1 - j) p_j over j <= k, at most 1. Holds
    the chance of any false rejection at its level whatever the dependence of the tests.

    Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.

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


def seeds_needed(difference: Difference, alpha: float) -> float:
    """How many seeds would show a difference of this size, with the spread seen here.

    The smallest S from 3 to 1,000 at which a test at level alpha finds it with a power of about
    80%: |mean| >= (critical value + t quantile of .8) x error, with the part over seeds scaled
    to S. NaN where no number is enough: more test examples are needed then.
    """
    per_seed = difference.over_seeds * difference.seeds

    def found(seeds: int) -> bool:
        there = replace(difference, seeds=seeds, over_seeds=per_seed / seeds)
        required = (critical(there, alpha) + special.stdtrit(seeds - 1, POWER)) * there.error
        return bool(abs(difference.mean) >= required > 0)

    if not found(MOST_SEEDS):
        return float("nan")
    candidates = range(FEWEST_SEEDS, MOST_SEEDS + 1)
    return float(candidates[bisect.bisect_left(candidates, True, key=found)])


def verdict(difference: float, bounds: Interval, p_adjusted: float, higher_is_better: bool) -> str:
    """One of "better", "worse" and "not distinguishable", or "" where there is no p.

    A difference is called one only where the corrected test and the interval both say so.
    """
    if np.isnan(p_adjusted):
        return ""
    excluded = bounds.low > 0 or bounds.high < 0
    if p_adjusted >= 1 - CONFIDENCE or not excluded:
        return "not distinguishable"
    return "better" if (difference > 0) == higher_is_better else "worse"
