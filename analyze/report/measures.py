"""Measures beyond the test set's metrics in words: names, cells of tables, sentences."""

from typing import Any

import numpy as np
import pandas as pd

from analyze.metrics.beyond.conformal import SCORES as SETS
from analyze.metrics.beyond.failures import COVERAGES
from analyze.metrics.beyond.recalibration import TITLES
from analyze.metrics.table import heading
from analyze.runs.purposes import in_order

_SCORES = {
    "msp": "largest probability",
    "maxlogit": "largest logit",
    "entropy": "entropy",
    "energy": "energy",
}
_KINDS = {
    "auroc": "AUROC %",
    "aupr_own": "AUPR %, own images positive",
    "aupr_other": "AUPR %, other images positive",
    "fpr95": "FPR % at 95% TPR",
    "coverage": "coverage %",
    "size": "set size",
}
_NAMED = {
    "auroc_errors": "AUROC % of right against wrong",
    "augrc": "AUGRC %",
    **{f"accuracy_at_{c}": f"accuracy % at {c}% coverage" for c in COVERAGES},
    **{f"{m}_refinement": f"refinement of {heading(m)}" for m in ("nll", "brier")},
    **{f"{m}_miscalibration": f"miscalibration of {heading(m)}" for m in ("nll", "brier")},
    **{f"{m}_miscalibration_ts": f"miscalibration of {heading(m)} at T" for m in ("nll", "brier")},
}
_PLAIN = ("nll", "size", "brier")  # start the names of measures that are no fractions of images


def cell(row: dict[str, Any] | None) -> str:
    """A mean with its standard deviation, marked where its interval leaves out the reference."""
    if row is None:
        return ""
    measure = str(row["measure"])
    scale, digits = (1, 3) if measure.startswith(_PLAIN) else (100, 2)
    text = number(float(row["mean"]), scale, digits)
    if not pd.isna(row["sd"]):
        text += f" ± {number(float(row['sd']), scale, digits)}"
    side = _side(measure, row)
    return f"{text} {side}" if side else text


def _side(measure: str, row: dict[str, Any]) -> str:
    low, high = float(row["low"]), float(row["high"])
    if measure.startswith("coverage") or not (low > 0 or high < 0):
        return ""
    higher_is_better = measure.startswith(("accuracy", "auroc", "aupr"))
    return "▲" if (low > 0) == higher_is_better else "▼"


def sentence(where: str, measure: str, rows: pd.DataFrame, reference: str) -> str:
    """Which losses differ from the reference, by intervals that exclude 0."""
    scale, digits, unit = (1, 3, "") if measure.startswith(_PLAIN) else (100, 1, "%")
    by_loss = {row["loss"]: row for row in rows.to_dict("records")}
    means = [row["mean"] for row in by_loss.values()]
    title = measure_title(measure).replace(" %", "")
    ends = f"{scale * min(means):.{digits}f} to {scale * max(means):.{digits}f}{unit}"
    sides = {
        "higher": [loss for loss, row in by_loss.items() if row["low"] > 0],
        "lower": [loss for loss, row in by_loss.items() if row["high"] < 0],
    }
    told = [
        f"{side} than {reference}'s for "
        + ", ".join(
            f"{loss} ({scale * by_loss[loss]['difference']:+.{digits}f}, "
            f"{scale * by_loss[loss]['low']:+.{digits}f} to "
            f"{scale * by_loss[loss]['high']:+.{digits}f})"
            for loss in in_order(losses)
        )
        for side, losses in sides.items()
        if losses
    ]
    if not told:
        return f"{where}: {title} {ends}; no interval of a difference from {reference} excludes 0."
    return f"{where}: {title} {ends}; {'; '.join(told)}. Intervals are uncorrected."


def gain_sentence(method: str, where: str, rows: pd.DataFrame) -> str:
    """For which losses a recalibration has another NLL than T, by intervals that exclude 0."""
    by_loss = {row["loss"]: row for row in rows.to_dict("records")}
    sides = {
        "lower": [loss for loss, row in by_loss.items() if row["nll_high"] < 0],
        "higher": [loss for loss, row in by_loss.items() if row["nll_low"] > 0],
    }
    told = [
        f"{side} than at T for "
        + ", ".join(f"{loss} ({by_loss[loss]['nll_minus_t']:+.4f})" for loss in in_order(losses))
        for side, losses in sides.items()
        if losses
    ]
    start = ", ".join(filter(None, (TITLES[method], where)))
    if not told:
        return f"{start}: no interval of its NLL minus that at T excludes 0."
    return f"{start}: NLL {'; '.join(told)}. Intervals are uncorrected."


def measure_title(measure: str) -> str:
    """The name of a measure for readers.

    Example:
        >>> measure_title("fpr95_energy"), measure_title("nll_ts"), measure_title("size_aps")
        ('FPR % at 95% TPR, by energy', 'NLL at T', 'set size, APS')
    """
    if measure in _NAMED:
        return _NAMED[measure]
    kind, _, score = measure.rpartition("_")
    if score in _SCORES:
        return f"{_KINDS[kind]}, by {_SCORES[score]}"
    if score in SETS:
        return f"{_KINDS[kind]}, {score.upper()}"
    return heading(measure)


def ends(low: float, high: float, scale: float, digits: int) -> str:
    """An interval; empty without one."""
    if np.isnan(low):
        return ""
    return f"{number(low, scale, digits, '+')} to {number(high, scale, digits, '+')}"


def number(value: float, scale: float, digits: int, sign: str = "") -> str:
    """A number times the scale; empty for NaN."""
    return "" if pd.isna(value) else f"{scale * value:{sign}.{digits}f}"
