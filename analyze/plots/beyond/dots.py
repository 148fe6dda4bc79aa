"""Panels in which a row is a loss: its mean, and an interval."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from analyze.plots.group import Group
from analyze.plots.style import belongs, in_percent, laid_out, row_labels, sheet

Row = tuple[float, float, float]  # a value and the ends of its interval, NaN if it has none


def of_means(table: pd.DataFrame, images: str, measure: str) -> dict[str, Row]:
    """The mean of each loss over seeds, with its 95% t-interval."""
    rows = table[(table["images"] == images) & (table["measure"] == measure)]
    found = {}
    for row in rows.to_dict("records"):
        half = float("nan")
        if row["seeds"] > 1:
            half = (
                float(stats.t.ppf(0.975, row["seeds"] - 1)) * row["sd"] / math.sqrt(row["seeds"])
            )
        found[row["loss"]] = (row["mean"], row["mean"] - half, row["mean"] + half)
    return found


def panel(axes: Axes, group: Group, rows: Mapping[str, Row]) -> None:
    """Draw a row for each loss that has one."""
    for y, loss in enumerate(group.losses):
        value, low, high = rows.get(loss, (float("nan"),) * 3)
        style = group.styles[loss]
        with belongs(axes, loss):
            if not np.isnan(low):
                axes.plot([low, high], [y, y], color=style.colour, linewidth=2.2)
            axes.plot(value, y, marker=style.marker, color=style.colour, markersize=7)


def dots(
    group: Group,
    title: str,
    about: str,
    panels: Sequence[tuple[str, Mapping[str, Row], bool]],
    columns: int = 3,
) -> Figure:
    """A figure of panels.

    Args:
        group: The losses.
        title: The heading.
        about: What the values are.
        panels: For each, its title, its rows, and whether its values are fractions.
        columns: Panels side by side.
    """
    columns = min(columns, len(panels))
    high = math.ceil(len(panels) / columns)
    figure = laid_out(*sheet(title, about, high * (0.85 + 0.24 * len(group.losses))))
    grid = figure.subplots(high, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes, (name, rows, fraction) in zip(grid.flat, panels, strict=False):
        panel(axes, group, rows)
        axes.set_title(name)
        if fraction:
            in_percent(axes.xaxis)
        row_labels(axes, [group.label(loss) for loss in group.losses])
    return figure
