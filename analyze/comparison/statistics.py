"""Paired differences between two losses: variance, interval, p value and verdict.

The unit is the difference from the reference loss with the same seed on the same examples.
"""

import bisect
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from analyze.metrics.predictions import Floats

CONFIDENCE = 0.95
FEWEST_SEEDS = 3  # for a verdict
EXACT_SEEDS = 20  # up to here the sign-flip test enumerates all assignments, at most 2^20
MOST_SEEDS = 1000  # upper limit of `seeds_needed`
POWER = 0.8
LEVEL_OF_OUTLIERS = 0.01  # of the test that finds losses whose seeds vary more than the others'
LOWEST_LOG_P = -460.0  # p = 1e-200; t quantiles overflow beyond


@dataclass(frozen=True)
class Difference:
    """A mean paired difference and the two parts of its variance.

    Attributes:
        mean: The mean over seeds (and examples).
        seeds: S, the number of seeds.
        over_seeds: The part that falls with the number of seeds.
        over_examples: The part that more seeds do not reduce; n - 1 degrees of freedom.
        examples: n, the number of examples; 1, with `over_examples` 0, if they are fixed.
        freedom: The degrees of freedom of `over_seeds`; S - 1 if None.
    """

    mean: float
    seeds: int
    over_seeds: float
    over_examples: float = 0.0
    examples: int = 1
    freedom: int | None = None

    @property
    def error(self) -> float:
        """The standard error."""
        return float(np.sqrt(self.over_seeds + self.over_examples))


class Interval(NamedTuple):
    """The ends of a confidence interval."""

    low: float
    high: float


def crossed(differences: ArrayLike, covariance: Floats, examples: int) -> Difference:
    """The difference of two means over examples, with seeds and examples both random.

    D is the S x n table of paired differences, with mean m, row means d_s and column means e_i.
    The variance of m is the sum of a part over seeds and a part over examples.

    Formula:
        v_s = Σ_s (d_s - m)^2 / ((S - 1) S)
        v_i = Σ_i (e_i - m)^2 / ((n - 1) n)
        v_r = Σ_{s,i} (D_{s,i} - d_s - e_i + m)^2 / ((S - 1) (n - 1) S n)
        max(v_s, v_r)     the part over seeds
        max(v_i - v_r, 0)  the part over examples

    Only d and the covariance C of the rows of D are needed: v_i = 1'C1 / (S^2 n) and
    v_r = (tr C - 1'C1 / S) / ((S - 1) S n).

    The expectation of v_s is at least v_r, the noise that single examples add to a mean over
    seeds. Few seeds may agree better than that by luck: three with the same number of correct
    predictions make v_s = 0. The floor v_r prevents such luck from passing for certainty.

    Args:
        differences: d, one paired difference per seed, shape (S,), S >= 2.
        covariance: C, between the seeds' differences over examples (ddof = 1), shape (S, S).
        examples: n >= 2.

    Raises:
        ValueError: Fewer than two seeds or examples, or shapes that do not fit.

    Source: the two-way random-effects model without replication; Owen 2007, "The pigeonhole
    bootstrap", arXiv:0712.1111.
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
        over_seeds=float(max(over.over_seeds, v_r)),
        over_examples=float(max(v_i - v_r, 0.0)),
        examples=examples,
    )


def over_seeds(differences: ArrayLike) -> Difference:
    """The difference with random seeds, given these test examples.

    Args:
        differences: One paired difference per seed, shape (S,), S >= 2.

    Raises:
        ValueError: Fewer than two seeds.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"differences must be one per seed, for 2 or more seeds, got {values.shape}"
        )
    return Difference(float(values.mean()), len(values), float(values.var(ddof=1) / len(values)))


def pooled(difference: Difference, values: ArrayLike) -> Difference:
    """The difference with the variance over seeds that most losses of the study share, for p.

    Formula:
        MS = Σ_{l,s} (y_ls - y_l - y_s + y)² / ((k - 1) (S - 1))
        2 MS / S   the part over seeds, unless the difference's own is larger
        c (S - 1)  its degrees of freedom, with c = ⌊(k - 1)/2⌋, at most 3

    Few seeds tell little of the variance of one pair, and k losses tell more of what they share.
    But losses need not vary alike:

    * A pair that varies more than the others keeps its own variance and degrees of freedom.
    * A loss that varies more than the rest (F test at 1%) is left out of MS, unless it is of the
      pair. It would hide the differences of the others.
    * Half of the pooled degrees of freedom are given up, and more of them with many losses. The
      reference is in every pair, and it may be the one that varies more.
    * With fewer than five losses nothing is gained, and the difference stays as it is.

    In simulations of up to 24 losses, with one or two that vary up to ten times as much, the
    reference among them, false claims stay below 5%.

    Args:
        difference: Of two losses, over S seeds.
        values: y, the metric of k losses with these seeds, shape (k, S); the pair comes first.
    """
    y = np.asarray(values, dtype=np.float64)
    y = y - y.mean(axis=1, keepdims=True)
    others = _alike(y)
    losses, seeds = len(others), y.shape[1]
    share = min((losses - 1) // 2, 3)
    common = 2 * _residuals(y[others]) / ((losses - 1) * (seeds - 1)) / seeds
    if share < 2 or common <= difference.over_seeds:
        return difference
    return replace(difference, over_seeds=common, freedom=share * (seeds - 1))


def _alike(y: Floats) -> list[int]:
    """The rows without those that vary more than the rest; the first two always stay.

    Args:
        y: Rows with a mean of 0, shape (k, S).
    """
    kept, freedom = list(range(len(y))), y.shape[1] - 1
    while len(kept) > 2:
        total = _residuals(y[kept])
        rest = {row: _residuals(y[[i for i in kept if i != row]]) for row in kept[2:]}
        row = min(rest, key=rest.__getitem__)
        of_rest = (len(kept) - 2) * freedom
        limit = special.fdtri(freedom, of_rest, 1 - LEVEL_OF_OUTLIERS)
        if total - rest[row] <= limit * rest[row] * freedom / of_rest:
            break
        kept.remove(row)
    return kept


def _residuals(y: Floats) -> float:
    """The sum of squared residuals from row and column means, for rows with a mean of 0."""
    return float((y**2).sum() - (y.sum(axis=0) ** 2).sum() / len(y))


def critical(difference: Difference, alpha: float) -> float:
    """The two-sided critical value of mean / error at level alpha (Cochran and Cox).

    It is the average of the t quantiles with the degrees of freedom of the two parts of the
    variance, weighted by these parts. Satterthwaite's degrees of freedom, the usual choice, fail
    with few seeds. If the part over seeds is small by chance, they jump from 2 to hundreds. With
    three seeds and alpha = 0.0025, they reject 2.1% of true null hypotheses.

    Source: Cochran 1964, "Approximate Significance Levels of the Behrens-Fisher Test",
    Biometrics 20, 191-195.
    """
    of_seeds = difference.seeds - 1 if difference.freedom is None else difference.freedom
    freedom = [of_seeds, max(difference.examples - 1, 1)]
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
    freedom = difference.seeds - 1 if difference.freedom is None else difference.freedom
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
