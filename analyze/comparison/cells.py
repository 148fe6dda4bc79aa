"""The main tables of a report as text, shared by terminal, page, Markdown and LaTeX."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analyze.comparison.report import Report
from analyze.comparison.statistics import FEWEST_SEEDS
from analyze.comparison.tuning import SAME, SAME_SEEDS_MARK, tuning
from analyze.metrics.table import PRIMARY, heading, is_scale_bound, of_column

# For a loss without a scale, values before temperature that depend on the scale get a mark.
COLUMNS = ("accuracy", "nll", "ece", "temperature", "nll_ts", "ece_ts", "aurc")
SHOWN = {name: heading(name) for name in COLUMNS}
# By softmax, as the loss reads its outputs, and at T.
READINGS = {n: heading(n) for n in ("ece", "ece_own", "ece_ts", "nll", "nll_own", "nll_ts")}
SCALE_MARK, CALIBRATED_MARK, BOUND_MARK, BEST_MARK = "†", "≈", "‡", "★"
AT_TEMPERATURE = ("temperature", "nll_ts", "ece_ts")
DIFFERENCES = (
    *("loss", "metric", "seeds", "difference", "95% interval", "p (Holm)", "verdict"),
    "seeds needed",
)


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: The text without marks.
        value: The sort key; NaN sorts last.
        bold: Whether the value is distinguishably better than the reference.
        marks: SCALE_MARK, CALIBRATED_MARK, BOUND_MARK, BEST_MARK or SAME_SEEDS_MARK, which
            `legend` explains.
        note: Small print beside the text: the noise floor of an ECE.
    """

    text: str
    value: float = float("nan")
    bold: bool = False
    marks: str = ""
    note: str = ""


@dataclass(frozen=True)
class Tables:
    """The main tables of one setting.

    Attributes:
        title: The setting; "" if only loss and seed vary.
        head: The column headings of `rows`.
        rows: One row per loss, the lowest NLL at T first.
        differences: One row per loss and primary metric, with the columns DIFFERENCES.
        readings: One row per loss with READINGS, if a loss reads its outputs otherwise than by
            softmax; else empty.
    """

    title: str
    head: list[str]
    rows: list[list[Cell]]
    differences: list[list[str]]
    readings: list[list[Cell]] = field(default_factory=list)

    @property
    def readings_head(self) -> list[str]:
        """The column headings of `readings`."""
        return ["loss", *READINGS.values()]


def main_tables(report: Report) -> Iterator[Tables]:
    """The tables of each setting, in the order of losses.csv."""
    own = any(scored.own for scored in report.evaluated)
    kinds = tuning(report.evaluated)
    for setting, losses in by_setting(report.losses, report.options):
        compared = within(report.comparisons, setting)
        lost = ["diverged"] if losses["diverged"].any() else []
        better = {
            (row.loss, row.metric) for row in compared.itertuples() if row.verdict == "better"
        }
        top = within(report.best, setting)
        best = {(row.loss, row.metric) for row in top.itertuples() if row.in_set}
        ranked = losses.sort_values("nll_ts_mean", kind="stable").to_dict("records")
        rows = [
            [
                Cell(row["loss"], marks=SAME_SEEDS_MARK * (kinds.get(row["loss"]) == SAME)),
                *(Cell(str(row[name]), row[name]) for name in ("seeds", *lost)),
            ]
            + [
                _mean(row, name, (row["loss"], name) in better, (row["loss"], name) in best)
                for name in SHOWN
            ]
            for row in ranked
        ]
        readings = [
            [Cell(row["loss"]), *(_mean(row, name, False) for name in READINGS)]
            for row in ranked
            if own and not pd.isna(row["ece_own_mean"])
        ]
        primary = compared[compared["metric"].isin(PRIMARY)]
        differences = [_difference(row) for row in primary.to_dict("records")]
        head = ["loss", "seeds", *lost, *SHOWN.values()]
        yield Tables(setting_title(setting), head, rows, differences, readings)


def by_setting(
    table: pd.DataFrame, options: list[str]
) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """The rows of each setting, in the order of the table."""
    if not options:
        yield {}, table
        return
    for _, rows in table.groupby(options, sort=False):
        yield rows[options].iloc[0].to_dict(), rows


