"""The first screen of a report: which losses may be the best, and one table of all.

Every sentence and mark is derived from best.csv and comparisons.csv.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analyze.comparison.cells import (
    BEST_MARK,
    Cell,
    by_setting,
    decimals,
    formatted,
    scale_mark,
    setting_title,
    within,
)
from analyze.comparison.comparisons import EQUIVALENT, IDENTICAL
from analyze.comparison.report import Report
from analyze.comparison.statistics import FEWEST_SEEDS
from analyze.metrics.table import PRIMARY, heading
from analyze.runs.purposes import in_order, purpose_of
from analyze.runs.run import as_text

BETTER_MARK, WORSE_MARK, EQUIVALENT_MARK = "▲", "▼", "="
MARKS = {"better": BETTER_MARK, "worse": WORSE_MARK, EQUIVALENT: EQUIVALENT_MARK}
MEANINGS = {
    BEST_MARK: "may be the best",
    BETTER_MARK: "better than the reference",
    WORSE_MARK: "worse than the reference",
    EQUIVALENT_MARK: "equivalent to the reference",
}
# The readings that the table can show, and the suffix of their metrics.
READINGS = {"softmax": "", "at T": "_ts", "as the loss reads it": "_own"}


@dataclass(frozen=True)
class Answer:
    """The answer in one setting.

    Attributes:
        setting: Its title; "" if there is only one.
        sentences: For each primary metric, which losses may be the best; then what to train with.
        readings: The readings that the table can show.
        columns: For each column, its heading and the reading that it belongs to; "" for all.
        groups: For each purpose, its losses with their cells.
    """

    setting: str
    sentences: list[str]
    readings: list[str]
    columns: list[tuple[str, str]]
    groups: list[tuple[str, list[tuple[str, list[Cell]]]]]


def about(report: Report) -> str:
    """The runs, losses, seeds and images in one line."""
    seeds, losses = (report.runs[name].nunique() for name in ("seed", "loss"))
    text = (
        f"{len(report.evaluated)} runs: {_count(losses, 'loss', 'losses')}, "
        f"{_count(seeds, 'seed', 'seeds')}, {_images(report)} test images"
    )
    text += f"; compared with {report.reference}." if len(report.comparisons) else "."
    return text + (f" Only losses like {', '.join(report.patterns)}." if report.patterns else "")


def _count(number: int, singular: str, plural: str) -> str:
    return f"{number} {singular if number == 1 else plural}"


def _images(report: Report) -> str:
    sizes = sorted({scored.size for scored in report.evaluated})
    return " or ".join(f"{size:,}" for size in sizes)


def title_of(report: Report) -> str:
    """The model and the data set."""
    about = [as_text(report.fixed[name]) for name in ("model", "dataset") if name in report.fixed]
    if about[1:] == ["folder"] and report.fixed.get("data_dir"):
        about[1] = Path(as_text(report.fixed["data_dir"])).name
    return f"Losses compared{': ' if about else ''}{' on '.join(about)}"


def answers(report: Report) -> Iterator[Answer]:
    """The answer in each setting, in the order of the tables."""
    for setting, losses in by_setting(report.losses, report.options):
        compared, best = within(report.comparisons, setting), within(report.best, setting)
        own = "ece_own_mean" in losses and losses["ece_own_mean"].notna().any()
        readings = {name: suffix for name, suffix in READINGS.items() if suffix != "_own" or own}
        columns = _columns(readings, report.reference)
        by_loss = {row["loss"]: row for row in losses.to_dict("records")}
        groups: dict[str, list[tuple[str, list[Cell]]]] = {}
        for loss in in_order(list(by_loss), report.reference):
            cells = [
                _difference(compared, loss)
                if metric == DIFFERENCE
                else _cell(by_loss[loss], metric, compared, best)
                for metric, _, _ in columns
            ]
            groups.setdefault(purpose_of(loss), []).append((loss, cells))
        yield Answer(
            setting=setting_title(setting),
            sentences=answer_in_words(best, compared, losses),
            readings=list(readings),
            columns=[(title, reading) for _, title, reading in columns],
            groups=list(groups.items()),
        )


def answer_in_words(best: pd.DataFrame, compared: pd.DataFrame, losses: pd.DataFrame) -> list[str]:
    """Which losses may be the best in each metric, and at once in several.

    Args:
        best: The rows of one setting in best.csv.
        compared: Those in comparisons.csv.
        losses: Those in losses.csv.
    """
    trained = list(losses[losses["seeds"] > 0]["loss"])
    if not len(best):
        return (
            [f"Which loss is the best is open: that takes {FEWEST_SEEDS} seeds in common."]
            if len(trained) > 1
            else []
        )
    twins = _twins(compared)
    sentences = []
    kept: dict[str, list[str]] = {}
    for metric, rows in best.groupby("metric", sort=False):
        kept[str(metric)] = list(rows[rows["in_set"]]["loss"])
        sentences.append(_best_in(str(metric), rows, trained, twins))
    if set(PRIMARY) <= set(kept):
        sentences += _at_once(kept, twins)
    return sentences


def _best_in(
    metric: str, rows: pd.DataFrame, trained: Sequence[str], twins: dict[str, list[str]]
) -> str:
    name = _name(metric)
    name = name[0].upper() + name[1:]
    kept, ranked = list(rows[rows["in_set"]]["loss"]), list(rows["loss"])
    without = [loss for loss in trained if loss not in ranked]
    number = len(_told(ranked, twins))
    names = _told(kept, twins)
    if len(names) == number:
        text = f"{name}: any of the {number} may be the best" if number > 1 else ""
    elif len(names) == 1:
        text = f"{name}: {names[0]} is the best of {number}"
    else:
        text = f"{name}: {_listed(names, 'or')} may be the best of {number}"
    text = text or f"{name}: nothing to compare"
    if without:
        text += f" ({_listed(without, 'and')} cannot be ranked in it)"
    return f"{text}."


def _at_once(kept: dict[str, list[str]], twins: dict[str, list[str]]) -> list[str]:
    """What to train with, with and without a temperature, and whether that matters."""
    sentences = []
    for start, metrics in (
        ("If a temperature is fitted afterwards", ("accuracy", "nll_ts")),
        ("If not", ("accuracy", "nll", "ece")),
    ):
        both = [loss for loss in kept["accuracy"] if all(loss in kept[m] for m in metrics)]
        names = [_name(metric) for metric in metrics]
        at_once = f"{', '.join(names[:-1])} and {names[-1]}"
        if both:
            told = _listed(_told(both, twins), "or")
            sentences.append(f"{start}, train with {told}: it may be the best in {at_once} alike.")
        else:
            sentences.append(f"{start}, no loss may be the best in {at_once} alike.")
    before, after = set(kept["nll"]), set(kept["nll_ts"])
    if before == after:
        sentences.append("The same losses may be the best in NLL before and after temperature.")
    elif not before & after:
        sentences.append(
            "Temperature changes the order: no loss may be the best in NLL both before and after "
            "it."
        )
    else:
        sentences.append("Temperature changes which losses may be the best in NLL.")
    return sentences


def _twins(compared: pd.DataFrame) -> dict[str, list[str]]:
    """For the reference, the losses that are the same loss written in another way."""
    same = compared[compared["verdict"] == IDENTICAL]
    twins: dict[str, list[str]] = {}
    for reference, rows in same.groupby("reference"):
        twins[str(reference)] = list(dict.fromkeys(rows["loss"]))
    return twins


def _told(losses: Sequence[str], twins: dict[str, list[str]]) -> list[str]:
    """Losses in order, each followed by those that are the same loss in another form."""
    others = {name for names in twins.values() for name in names}
    told = []
    for loss in in_order([loss for loss in losses if loss not in others]):
        same = [name for name in twins.get(loss, []) if name in losses]
        told.append(f"{loss} (the same: {', '.join(same)})" if same else loss)
    return told


def _listed(names: Sequence[str], last: str) -> str:
    return f"{', '.join(names[:-1])} {last} {names[-1]}" if len(names) > 1 else "".join(names)


def _name(metric: str) -> str:
    return heading(metric).removesuffix(" %")


DIFFERENCE = "difference"


def _columns(readings: dict[str, str], reference: str) -> list[tuple[str, str, str]]:
    """The metric, heading and reading of each column."""
    columns = [
        ("accuracy", heading("accuracy"), ""),
        (DIFFERENCE, f"minus {reference}, with 95% interval", ""),
    ]
    for metric in ("nll", "ece"):
        for reading, suffix in readings.items():
            columns.append((metric + suffix, heading(metric + suffix), reading))
    return [*columns, ("temperature", heading("temperature"), "")]


def _cell(row: dict[str, object], metric: str, compared: pd.DataFrame, best: pd.DataFrame) -> Cell:
    mean = row.get(f"{metric}_mean", float("nan"))
    assert isinstance(mean, float)
    if pd.isna(mean):
        return Cell("")
    digits = decimals(mean) if metric == "temperature" else None
    loss = row["loss"]
    verdicts = compared[(compared["loss"] == loss) & (compared["metric"] == metric)]["verdict"]
    marks = "".join(MARKS.get(verdict, "") for verdict in verdicts)
    kept = best[(best["loss"] == loss) & (best["metric"] == metric) & best["in_set"].astype(bool)]
    marks = scale_mark(row, metric) + marks + BEST_MARK * bool(len(kept))
    return Cell(formatted(metric, mean, digits=digits), mean, marks=marks)


def _difference(compared: pd.DataFrame, loss: str) -> Cell:
    """The difference in accuracy to the reference, with its interval."""
    rows = compared[(compared["loss"] == loss) & (compared["metric"] == "accuracy")]
    if not len(rows):
        return Cell("")
    row = rows.iloc[0]
    value, low, high = (
        formatted("accuracy", row[name], signed=True) for name in ("difference", "low", "high")
    )
    note = f"{low} to {high}" if low else ""
    return Cell(value, float(row["difference"]), note=note)
