"""The section on other images than the test set: sentences and a table."""

from dataclasses import dataclass

import pandas as pd

from analyze.beyond.evaluations import GENERATED, elsewhere
from analyze.comparison.cells import by_setting, setting_title
from analyze.comparison.report import Report
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
}
HEAD = ["images", "measure", "loss", "seeds", "mean", "sd", "difference", "low", "high"]


@dataclass(frozen=True)
class Elsewhere:
    """What was found on other images.

    Attributes:
        table: The table, as CSV.
        sentences: For each set of images, which losses differ from the reference.
        head: The column headings of `rows`.
        rows: The table as texts.
    """

    table: pd.DataFrame
    sentences: list[str]
    head: list[str]
    rows: list[list[str]]


def found_elsewhere(report: Report) -> Elsewhere | None:
    """The section; None if no run was evaluated on other images."""
    table = elsewhere(report.evaluated, report.reference, report.options)
    if not len(table):
        return None
    sentences = []
    for setting, rows in by_setting(table, report.options):
        title = setting_title(setting)
        for images, of_images in _without_single(rows).groupby("images", sort=False):
            for measure in ("auroc_msp", "accuracy"):
                some = of_images[of_images["measure"] == measure]
                if len(some):
                    where = f"{images}, {title}" if title else str(images)
                    sentences.append(_sentence(where, measure, some, report.reference))
    rows = _rows(_without_single(table), report.options)
    return Elsewhere(table, sentences, [*report.options, *HEAD], rows)


def _without_single(table: pd.DataFrame) -> pd.DataFrame:
    """The table without single corruptions: the page has their means, elsewhere.csv has all."""
    return table[~table["images"].str.startswith(GENERATED)]


def _sentence(where: str, measure: str, rows: pd.DataFrame, reference: str) -> str:
    """Which losses differ from the reference, by intervals that exclude 0."""
    what = "AUROC by the largest probability" if measure == "auroc_msp" else "accuracy"
    by_loss = {row["loss"]: row for row in rows.to_dict("records")}
    means = {loss: row["mean"] for loss, row in by_loss.items()}
    text = f"{where}: {what} {100 * min(means.values()):.1f} to {100 * max(means.values()):.1f}%"
    sides = {
        "higher": [loss for loss, row in by_loss.items() if row["low"] > 0],
        "lower": [loss for loss, row in by_loss.items() if row["high"] < 0],
    }
    told = [
        f"{side} than {reference}'s for "
        + ", ".join(
            f"{loss} ({100 * by_loss[loss]['difference']:+.1f}, "
            f"{100 * by_loss[loss]['low']:+.1f} to {100 * by_loss[loss]['high']:+.1f})"
            for loss in in_order(losses)
        )
        for side, losses in sides.items()
        if losses
    ]
    if not told:
        return f"{text}; no interval of a difference from {reference} excludes 0."
    return f"{text}; {'; '.join(told)}. Intervals are over seeds, uncorrected."


def measure_title(measure: str) -> str:
    """The name of a measure for readers.

    Example:
        >>> measure_title("fpr95_energy"), measure_title("nll_ts")
        ('FPR % at 95% TPR, by energy', 'NLL at T')
    """
    kind, _, score = measure.rpartition("_")
    if score in _SCORES:
        return f"{_KINDS[kind]}, by {_SCORES[score]}"
    return heading(measure)


def _rows(table: pd.DataFrame, options: list[str]) -> list[list[str]]:
    rows = []
    for row in table.to_dict("records"):
        scale = 1.0 if row["measure"].startswith("nll") else 100.0
        digits = 4 if scale == 1.0 else 2
        rows.append(
            [
                *(row[option] for option in options),
                row["images"],
                measure_title(row["measure"]),
                row["loss"],
                str(row["seeds"]),
                *(_number(row[name], scale, digits) for name in ("mean", "sd")),
                *(
                    _number(row[name], scale, digits, "+")
                    for name in ("difference", "low", "high")
                ),
            ]
        )
    return rows


def _number(value: float, scale: float, digits: int, sign: str = "") -> str:
    return "" if pd.isna(value) else f"{scale * value:{sign}.{digits}f}"
