"""Every loss against the reference loss, setting by setting, with verdicts."""

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
# Verdicts on what is no test: every metric of every run is equal to the last bit; one of the two
# losses trains scores without a scale, on which the metric depends.
IDENTICAL, ARBITRARY = "identical", "arbitrary scale"
COLUMNS = [
    *("loss", "reference", "metric", "primary", "interval", "scale_arbitrary", "seeds"),
    *("difference", "low", "high", "p", "p_signflip", "p_holm", "verdict", "seeds_needed"),
]


def compare(
    evaluated: Sequence[ScoredRun],
    reference: str,
    options: Sequence[str] = (),
    together: dict[str, Floats] | None = None,
    rng: np.random.Generator | None = None,
) -> pd.DataFrame:
    """A row for each setting, loss other than the reference, and metric.

    Runs are paired by seed within a setting, and examples by their index. Holm's correction is
    over all primary comparisons of the table; with fewer than three seeds in common there is no
    verdict, and the comparison does not count in the correction. Nor does one whose runs are all
    identical to the reference's: two ways to write one loss are no hypothesis, and no data could
    have told them apart. Nor does a metric that depends on a scale which the loss leaves open.

    Args:
        evaluated: Runs, those of one setting on the same test examples.
        reference: The loss that the others are compared to.
        options: The options that vary between settings: the first columns.
        together: How the runs vary together over the examples: from `covariances`, which is
            asked for it by default.
        rng: For the sign-flip test above 20 seeds; the default is seeded with 0.

    Returns:
        The options, then COLUMNS. `interval` says what is random: "crossed" seeds and
        examples, "seeds" the seeds alone, on these examples.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    together = covariances(evaluated) if together is None else together
    rows, differences = [], []
    by_setting: dict[str, list[int]] = {}
    for place, one in enumerate(evaluated):
        by_setting.setdefault(as_text(one.run.setting), []).append(place)
    for _, places in sorted(by_setting.items()):
        setting = option_texts(evaluated[places[0]].run.setting, options)
        for paired in _pairs(evaluated, places, reference):
            pairs = [(evaluated[a], evaluated[b]) for a, b in paired]
            identical = all(_same_metrics(*pair) for pair in pairs)
            for metric in pairs[0][0].metrics:
                everywhere = all(metric in one.metrics for pair in pairs for one in pair)
                if everywhere and of_column(metric).better != "neither":
                    known = together.get(metric)
                    covariance = None if known is None else _of_differences(known, paired)
                    row, difference = _compare_metric(pairs, metric, covariance, rng)
                    rows.append(setting | row | _no_test(row, identical))
                    differences.append(difference)
    frame = pd.DataFrame(rows, columns=[*options, *COLUMNS])
    return _with_verdicts(frame, differences)


def _pairs(
    evaluated: Sequence[ScoredRun], places: Sequence[int], reference: str
) -> list[list[tuple[int, int]]]:
    """For each other loss, where its runs and the reference's of the same seed are, by seed."""
    found = {(evaluated[p].run.loss, evaluated[p].run.seed): p for p in places}
    losses = sorted({loss for loss, _ in found} - {reference})
    paired = [
        [
            (found[loss, seed], found[reference, seed])
            for seed in sorted({seed for _, seed in found})
            if (loss, seed) in found and (reference, seed) in found
        ]
        for loss in losses
    ]
    return [pairs for pairs in paired if pairs]


def _same_metrics(ours: ScoredRun, theirs: ScoredRun) -> bool:
    """Whether all that was measured of two runs is equal."""
    return ours.metrics.keys() == theirs.metrics.keys() and np.array_equal(
        list(ours.metrics.values()),
        [theirs.metrics[name] for name in ours.metrics],
        equal_nan=True,
    )


def _no_test(row: dict[str, Any], identical: bool) -> dict[str, Any]:
    """What a row without a test has instead of p values; nothing for one with a test."""
    arbitrary = row["primary"] and row["scale_arbitrary"]
    if not identical and not arbitrary:
        return {}
    verdict = IDENTICAL if identical else ARBITRARY
    return {"p": np.nan, "p_signflip": np.nan, "verdict": verdict}


def _of_differences(runs: Floats, paired: Sequence[tuple[int, int]]) -> Floats | None:
    """The covariance of paired differences from that of the runs.

    None where it is not known, or lost in rounding: of runs that all but coincide. Runs that do
    coincide have 0.
    """
    a, b = np.array(paired).T
    found = runs[np.ix_(a, a)] - runs[np.ix_(a, b)] - runs[np.ix_(b, a)] + runs[np.ix_(b, b)]
    lost = np.abs(found).max() < 1e-12 * np.trace(runs[np.ix_(a, a)] + runs[np.ix_(b, b)])
    return None if np.isnan(found).any() or (lost and found.any()) else found


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
    """Corrects the primary p values for each other and states what follows."""
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
