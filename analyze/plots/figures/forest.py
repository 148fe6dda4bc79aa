"""The key figure: paired differences from the reference, with intervals and verdicts."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analyze.comparison.cells import SCALE_MARK, SHOWN, formatted, verdict_text
from analyze.comparison.comparisons import (
    ARBITRARY,
    AT_BOUND,
    EQUIVALENT,
    IDENTICAL,
)
from analyze.comparison.statistics import FEWEST_SEEDS
from analyze.metrics.table import PRIMARY, of_column
from analyze.plots.group import Group
from analyze.plots.kind import Kind
from analyze.plots.style import (
    INK,
    MINUS,
    belongs,
    laid_out,
    number,
    row_labels,
    sheet,
    styled,
    wrapped,
)

TITLE = "Differences to the reference loss, with 95% intervals"
CAPTION = (
    "Each row is a loss minus the reference, trained with the same seeds and tested on the same "
    "images. The line is the 95% interval of the mean difference. An interval that includes zero "
    "leaves open which of the two is better. One that barely excludes zero may not survive the "
    "correction for multiple comparisons, so read the verdict beside it. "
    f"{SCALE_MARK} marks differences that depend on an arbitrary scale of the scores."
)
LEAST = 0.001  # shown on either side of zero, so that rounding errors do not fill the axis
SPACE = 3 * "\N{NO-BREAK SPACE}"  # SVG collapses ordinary spaces
MARK = {
    "better": "^",
    "worse": "v",
    "not distinguishable": "|",
    IDENTICAL: "o",
    ARBITRARY: "d",
    AT_BOUND: "X",
    EQUIVALENT: "s",
    "": ".",
}


@styled
def forest(group: Group) -> Figure:
    """The differences of every loss from the reference in the primary metrics.

    Marker and words both show the verdict. A difference on an arbitrary scale is faint, whatever
    its verdict.
    """
    compared = _rows(group)
    losses = [loss for loss in group.losses if loss in set(compared["loss"])]
    about = f"{group.about}; differences to {group.reference}, paired by seed and test example"
    height = 2 * (0.75 + 0.36 * len(losses))
    figure = laid_out(*sheet(TITLE, about, height, _key(compared)))
    grid = figure.subplots(2, 2, sharey=True)
    for metric, axes in zip(PRIMARY, grid.flat, strict=True):
        _panel(axes, group, metric, compared[compared["metric"] == metric], losses)
    return figure


def _rows(group: Group) -> pd.DataFrame:
    return group.comparisons[group.comparisons["metric"].isin(PRIMARY)]


def _key(compared: pd.DataFrame) -> list[Line2D]:
    names = {verdict or f"below {FEWEST_SEEDS} seeds" for verdict in compared["verdict"]}
    marks = {name or f"below {FEWEST_SEEDS} seeds": mark for name, mark in MARK.items()}
    return [
        Line2D([], [], color=INK, marker=mark, markersize=8, linewidth=1.2, label=name)
        for name, mark in marks.items()
        if name in names
    ]


def _panel(axes: Axes, group: Group, metric: str, rows: pd.DataFrame, losses: list[str]) -> None:
    axes.axvline(0, color=INK, linewidth=1)
    for row in rows.to_dict("records"):
        with belongs(axes, row["loss"]):
            _difference(axes, group, row, losses.index(row["loss"]))
    axes.set_title(SHOWN[metric].removesuffix(" %"))
    about = of_column(metric)
    unit = "percentage points" if about.unit == "%" else about.unit
    sides = ("worse", "better") if about.better == "higher" else ("better", "worse")
    axes.set_xlabel(f"← {sides[0]}{SPACE}difference, {unit}{SPACE}{sides[1]} →", size=8)
    scale = 100 if about.unit == "%" else 1
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(scale * value, "+")))
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -LEAST) - 0.04 * (high - low), max(high, LEAST) + 0.04 * (high - low))
    row_labels(axes, [wrapped(loss, 24, 2) for loss in losses])


def _difference(axes: Axes, group: Group, row: dict[str, Any], y: int) -> None:
    colour = group.styles[row["loss"]].colour
    words = axes.get_yaxis_transform()
    alpha = 0.55 if row["scale_arbitrary"] else 1.0
    if not pd.isna(row["low"]):
        axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2.4, alpha=alpha)
    called = row["verdict"] in ("better", "worse")
    axes.plot(
        row["difference"],
        y,
        marker=MARK[row["verdict"]],
        color=colour,
        markersize=9 if called else 11,
        markeredgewidth=2.4 if row["verdict"] == "not distinguishable" else 0.5,
        alpha=alpha,
    )
    bold = "bold" if called else "normal"
    axes.text(1.03, y, _outcome(row), transform=words, va="center", size=8, weight=bold)


def _outcome(row: dict[str, Any]) -> str:
    mark = f" {SCALE_MARK}" if row["scale_arbitrary"] else ""
    return f"{_number(row, row['difference'])} {verdict_text(row)}{mark}"


def _number(row: dict[str, Any], value: float) -> str:
    return formatted(row["metric"], value, signed=True).replace("-", MINUS)


def _describe(group: Group) -> str:
    sentences = []
    for loss, rows in _rows(group).groupby("loss", sort=False):
        parts = []
        for row in rows.to_dict("records"):
            ends = [_number(row, row[end]) for end in ("low", "high") if not pd.isna(row[end])]
            bounds = f" ({' to '.join(ends)})" if ends else ""
            name = SHOWN[row["metric"]].replace(" %", " (points)")
            number = _number(row, row["difference"])
            parts.append(f"{name} {number}{bounds}, {verdict_text(row)}")
        sentences.append(f"{loss}: {'; '.join(parts)}.")
    return f"Differences to {group.reference} with 95% intervals. {' '.join(sentences)}"


KIND = Kind(
    "forest", TITLE, CAPTION, forest, _describe, possible=lambda group: len(_rows(group)) > 0
)