def within(table: pd.DataFrame, setting: dict[str, str]) -> pd.DataFrame:
    """The rows of one setting."""
    for name, value in setting.items():
        table = table[table[name] == value]
    return table


def setting_title(setting: dict[str, str]) -> str:
    """A setting in one line, such as "lr 0.1, model resnet20", without options that it lacks.

    Example:
        >>> setting_title({"lr": "0.1", "teacher": ""})
        'lr 0.1'
    """
    return ", ".join(f"{name} {value}" for name, value in setting.items() if value)


def formatted(name: str, value: float, *, signed: bool = False, digits: int | None = None) -> str:
    """The value of a metric as in the tables: a percentage where usual; "" for NaN.

    Example:
        >>> formatted("accuracy", 0.9512), formatted("nll", 0.25, signed=True)
        ('95.12', '+0.250')
    """
    if pd.isna(value):
        return ""
    scale = 100.0 if of_column(name).unit == "%" else 1.0
    if digits is None:
        digits = 2 if scale == 100.0 or name == "temperature" else 3
    return f"{scale * value:{'+' if signed else ''}.{digits}f}"


def one_line(text: str) -> str:
    r"""The text with line breaks and other unprintable characters escaped.

    Example:
        >>> one_line("ce\n")
        'ce\\n'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def decimals(temperature: float, fewest: int = 2) -> int:
    """The number of decimals of a temperature; below 0.1, enough for three digits.

    Example:
        >>> decimals(1.79), decimals(0.00627)
        (2, 5)
    """
    small = 0 < temperature < 0.1
    return max(fewest, 2 - math.floor(math.log10(temperature))) if small else fewest


def scale_mark(row: dict[str, Any], name: str) -> str:
    """SCALE_MARK if the value depends on an arbitrary scale; else ""."""
    arbitrary = row["scale_arbitrary"] and is_scale_bound(name)
    return SCALE_MARK if arbitrary else ""


def verdict_text(row: dict[str, Any]) -> str:
    """The verdict of a comparison, or why it has none."""
    enough = row["seeds"] >= FEWEST_SEEDS
    return row["verdict"] or ("no spread over seeds" if enough else f"below {FEWEST_SEEDS} seeds")


def _mean(row: dict[str, Any], name: str, bold: bool, best: bool = False) -> Cell:
    """The mean ± half the t-interval over seeds, with its marks."""
    if not row["seeds"]:
        return Cell("")
    mean = row[f"{name}_mean"]
    digits = decimals(mean) if name == "temperature" else None
    text = formatted(name, mean, digits=digits)
    half = (row[f"{name}_high"] - row[f"{name}_low"]) / 2
    if half := formatted(name, half, digits=digits):
        text += f" ± {half}"
    marks = note = ""
    if name in ("ece", "ece_ts", "ece_own") and not pd.isna(mean):
        floor = row[f"null_{name}_mean"]
        note = f"null {formatted(name, floor)}"
        marks = CALIBRATED_MARK if mean < floor else ""
    marks += scale_mark(row, name)
    if row["temperatures_at_bound"] and name in AT_TEMPERATURE:
        marks += BOUND_MARK
    if best:
        marks += BEST_MARK
    return Cell(text, mean, bold, marks, note)


def _difference(row: dict[str, Any]) -> list[str]:
    metric = row["metric"]
    digits = 2 if of_column(metric).unit == "%" else 4
    difference, low, high = (
        formatted(metric, row[name], signed=True, digits=digits)
        for name in ("difference", "low", "high")
    )
    tested = not pd.isna(row["p_holm"])
    needed, fewest, most = (
        f"{row[name]:.0f}" if not pd.isna(row[name]) else ">1000"
        for name in ("seeds_needed", "seeds_needed_low", "seeds_needed_high")
    )
    return [
        row["loss"],
        SHOWN[metric] + (f" {SCALE_MARK}" if row["scale_arbitrary"] else ""),
        str(row["seeds"]),
        difference,
        f"{low} to {high}" if row["seeds"] > 1 else "",
        f"{row['p_holm']:.2g}" if tested else "",
        verdict_text(row),
        f"{needed} ({fewest} to {most})" if tested else "",
    ]
