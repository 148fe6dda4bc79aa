"""What other recalibrations add to one temperature."""

import pandas as pd
from matplotlib.figure import Figure

from analyze.beyond.evaluations import TEST
from analyze.metrics.beyond.recalibration import METHODS, TITLES
from analyze.plots.beyond.dots import Row, dots
from analyze.plots.group import Group
from analyze.plots.kind import Kind
from analyze.plots.style import INK, styled

TITLE = "Other recalibrations: NLL minus that at one temperature"
CAPTION = (
    "Test images; every method is fitted on validation images alone. Left of zero, a method has "
    "a lower NLL than the temperature of the same run. Lines are 95% intervals of the mean "
    "difference, over seeds and images. Exploratory: no verdicts."
)


@styled
def recalibrations(group: Group) -> Figure:
    """A panel for each method, a row for each loss."""
    panels = [(f"{TITLES[m]}, nats", rows, False) for m, rows in _methods(group).items()]
    about = group.about + group.over_seeds("means over seeds")
    figure = dots(group, TITLE, about, panels, columns=2)
    for axes in figure.axes:
        axes.axvline(0, color=INK, linewidth=1, zorder=0)
    return figure


def _methods(group: Group) -> dict[str, dict[str, Row]]:
    """The differences by method, then loss."""
    if group.recalibrated is None:
        return {}
    table = group.recalibrated[group.recalibrated["images"] == TEST]
    found: dict[str, dict[str, Row]] = {}
    for method in METHODS:
        rows = table[table["method"] == method]
        if len(rows):
            found[method] = {row["loss"]: _row(row) for _, row in rows.iterrows()}
    return found


def _row(row: pd.Series) -> Row:
    return float(row["nll_minus_t"]), float(row["nll_low"]), float(row["nll_high"])


def _describe(group: Group) -> str:
    parts = []
    for method, rows in _methods(group).items():
        told = ", ".join(f"{loss} {row[0]:+.4f}" for loss, row in rows.items())
        parts.append(f"{TITLES[method]}: {told}.")
    return " ".join(parts)


KIND = Kind(
    "recalibrations",
    TITLE,
    CAPTION,
    recalibrations,
    _describe,
    possible=lambda group: bool(_methods(group)),
)
