"""The runs of one setting, paired by seed, and the difference of any two of its losses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from analyze.comparison.covariance import covariances
from analyze.comparison.statistics import FEWEST_SEEDS, p_beyond
from analyze.comparison.variances import Difference, crossed, over_seeds, pooled
from analyze.metrics.predictions import Floats
from analyze.metrics.table import is_scale_bound, of_column
from analyze.runs.run import as_text
from analyze.runs.scored import ScoredRun

LOST = 1e-6  # of the covariances, which are float32: smaller differences of them are rounding


@dataclass(frozen=True)
class Contrast:
    """The difference of two losses in a metric, `loss` minus `other`.

    Attributes:
        loss, other: The losses.
        metric: The metric.
        differences: The paired differences, one per seed in common.
        crossed: Whether the examples are random too, or the seeds alone.
        own: The difference with its own variance, for intervals; None with one seed.
        tested: The difference with the variance for p values; None below three seeds.
        floor: The difference of the noise floors; 0 for a metric without one.
        scale_arbitrary: Whether the metric depends on a scale that one of the losses leaves open.
        at_bound: Whether it depends on a temperature that is at a bound in one of the runs.
    """

    loss: str
    other: str
    metric: str
    differences: list[float]
    crossed: bool
    own: Difference | None
    tested: Difference | None
    floor: float
    scale_arbitrary: bool
    at_bound: bool

    @property
    def testable(self) -> bool:
        """Whether a test means something: three seeds, a scale, and a temperature."""
        return self.tested is not None and not (self.scale_arbitrary or self.at_bound)

    def p_value(self) -> float:
        """The two-sided p value, beyond the noise floor; NaN below three seeds."""
        return float("nan") if self.tested is None else p_beyond(self.tested, self.floor)


class Setting:
    """The runs of one setting.

    Args:
        runs: Runs of one setting, on the same test examples.
        covariance: Metric -> covariance between these runs over examples, (R, R).
    """

    def __init__(self, runs: Sequence[ScoredRun], covariance: dict[str, Floats]) -> None:
        self.runs = list(runs)
        self.covariance = covariance
        self._place = {(r.run.loss, r.run.seed): place for place, r in enumerate(runs)}

    @property
    def setting(self) -> dict[str, Any]:
        """The options that its runs share."""
        return self.runs[0].run.setting

    @cached_property
    def losses(self) -> list[str]:
        """The losses, by name."""
        return sorted({loss for loss, _ in self._place})

    @cached_property
    def distinct(self) -> list[str]:
        """The losses without those that are another loss written in another way."""
        kept: list[str] = []
        for loss in self.losses:
            if not any(self.identical(loss, other) for other in kept):
                kept.append(loss)
        return kept

    def twin(self, loss: str) -> str:
        """The loss of `distinct` that this is, perhaps written in another way."""
        return next(other for other in self.distinct if self.identical(loss, other))

    def seeds(self, *losses: str) -> list[int]:
        """The seeds that these losses have in common."""
        every = {seed for _, seed in self._place}
        return sorted(s for s in every if all((loss, s) in self._place for loss in losses))

    def metrics(self, loss: str, other: str) -> list[str]:
        """The metrics that all paired runs have and that have a better side."""
        pairs = self._pairs(loss, other)
        runs = [self.runs[place] for pair in pairs for place in pair]
        return [
            metric
            for metric in (runs[0].metrics if runs else ())
            if all(metric in run.metrics for run in runs) and of_column(metric).better != "neither"
        ]

    def identical(self, loss: str, other: str) -> bool:
        """Whether all metrics of all paired runs are equal to the last bit."""
        pairs = self._pairs(loss, other)
        return bool(pairs) and all(_same(self.runs[a], self.runs[b]) for a, b in pairs)

    def contrast(self, metric: str, loss: str, other: str) -> Contrast:
        """The difference of two losses with a seed in common."""
        pairs = self._pairs(loss, other)
        ours, theirs = ([self.runs[place] for place in side] for side in zip(*pairs, strict=True))
        values = [a.metrics[metric] - b.metrics[metric] for a, b in zip(ours, theirs, strict=True)]
        own = tested = over_examples = None
        if len(pairs) > 1:
            known = self.covariance.get(metric)
            over_examples = None if known is None else _of_differences(known, pairs)
            if over_examples is None:
                own = over_seeds(values)
            else:
                own = crossed(values, over_examples, ours[0].size)
        if own is not None and len(pairs) >= FEWEST_SEEDS:
            tested = pooled(own, self._alike(metric, loss, other))
        arbitrary = any(run.run.scale_arbitrary for run in ours + theirs)
        at_bound = any(run.temperature_at_bound for run in ours + theirs)
        return Contrast(
            loss=loss,
            other=other,
            metric=metric,
            differences=values,
            crossed=over_examples is not None,
            own=own,
            tested=tested,
            floor=_floor(ours, metric) - _floor(theirs, metric),
            scale_arbitrary=arbitrary and is_scale_bound(metric),
            at_bound=at_bound and metric.endswith("_ts"),
        )

    def _pairs(self, loss: str, other: str) -> list[tuple[int, int]]:
        return [
            (self._place[loss, seed], self._place[other, seed]) for seed in self.seeds(loss, other)
        ]

    def _alike(self, metric: str, loss: str, other: str) -> Floats:
        """The metric of the losses whose variance over seeds this pair shares, (k, S).

        These are the pair itself, and all losses that have its seeds and for which the metric
        means something.
        """
        seeds = self.seeds(loss, other)
        rows = []
        for name in dict.fromkeys([loss, other, *self.distinct]):
            runs = [self.runs[self._place[name, s]] for s in seeds if (name, s) in self._place]
            means = name in (loss, other) or not any(
                (run.run.scale_arbitrary and is_scale_bound(metric))
                or (run.temperature_at_bound and metric.endswith("_ts"))
                for run in runs
            )
            if len(runs) == len(seeds) and means and all(metric in run.metrics for run in runs):
                rows.append([run.metrics[metric] for run in runs])
        return np.array(rows)


def settings(
    evaluated: Sequence[ScoredRun], covariance: dict[str, Floats] | None = None
) -> Iterator[Setting]:
    """The settings of a study, in order.

    Args:
        evaluated: Runs; those of one setting share their test examples.
        covariance: Metric -> covariance between all runs; from `covariances` by default.
    """
    covariance = covariances(evaluated) if covariance is None else covariance
    by_setting: dict[str, list[int]] = {}
    for place, scored in enumerate(evaluated):
        by_setting.setdefault(as_text(scored.run.setting), []).append(place)
    for _, places in sorted(by_setting.items()):
        block = np.ix_(places, places)
        yield Setting(
            [evaluated[place] for place in places],
            {metric: matrix[block] for metric, matrix in covariance.items()},
        )


def copies(runs: Sequence[ScoredRun]) -> list[tuple[ScoredRun, ScoredRun]]:
    """The runs of one setting and loss that equal one of another seed, each with that one.

    Two seeds train two networks. Metrics that are equal to the last bit say that a run was copied,
    or its seed written wrongly.
    """
    groups: dict[tuple[str, str], list[ScoredRun]] = {}
    for scored in runs:
        key = (as_text(scored.run.setting), scored.run.loss)
        groups.setdefault(key, []).append(scored)
    found: dict[Path, tuple[ScoredRun, ScoredRun]] = {}
    for group in groups.values():
        for first, second in combinations(group, 2):
            if first.run.seed != second.run.seed and _same(first, second):
                found.setdefault(second.run.path, (second, first))
    return list(found.values())


def _same(first: ScoredRun, second: ScoredRun) -> bool:
    """Whether all metrics of two runs are equal."""
    return first.metrics.keys() == second.metrics.keys() and np.array_equal(
        list(first.metrics.values()),
        [second.metrics[name] for name in first.metrics],
        equal_nan=True,
    )


def _floor(runs: Sequence[ScoredRun], metric: str) -> float:
    """The mean noise floor of a metric; 0 if it has none."""
    return float(np.mean([run.metrics.get(f"null_{metric}", 0.0) for run in runs]))


def _of_differences(runs: Floats, paired: Sequence[tuple[int, int]]) -> Floats | None:
    """The covariance of paired differences, from the covariance between runs.

    It is None if it is unknown, or lost in rounding because the runs all but coincide. It is 0
    for runs that do coincide.
    """
    a, b = np.array(paired).T
    result = runs[np.ix_(a, a)] - runs[np.ix_(a, b)] - runs[np.ix_(b, a)] + runs[np.ix_(b, b)]
    lost = np.abs(result).max() < LOST * np.trace(runs[np.ix_(a, a)] + runs[np.ix_(b, b)])
    return None if np.isnan(result).any() or (lost and result.any()) else result
