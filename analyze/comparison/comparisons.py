"""Compares every loss with the reference loss, setting by setting, with verdicts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analyze.comparison.covariance import covariances
from analyze.comparison.statistics import (
    CONFIDENCE,
    FEWEST_SEEDS,
    Difference,
    Interval,
    crossed,
    holm,
    interval,
    over_seeds,
    p_value,
    seeds_needed,
    sign_flip,
    verdict,
)
from analyze.metrics.predictions import Floats
from analyze.metrics.table import is_scale_bound, of_column
from analyze.runs.run import as_text, option_texts
from analyze.runs.scored import ScoredRun

PRIMARY = ("accuracy", "nll", "ece", "nll_ts")
# Verdicts without a test. IDENTICAL: every metric of every run is bit-identical. ARBITRARY: the
# metric depends on the scale of the scores, which one of the two losses does not train.
IDENTICAL, ARBITRARY = "identical", "arbitrary scale"
COLUMNS = [
    *("loss", "reference", "metric", "primary", "interval", "scale_arbitrary", "seeds"),
    *("difference", "low", "high", "p", "p_signflip", "p_holm", "verdict", "seeds_needed"),
]


def compare(
    evaluated: Sequence[ScoredRun],
    reference: str,
    options: Sequence[str] = (),
    covariance: dict[str, Floats] | None = None,
    rng: np.random.Generator | None = None,
) -> pd.DataFrame:
    """One row per setting, loss other than the reference, and metric.

    Runs are paired by seed within a setting, and examples by index. Holm's correction covers all
    primary comparisons of the table, except those without a test:

    * fewer than three seeds in common give no verdict;
    * a loss whose runs are all identical to the reference's is the same loss written in another
      way, so there is no hypothesis to test;
    * a metric that depends on the scale means nothing for a loss that leaves the scale open.

    Args:
        evaluated: Runs; those of one setting share their test examples.
        reference: The loss to compare the others with.
        options: The options that vary between settings, for the first columns.
        covariance: The covariance between runs over examples, by metric; from `covariances` by
            default.
        rng: Generator for the sign-flip test above 20 seeds; by default seeded with 0.

    Returns:
        The options, then COLUMNS. `interval` says what is random: "crossed" for seeds and
        examples, "seeds" for seeds alone, given these examples.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    covariance = covariances(evaluated) if covariance is None else covariance
    rows, differences = [], []
    by_setting: dict[str, list[int]] = {}
    for place, scored in enumerate(evaluated):
        by_setting.setdefault(as_text(scored.run.setting), []).append(place)
    for _, places in sorted(by_setting.items()):
        setting = option_texts(evaluated[places[0]].run.setting, options)
        for paired in _pairs(evaluated, places, reference):
            pairs = [(evaluated[a], evaluated[b]) for a, b in paired]
            identical = all(_same_metrics(*pair) for pair in pairs)
            for metric in pairs[0][0].metrics:
                everywhere = all(metric in scored.metrics for pair in pairs for scored in pair)
                if everywhere and of_column(metric).better != "neither":
                    of_runs = covariance.get(metric)
                    of_pairs = None if of_runs is None else _of_differences(of_runs, paired)
                    row, difference = _compare_metric(pairs, metric, of_pairs, rng)
                    rows.append(setting | row | _no_test(row, identical))
                    differences.append(difference)
    frame = pd.DataFrame(rows, columns=[*options, *COLUMNS])
    return _with_verdicts(frame, differences)


def _pairs(
    evaluated: Sequence[ScoredRun], places: Sequence[int], reference: str
) -> list[list[tuple[int, int]]]:
    """For each other loss, the positions of its runs and of the reference's, paired by seed."""
    positions = {(evaluated[p].run.loss, evaluated[p].run.seed): p for p in places}
    losses = sorted({loss for loss, _ in positions} - {reference})
    paired = [
        [
            (positions[loss, seed], positions[reference, seed])
            for seed in sorted({seed for _, seed in positions})
            if (loss, seed) in positions and (reference, seed) in positions
        ]
        for loss in losses
    ]
    return [pairs for pairs in paired if pairs]


