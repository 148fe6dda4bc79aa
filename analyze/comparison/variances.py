"""The variance of a difference of two losses over seeds and over test examples.

The unit is the difference from another loss with the same seed on the same examples.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from analyze.metrics.predictions import Floats

LEVEL_OF_OUTLIERS = 0.01  # of the test that finds losses whose seeds vary more than the others'


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
    def freedom_over_seeds(self) -> int:
        """The degrees of freedom of `over_seeds`."""
        return self.seeds - 1 if self.freedom is None else self.freedom

    @property
    def error(self) -> float:
        """The standard error."""
        return float(np.sqrt(self.over_seeds + self.over_examples))


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

    In simulations of up to 24 losses, with one or two that vary up to ten times as much, false
    claims stay below 5%; if the reference is the one, and there are three seeds, below 10%.

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
