"""Reliability diagrams, before temperature and at it."""

from collections.abc import Iterable

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy import special, stats

from analyze.comparison.statistics import CONFIDENCE
from analyze.metrics.predictions import BINS, Floats
from analyze.metrics.temperature import temperature_text
from analyze.plots.group import Group
from analyze.plots.kind import Kind, each, mean, percent
from analyze.plots.multiples import (
    STAGES,
    Pooled,
    axis_labels,
    blocks,
    cells,
    edges,
    heading,
    pooled,
)
from analyze.plots.style import INK, OF_LOSS, sheet, styled

TITLE = "Reliability: is a confidence of 80% right 80% of the time?"
CAPTION = (
    "A dot is the accuracy of the test images whose confidence lies in its bin. The coloured bar "
    "is its gap to their mean confidence, the diagonal: a dot below the diagonal shows "
    "overconfidence, one above it underconfidence. The thin line is the Wilson 95% interval of "
    "the accuracy. The grey box would contain 95% of the dots of a perfectly calibrated model "
    "with this many images, so a gap inside its box is no evidence. The strip below shows the "
    "proportion of images in each bin. In a bin with few images, a large gap means little."
)


TALL = 2.95  # inches of a row of panels
STRIP, HIGH = -0.27, 0.21  # where the strip below a diagram starts, and its height for 100%
Panels = Iterable[tuple[SubplotSpec, str, str, tuple[bool, bool]]]


def wilson(proportion: Floats, n: Floats) -> tuple[Floats, Floats]:
    """The ends of the Wilson 95% interval of a proportion of n.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference",
    doi:10.1080/01621459.1927.10502953.
    """
    z = special.ndtri((1 + CONFIDENCE) / 2)
    centre = (proportion + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(proportion * (1 - proportion) / n + z**2 / (4 * n**2))
    return centre - half, centre + half


def calibrated_band(confidence: Floats, n: Floats) -> tuple[Floats, Floats]:
    """The 95% range of the accuracy of n examples whose true accuracy is their confidence."""
    trials = np.maximum(np.round(n), 1)
    tail = (1 - CONFIDENCE) / 2
    low, high = (stats.binom.ppf(q, trials, confidence) / trials for q in (tail, 1 - tail))
    return low, high


@styled
def reliability(group: Group) -> Figure:
    """A reliability diagram per loss with 15 bins, before temperature and at it."""
    about = group.about + group.over_seeds(
        f"pooled, with intervals for the {group.examples:,} examples of one seed"
    )
    figure, top = sheet(TITLE, about, TALL * blocks(group) + 0.25, handles())
    draw(figure, group, cells(figure, group, top, TALL))
    return figure


def handles() -> list[Artist]:
    """The entries of the legend."""
    return [
        Line2D([], [], color=INK, marker="o", linewidth=0.9, label="accuracy, Wilson 95%"),
        Patch(facecolor=INK, alpha=0.35, label="gap to mean confidence, coloured"),
        Patch(facecolor=INK, alpha=0.16, label="a calibrated model, 95%"),
    ]


def draw(figure: Figure, group: Group, panels: Panels) -> None:
    """Draws a diagram with its strip in each panel."""
    for spec, loss, stage, corner in panels:
        axes = figure.add_subplot(spec, gid=OF_LOSS + loss)
        bins = pooled(group, loss, stage)
        _diagram(axes, bins, group.styles[loss].colour)
        shares = bins.examples / bins.examples.sum()
        axes.stairs(
            STRIP + HIGH * shares, edges(BINS), baseline=STRIP, fill=True, color=INK, alpha=0.4
        )
        axis_labels(axes, axes, corner, "accuracy, %", "")
        heading(axes, group, loss, stage, ece_text(group, loss, stage))


def _diagram(axes: Axes, bins: Pooled, colour: str) -> None:
    used = bins.examples > 0
    n, confidence, accuracy = (column[used] for column in bins)
    left, right = edges(BINS)[:-1][used], edges(BINS)[1:][used]
    low, high = calibrated_band(confidence, n)
    boxes = [
        [(a, c), (b, c), (b, d), (a, d)] for a, b, c, d in zip(left, right, low, high, strict=True)
    ]
    axes.add_collection(PolyCollection(boxes, facecolor=INK, alpha=0.16, linewidth=0))
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
    gaps = [[(c, c), (c, a)] for c, a in zip(confidence, accuracy, strict=True)]
    axes.add_collection(LineCollection(gaps, color=colour, linewidth=6, alpha=0.55))
    bars = [[(c, x), (c, y)] for c, x, y in zip(confidence, *wilson(accuracy, n), strict=True)]
    axes.add_collection(LineCollection(bars, color=colour, linewidth=1))
    axes.plot(confidence, accuracy, "o", color=colour, markersize=3.5)
    axes.set(xlim=(0, 1), ylim=(STRIP, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])


def ece_text(group: Group, loss: str, stage: str) -> str:
    """The ECE of a loss in a reading, with its noise floor."""
    names = (name + STAGES[stage] for name in ("ece", "null_ece"))
    value, null = (mean(group.values(loss, name)) for name in names)
    return f"ECE {percent(value)} (null {percent(null)})"


def _describe(group: Group) -> str:
    def about(loss: str) -> str:
        fitted = mean(group.values(loss, "temperature"))
        gap = mean(group.values(loss, "signed_gap"))
        return (
            f"{ece_text(group, loss, 'before')} before temperature, "
            f"{'over' if gap > 0 else 'under'}-confident by {percent(abs(gap))}, "
            f"{ece_text(group, loss, 'after')} at T = {temperature_text(fitted)}"
        )

    return f"Means over seeds. {each(group, about)}"


KIND = Kind("reliability", TITLE, CAPTION, reliability, _describe, most=8)
