"""Histograms of confidence for correct and for wrong predictions."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analyze.plots.group import Group
from analyze.plots.kind import Kind, each, percent
from analyze.plots.multiples import axis_labels, blocks, cells, edges, heading, pooled
from analyze.plots.style import INK, OF_LOSS, sheet, styled
from analyze.runs.reduced import FINE

TITLE = "Confidence where the prediction is right and where it is wrong"
CAPTION = (
    "The filled shape is the distribution of confidence over correctly classified images, the "
    "outline that over errors. Each adds up to 100%, so that a few errors are visible beside many "
    "correct predictions. The further the outline lies to the left of the filled shape, the "
    "better confidence separates errors. An outline that peaks at 100% shows a confidently wrong "
    "model."
)


@styled
def confidence(group: Group) -> Figure:
    """The distributions of confidence over correct and over wrong predictions, per loss."""
    about = group.about + group.over_seeds("pooled") + "; each distribution adds up to 100%"
    handles = [
        Patch(facecolor=INK, alpha=0.45, label="right, coloured"),
        Line2D([], [], color=INK, linewidth=1.3, label="wrong"),
    ]
    figure, top = sheet(TITLE, about, 2.15 * blocks(group) + 0.25, handles)
    for spec, loss, stage, corner in cells(figure, group, top, 2.15):
        axes = figure.add_subplot(spec, gid=OF_LOSS + loss)
        bins = pooled(group, loss, stage, FINE)
        right = np.nan_to_num(bins.examples * bins.accuracy)
        wrong = bins.examples - right
        colour = group.styles[loss].colour
        if right.sum() > 0:
            axes.stairs(right / right.sum(), edges(FINE), fill=True, color=colour, alpha=0.6)
        if wrong.sum() > 0:
            axes.stairs(wrong / wrong.sum(), edges(FINE), color=INK, linewidth=1.3)
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axis_labels(axes, axes, corner, "share of them, %", "")
        heading(axes, group, loss, stage, f"{percent(wrong.sum() / bins.examples.sum())} wrong")
    return figure


def _describe(group: Group) -> str:
    def about(loss: str) -> str:
        stages = []
        for when in ("before", "after"):
            count, summed, hits = np.sum(
                [getattr(run, when).predicted.sum(axis=1) for run in group.runs[loss]], axis=0
            )
            stages.append(f"mean confidence {percent(summed / count)} {when} temperature")
        return f"accuracy {percent(hits / count)}, {' and '.join(stages)}"

    return each(group, about)


KIND = Kind("confidence", TITLE, CAPTION, confidence, _describe, most=8)