def _same_metrics(ours: ScoredRun, theirs: ScoredRun) -> bool:
    """Whether all metrics of two runs are equal."""
    return ours.metrics.keys() == theirs.metrics.keys() and np.array_equal(
        list(ours.metrics.values()),
        [theirs.metrics[name] for name in ours.metrics],
        equal_nan=True,
    )


def _no_test(row: dict[str, Any], identical: bool) -> dict[str, Any]:
    """The entries that mark a row as not tested; {} for a row that is tested."""
    arbitrary = row["primary"] and row["scale_arbitrary"]
    if not identical and not arbitrary:
        return {}
    verdict = IDENTICAL if identical else ARBITRARY
    return {"p": np.nan, "p_signflip": np.nan, "verdict": verdict}


def _of_differences(runs: Floats, paired: Sequence[tuple[int, int]]) -> Floats | None:
    """The covariance of paired differences, from the covariance between runs.

    It is None if it is unknown, or lost in rounding because the runs all but coincide. It is 0
    for runs that do coincide.
    """
    a, b = np.array(paired).T
    result = runs[np.ix_(a, a)] - runs[np.ix_(a, b)] - runs[np.ix_(b, a)] + runs[np.ix_(b, b)]
    lost = np.abs(result).max() < 1e-12 * np.trace(runs[np.ix_(a, a)] + runs[np.ix_(b, b)])
    return None if np.isnan(result).any() or (lost and result.any()) else result


def _compare_metric(
    pairs: list[tuple[ScoredRun, ScoredRun]],
    metric: str,
    covariance: Floats | None,
    rng: np.random.Generator,
) -> tuple[dict[str, Any], Difference | None]:
    loss, reference = pairs[0][0].run, pairs[0][1].run
    seed_differences = [ours.metrics[metric] - theirs.metrics[metric] for ours, theirs in pairs]
    row: dict[str, Any] = {
        "loss": loss.loss,
        "reference": reference.loss,
        "metric": metric,
        "primary": metric in PRIMARY,
        "interval": "seeds",
        "scale_arbitrary": (loss.scale_arbitrary or reference.scale_arbitrary)
        and is_scale_bound(metric),
        "seeds": len(pairs),
        "difference": float(np.mean(seed_differences)),
    }
    if len(pairs) < 2:
        return row, None
    if covariance is not None:
        row["interval"] = "crossed"
        difference = crossed(seed_differences, covariance, pairs[0][0].size)
    else:
        difference = over_seeds(seed_differences)
    row["low"], row["high"] = interval(difference)
    if len(pairs) >= FEWEST_SEEDS:
        row["p"] = p_value(difference)
        row["p_signflip"] = sign_flip(seed_differences, rng)
    return row, difference


def _with_verdicts(frame: pd.DataFrame, differences: list[Difference | None]) -> pd.DataFrame:
    """Applies Holm's correction to the primary p values, and adds verdicts and seeds needed."""
    p = frame["p"].where(frame["primary"].astype(bool)).to_numpy(dtype=np.float64)
    frame["p_holm"] = holm(p)
    family = max(1, int((~np.isnan(p)).sum()))
    frame["verdict"] = [_verdict(row) for row in frame.to_dict("records")]
    frame["seeds_needed"] = [
        seeds_needed(difference, (1 - CONFIDENCE) / family) if difference and tested else np.nan
        for difference, tested in zip(differences, ~np.isnan(p), strict=True)
    ]
    return frame


def _verdict(row: dict[str, Any]) -> str:
    if not row["primary"]:
        return "exploratory"
    if row["verdict"] in (IDENTICAL, ARBITRARY):
        return str(row["verdict"])
    bounds = Interval(row["low"], row["high"])
    higher = of_column(row["metric"]).better == "higher"
    return verdict(row["difference"], bounds, row["p_holm"], higher)
