"""Compares every loss with the reference loss, setting by setting, with verdicts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analyze.comparison.contrasts import Contrast, settings
from analyze.comparison.statistics import (
    CONFIDENCE,
    Interval,
    holm,
    interval,
    p_equivalent,
    seeds_needed,
    seeds_range,
    sign_flip,
    verdict,
)
from analyze.comparison.tuning import of_pair, tuning
from analyze.metrics.predictions import Floats
from analyze.metrics.table import PRIMARY, of_column
from analyze.runs.run import option_texts
from analyze.runs.scored import ScoredRun

# Verdicts without a test. IDENTICAL: every metric of every run is bit-identical. ARBITRARY: the
# metric depends on the scale of the scores, which one of the two losses does not train. AT_BOUND:
# the metric depends on a temperature that has no finite optimum.
IDENTICAL, ARBITRARY, AT_BOUND = "identical", "arbitrary scale", "T at a bound"
UNTESTED = (IDENTICAL, ARBITRARY, AT_BOUND)
EQUIVALENT = "equivalent"
COLUMNS = [
    *("loss", "reference", "metric", "primary", "interval", "scale_arbitrary", "seeds"),
    *("difference", "low", "high", "p", "p_signflip", "p_holm", "verdict", "seeds_needed"),
    *("seeds_needed_low", "seeds_needed_high", "noise_floor", "p_equivalent", "tuning"),
]


def compare(
    evaluated: Sequence[ScoredRun],
    reference: str,
    options: Sequence[str] = (),
    covariance: dict[str, Floats] | None = None,
    rng: np.random.Generator | None = None,
    margins: dict[str, float] | None = None,
) -> pd.DataFrame:
    """One row per setting, loss other than the reference, and metric.

    Runs are paired by seed within a setting, and examples by index. Holm's correction covers all
    primary comparisons of the table, except those without a test:

    * fewer than three seeds in common give no verdict;
    * a loss whose runs are all identical to the reference's is the same loss written in another
      way, so there is no hypothesis to test;
    * a metric that depends on the scale means nothing for a loss that leaves the scale open;
    * a metric at T means nothing where a run's temperature is at a bound.

    With margins, all primary p values are multiplied by the number K of primary comparisons
    instead, those of the tests of equivalence too.

    Args:
        evaluated: Runs; those of one setting share their test examples.
        reference: The loss to compare the others with.
        options: The options that vary between settings, for the first columns.
        covariance: The covariance between runs over examples, by metric; from `covariances` by
            default.
        rng: Generator for the sign-flip test above 20 seeds; by default seeded with 0.
        margins: Metric -> the smallest difference that matters, as a fraction: a primary metric
            whose true difference is shown to be smaller has the verdict "equivalent".

    Returns:
        The options, then COLUMNS. `interval` says what is random: "crossed" for seeds and
        examples, "seeds" for seeds alone, given these examples. `noise_floor` is the difference
        of the noise floors of a metric that has one: see `p_beyond`. `tuning` says whether the
        settings were chosen, and on which seeds: see `analyze.comparison.tuning`.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    rows, contrasts = [], []
    kinds = tuning(evaluated)
    for setting in settings(evaluated, covariance):
        first = option_texts(setting.setting, options)
        for loss in setting.losses:
            if loss == reference:
                continue
            identical = setting.identical(loss, reference)
            for metric in setting.metrics(loss, reference):
                contrast = setting.contrast(metric, loss, reference)
                row = _row(contrast, margins or {}, rng, identical=identical)
                rows.append(first | row | {"tuning": of_pair(kinds, loss, reference)})
                contrasts.append(contrast)
    frame = pd.DataFrame(rows, columns=[*options, *COLUMNS])
    return _with_verdicts(frame, contrasts, margins or {})


def _row(
    contrast: Contrast, margins: dict[str, float], rng: np.random.Generator, *, identical: bool
) -> dict[str, Any]:
    """The entries of a comparison that do not depend on the others."""
    primary = contrast.metric in PRIMARY
    row: dict[str, Any] = {
        "loss": contrast.loss,
        "reference": contrast.other,
        "metric": contrast.metric,
        "primary": primary,
        "interval": "crossed" if contrast.crossed else "seeds",
        "scale_arbitrary": contrast.scale_arbitrary,
        "seeds": len(contrast.differences),
        "difference": float(np.mean(contrast.differences)),
        "noise_floor": contrast.floor,
    }
    if contrast.own is not None:
        row["low"], row["high"] = interval(contrast.own)
    if identical:
        return row | {"verdict": IDENTICAL}
    if primary and contrast.scale_arbitrary:
        return row | {"verdict": ARBITRARY}
    if contrast.tested is not None:
        if primary and contrast.at_bound:
            return row | {"verdict": AT_BOUND}
        row["p"] = contrast.p_value()
        row["p_signflip"] = sign_flip(contrast.differences, rng)
        if primary and contrast.metric in margins:
            row["p_equivalent"] = p_equivalent(contrast.tested, margins[contrast.metric])
    return row


def _with_verdicts(
    frame: pd.DataFrame, contrasts: list[Contrast], margins: dict[str, float]
) -> pd.DataFrame:
    """Corrects the primary p values, and adds verdicts and seeds needed."""
    p = frame["p"].where(frame["primary"].astype(bool)).to_numpy(dtype=np.float64)
    family = max(1, int((~np.isnan(p)).sum()))
    # A pair is either different or equivalent, so K corrects for both questions. Holm's steps,
    # which take each family apart, would not.
    frame["p_holm"] = np.minimum(family * p, 1.0) if margins else holm(p)
    frame["p_equivalent"] = np.minimum(family * frame["p_equivalent"].astype(np.float64), 1.0)
    frame["verdict"] = [_verdict(row) for row in frame.to_dict("records")]
    level = (1 - CONFIDENCE) / family
    needed = np.full((len(frame), 3), np.nan)
    for row, contrast, untested in zip(needed, contrasts, np.isnan(p), strict=True):
        if contrast.own is not None and not untested:
            size = margins.get(contrast.metric)
            row[0] = seeds_needed(contrast.own, level, size)
            row[1:] = seeds_range(contrast.own, level, size)
    frame[["seeds_needed", "seeds_needed_low", "seeds_needed_high"]] = needed
    return frame


def _verdict(row: dict[str, Any]) -> str:
    if not row["primary"]:
        return "exploratory"
    if row["verdict"] in UNTESTED:
        return str(row["verdict"])
    if row["p_equivalent"] < 1 - CONFIDENCE:
        return EQUIVALENT
    bounds = Interval(row["low"], row["high"])
    higher = of_column(row["metric"]).better == "higher"
    return verdict(row["difference"], bounds, row["p_holm"], higher, row["noise_floor"])
