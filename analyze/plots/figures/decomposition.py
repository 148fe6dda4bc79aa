"""NLL and Brier score, each decomposed into refinement and calibration."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analyze.metrics.predictions import Floats
from analyze.plots.group import Group
from analyze.plots.kind import Kind, each, mean
from analyze.plots.style import INK, belongs, laid_out, row_labels, sheet, styled

TITLE = "What temperature can repair, and what it cannot"
CAPTION = (
    "A proper score is the sum of two parts. The solid bar is the refinement, the score at the "
    "fitted temperature. The hatched bar is the calibration error that the temperature removes; "
    "it lies to the left of zero if the temperature made the score worse. Compare losses by the "
    "solid bars, since a single number repairs the hatched part. Ticks are the scores of single "
    "seeds before temperature."
)
ROWS = {"nll": "NLL, nats", "brier": "Brier score"}


@styled
def decomposition(group: Group) -> Figure:
    """NLL and Brier score as refinement plus calibration, one bar per loss."""
    handles = [
        Patch(facecolor=INK, alpha=0.7, label="refinement, left at T"),
        Patch(facecolor="none", edgecolor=INK, hatch="////", label="calibration, repaired by T"),
        Line2D([], [], color=INK, marker="|", linestyle="", markersize=9, label="seeds, before T"),
    ]
    about = group.about + group.over_seeds("means over seeds")
    figure = laid_out(*sheet(TITLE, about, 0.75 + 0.36 * len(group.losses), handles))
    grid = figure.subplots(1, 2, sharey=True)
    for axes, (name, title) in zip(grid, ROWS.items(), strict=True):
        for y, loss in enumerate(group.losses):
            with belongs(axes, loss):
                _bar(axes, group, loss, name, y)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_xlabel(title)
        row_labels(axes, [group.label(loss) for loss in group.losses])
    return figure


def _bar(axes: Axes, group: Group, loss: str, name: str, y: int) -> None:
    colour = group.styles[loss].colour
    refinement = mean(group.values(loss, f"{name}_ts"))
    repaired = mean(group.values(loss, f"{name}_calibration"))
    axes.barh(y, refinement, height=0.6, color=colour, alpha=0.8)
    axes.barh(
        y,
        repaired,
        left=refinement if repaired > 0 else 0,
        height=0.6,
        facecolor="none",
        edgecolor=colour,
        hatch="////",
    )
    seeds: Floats = group.values(loss, name)
    if len(seeds) > 1:
        axes.plot(seeds, np.full(len(seeds), y), "|", color=INK, markersize=9)


def _describe(group: Group) -> str:
    def about(loss: str) -> str:
        scores = [
            f"{score} {mean(group.values(loss, f'{name}_ts')):.4f} refinement "
            f"{mean(group.values(loss, f'{name}_calibration')):+.4f} calibration"
            for name, score in (("nll", "NLL"), ("brier", "Brier"))
        ]
        return ", ".join(scores)

    return f"Means over seeds. {each(group, about)}"


KIND = Kind("decomposition", TITLE, CAPTION, decomposition, _describe)
