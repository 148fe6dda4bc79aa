"""Which losses may be the best in a metric, and all pairs of losses."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from analyze.comparison.contrasts import Contrast, Setting
from analyze.comparison.statistics import (
    CONFIDENCE,
    critical,
    holm,
    interval,
    verdict,
)
from analyze.metrics.table import PRIMARY, of_column
from analyze.runs.run import option_texts

BEST_COLUMNS = ["metric", "loss", "in_set", "low", "high"]
PAIR_COLUMNS = [
    *("metric", "loss", "other", "seeds", "difference", "low", "high", "p", "p_holm", "verdict"),
]


def best(
    settings: Sequence[Setting], options: Sequence[str] = (), metrics: Sequence[str] = PRIMARY
) -> pd.DataFrame:
    """The losses that may be the best in each of these metrics, setting by setting.

    With 95% confidence, the loss with the best expectation is in the set: Hsu's comparisons with
    the best, by Bonferroni over pairs. k is the number of distinct losses of which the metric
    means something, D_ij how much better i is than j.

    Formula:
        i is out  iff  min_j p_ij ≤ α / (k - 1), with p_ij the one-sided p value of D_ij ≥ 0
        min(0, min_j (D_ij - c_ij e_ij)) .. max(0, min_j (D_ij + c_ij e_ij))
            the interval of i's expectation minus that of the best other, with the critical value
            c_ij at the level 2α / (k - 1)

    For a metric with a noise floor, i is out only if it is worse than some j beyond the floor.
    Losses that have fewer than three seeds in common with another are left out of it.

    Source: Hsu 1984, "Constrained Simultaneous Confidence Intervals for Multiple Comparisons with
    the Best", Annals of Statistics 12, 1136-1144.

    Returns:
        The options, then BEST_COLUMNS; `low` and `high` with the better side up.
    """
    rows = []
    for setting in settings:
        first = option_texts(setting.setting, options)
        twins = {loss: setting.twin(loss) for loss in setting.losses}
        for metric in metrics:
            losses, contrasts = _comparable(setting, metric)
            among = {loss: _among(loss, metric, contrasts) for loss in losses}
            rows += [
                first | among[twin] | {"loss": loss}
                for loss, twin in twins.items()
                if twin in among
            ]
    return pd.DataFrame(rows, columns=[*options, *BEST_COLUMNS])


def all_pairs(settings: Sequence[Setting], options: Sequence[str] = ()) -> pd.DataFrame:
    """All pairs of distinct losses in each primary metric, with Holm's correction for a metric.

    Returns:
        The options, then PAIR_COLUMNS: the difference is `loss` minus `other`.
    """
    rows: list[dict[str, Any]] = []
    for setting in settings:
        first = option_texts(setting.setting, options)
        for metric in PRIMARY:
            _, pairs = _comparable(setting, metric)
            adjusted = holm([contrast.p_value() for contrast in pairs])
            rows += [
                first | _pair(contrast, float(p))
                for contrast, p in zip(pairs, adjusted, strict=True)
            ]
    return pd.DataFrame(rows, columns=[*options, *PAIR_COLUMNS])


def _comparable(setting: Setting, metric: str) -> tuple[list[str], list[Contrast]]:
    """The losses that can all be tested against each other, and the contrasts of all pairs."""
    contrasts = {}
    losses = list(setting.distinct)
    for pair in combinations(setting.distinct, 2):
        if metric in setting.metrics(*pair):
            contrasts[pair] = setting.contrast(metric, *pair)

    def partners(loss: str) -> int:
        return sum(c.testable for pair, c in contrasts.items() if loss in pair)

    # Leave out the loss with the fewest tests until all pairs have one.
    while losses and min(map(partners, losses)) < len(losses) - 1:
        least = min(losses, key=partners)
        losses.remove(least)
        contrasts = {pair: c for pair, c in contrasts.items() if least not in pair}
    return (losses, list(contrasts.values())) if contrasts else ([], [])


def _among(loss: str, metric: str, contrasts: Sequence[Contrast]) -> dict[str, Any]:
    """The row of one loss among the losses of a metric, from the contrasts of all pairs."""
    own = [contrast for contrast in contrasts if loss in (contrast.loss, contrast.other)]
    up = 1 if of_column(metric).better == "higher" else -1
    level = (1 - CONFIDENCE) / len(own)
    lows, highs, worse = [], [], []
    for contrast in own:
        tested = contrast.tested
        assert tested is not None, "_comparable leaves such losses out"
        sign = up if contrast.loss == loss else -up
        mean, reach = sign * tested.mean, critical(tested, 2 * level) * tested.error
        lows.append(mean - reach)
        highs.append(mean + reach)
        p = contrast.p_value()
        worse.append(p / 2 if mean < 0 else 1 - p / 2)
    return {
        "metric": metric,
        "loss": loss,
        "in_set": min(worse) > level,
        "low": min(0.0, *lows),
        "high": max(0.0, min(highs)),
    }


def _pair(contrast: Contrast, p_holm: float) -> dict[str, Any]:
    assert contrast.own is not None, "_comparable leaves such pairs out"
    bounds = interval(contrast.own)
    higher = of_column(contrast.metric).better == "higher"
    return {
        "metric": contrast.metric,
        "loss": contrast.loss,
        "other": contrast.other,
        "seeds": len(contrast.differences),
        "difference": contrast.own.mean,
        "low": bounds.low,
        "high": bounds.high,
        "p": contrast.p_value(),
        "p_holm": p_holm,
        "verdict": verdict(contrast.own.mean, bounds, p_holm, higher, contrast.floor),
    }
