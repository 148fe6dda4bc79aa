"""All pairs of losses: which are told apart, metric by metric."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyze.comparison.cells import SHOWN, formatted
from analyze.metrics.table import PRIMARY, of_column
from analyze.plots.group import Group
from analyze.plots.kind import Kind
from analyze.plots.style import INK, MINUS, laid_out, row_labels, sheet, styled, wrapped

TITLE = "All pairs of losses"
CAPTION = (
    "Each cell is the loss of its row minus the loss of its column, in points or nats, with the "
    "same seeds and images. ▲: the loss of the row is better; ▼: it is worse; without a triangle "
    "the two are not distinguishable. Corrected (Holm) over the pairs of a metric."
)
MARKS = {"better": "▲", "worse": "▼"}
TURNED = {"better": "worse", "worse": "better"}


@styled
def pairs(group: Group) -> Figure:
    """A matrix for each primary metric, with the difference and verdict of each pair."""
    rows = _rows(group)
    losses = [loss for loss in group.losses if loss in {*rows["loss"], *rows["other"]}]
    about = f"{group.about}; row minus column, paired by seed and test example"
    figure = laid_out(*sheet(TITLE, about, 2 * (1.2 + 0.42 * len(losses)), []))
    for metric, axes in zip(PRIMARY, figure.subplots(2, 2).flat, strict=True):
        _panel(axes, metric, rows[rows["metric"] == metric], losses)
    return figure


def _rows(group: Group) -> pd.DataFrame:
    assert group.pairs is not None, "the figure is possible only with pairs"
    return group.pairs


def _panel(axes: Axes, metric: str, rows: pd.DataFrame, losses: list[str]) -> None:
    for row in rows.to_dict("records"):
        i, j = losses.index(row["loss"]), losses.index(row["other"])
        turned = TURNED.get(row["verdict"], row["verdict"])
        for x, y, sign, verdict in ((j, i, 1, row["verdict"]), (i, j, -1, turned)):
            value = formatted(metric, sign * row["difference"], signed=True).replace("-", MINUS)
            text = f"{value} {MARKS.get(verdict, '')}".strip()
            weight = "bold" if verdict in MARKS else "normal"
            size = min(8.0, 44 / len(losses))
            axes.text(x, y, text, ha="center", va="center", size=size, weight=weight)
    edges = np.arange(len(losses) + 1) - 0.5
    axes.hlines(edges, edges[0], edges[-1], color=INK, linewidth=0.4)
    axes.vlines(edges, edges[0], edges[-1], color=INK, linewidth=0.4)
    unit = "points" if of_column(metric).unit == "%" else of_column(metric).unit
    axes.set_title(f"{SHOWN[metric].removesuffix(' %')}, {unit}")
    axes.set_xticks(range(len(losses)), [wrapped(loss, 16, 2) for loss in losses], size=7)
    axes.tick_params(axis="x", rotation=45)
    axes.grid(False)
    axes.set_xlim(edges[0], edges[-1])
    row_labels(axes, [wrapped(loss, 24, 2) for loss in losses])


def _describe(group: Group) -> str:
    sentences = []
    for metric, rows in _rows(group).groupby("metric", sort=False):
        told = rows[rows["verdict"].isin(MARKS)]
        parts = [f"{row.loss} {row.verdict} than {row.other}" for row in told.itertuples()]
        name = SHOWN[str(metric)].removesuffix(" %")
        apart = "; ".join(parts) or "none told apart"
        sentences.append(f"{name}, {len(rows)} pairs: {apart}.")
    return " ".join(sentences)


KIND = Kind(
    "pairs",
    TITLE,
    CAPTION,
    pairs,
    _describe,
    possible=lambda group: group.pairs is not None and len(group.pairs) > 0,
)
