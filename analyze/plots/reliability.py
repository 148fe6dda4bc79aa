"""Small multiples over the losses, before and after temperature: reliability and confidence."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy import special, stats

from analyze.plots.group import FINE, Group
from analyze.plots.kind import Kind, each, mean, percent
from analyze.plots.style import INK, WIDTH, in_percent, sheet, styled
from analyze.predictions import BINS, Floats
from analyze.statistics import CONFIDENCE

TITLE = "Reliability: is a confidence of 80% right 80% of the time?"
CAPTION = (
    "A dot is the accuracy of the test images whose confidence lies in its bin, and the coloured "
    "bar its gap to their mean confidence, the diagonal: a dot below the diagonal is "
    "over-confident, one above it under-confident. The thin line is the Wilson 95% interval of "
    "the dot, and the grey box is where 95% of the dots of a perfectly calibrated model of this "
    "size would fall: a gap inside its box is no evidence. The strip shows how many images "
    "stand behind each bin; in a bin with few of them a large gap means little."
)
CONFIDENCE_TITLE = "Confidence where the prediction is right and where it is wrong"
CONFIDENCE_CAPTION = (
    "The filled shape is the distribution of confidence over the images that are classified "
    "right, the outline that over those that are wrong; each adds up to 100%, so that a few "
    "errors can be seen beside many hits. The further the outline lies to the left of the filled "
    "shape, the better confidence tells errors apart; an outline that piles up at 100% is a "
    "model that is confidently wrong."
)


class Pooled(NamedTuple):
    """Bins over all seeds: examples of one seed, mean confidence and accuracy (NaN: empty)."""

    examples: Floats
    confidence: Floats
    accuracy: Floats


def pooled(group: Group, loss: str, stage: str, bins: int = BINS) -> Pooled:
    """The seeds' examples together in `bins` bins (BINS or FINE), counted as one seed's.

    Seeds share their test examples: S seeds are not S times as many. Counting one seed's makes
    the intervals too wide rather than too narrow.
    """
    runs = group.runs[loss]
    total = np.sum([getattr(run, stage).bins for run in runs], axis=0)
    count, confidence, hits = total.reshape(3, bins, FINE // bins).sum(axis=2)
    some = np.where(count > 0, count, np.nan)
    return Pooled(count / len(runs), confidence / some, hits / some)


def wilson(share: Floats, n: Floats) -> tuple[Floats, Floats]:
    """The ends of the Wilson 95% interval of a share of n.

    Source: Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference.
    """
    z = special.ndtri((1 + CONFIDENCE) / 2)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return centre - half, centre + half


def calibrated_band(confidence: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Where the accuracy of n examples lies 95% of the time if it is their mean confidence."""
    whole = np.maximum(np.round(n), 1)
    tail = (1 - CONFIDENCE) / 2
    low, high = (stats.binom.ppf(q, whole, confidence) / whole for q in (tail, 1 - tail))
    return low, high


@styled
def reliability(group: Group) -> Figure:
    """A reliability diagram per loss, before temperature and at it, over the same 15 bins."""
    about = group.about + group.over_seeds(
        f"pooled, with intervals for the {group.examples:,} examples of one seed"
    )
    handles = [
        Line2D([], [], color=INK, marker="o", linewidth=0.9, label="accuracy, Wilson 95%"),
        Line2D(
            [],
            [],
            color=INK,
            linewidth=7,
            alpha=0.35,
            label="gap to mean confidence, coloured",
        ),
        Patch(facecolor=INK, alpha=0.16, label="a calibrated model, 95%"),
    ]
    figure, top = sheet(TITLE, about, 2.95 * _blocks(group) + 0.25, handles)
    for spec, loss, stage, corner in _cells(figure, group, top, 2.95):
        inner = spec.subgridspec(2, 1, height_ratios=[4.5, 1], hspace=0.22)
        axes = figure.add_subplot(inner[0])
        strip = figure.add_subplot(inner[1], sharex=axes)
        bins = pooled(group, loss, stage)
        _diagram(axes, bins, group.styles[loss].colour)
        strip.stairs(
            bins.examples / bins.examples.sum(), _edges(BINS), fill=True, color=INK, alpha=0.4
        )
        strip.set(ylim=(0, 1), yticks=[0, 1])
        axes.tick_params(labelbottom=False)
        _axis_labels(axes, strip, corner, "accuracy, %", "images, %")
        _heading(axes, group, loss, stage, _ece(group, loss, stage))
    return figure


def _diagram(axes: Axes, bins: Pooled, colour: str) -> None:
    used = bins.examples > 0
    n, confidence, accuracy = (column[used] for column in bins)
    left, right = _edges(BINS)[:-1][used], _edges(BINS)[1:][used]
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
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])


@styled
def confidence(group: Group) -> Figure:
    """The distributions of confidence over right and over wrong predictions, per loss."""
    about = group.about + group.over_seeds("pooled") + "; each distribution adds up to 100%"
    handles = [
        Patch(facecolor=INK, alpha=0.45, label="right, coloured"),
        Line2D([], [], color=INK, linewidth=1.3, label="wrong"),
    ]
    figure, top = sheet(CONFIDENCE_TITLE, about, 2.15 * _blocks(group) + 0.25, handles)
    for spec, loss, stage, corner in _cells(figure, group, top, 2.15):
        axes = figure.add_subplot(spec)
        bins = pooled(group, loss, stage, FINE)
        right = np.nan_to_num(bins.examples * bins.accuracy)
        wrong = bins.examples - right
        colour = group.styles[loss].colour
        if right.sum() > 0:
            axes.stairs(right / right.sum(), _edges(FINE), fill=True, color=colour, alpha=0.6)
        if wrong.sum() > 0:
            axes.stairs(wrong / wrong.sum(), _edges(FINE), color=INK, linewidth=1.3)
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        _axis_labels(axes, axes, corner, "share of them, %", "")
        _heading(axes, group, loss, stage, f"{percent(wrong.sum() / bins.examples.sum())} wrong")
    return figure


def _blocks(group: Group) -> int:
    return math.ceil(len(group.losses) / 2)


def _cells(
    figure: Figure, group: Group, top: float, tall: float
) -> Iterator[tuple[SubplotSpec, str, str, tuple[bool, bool]]]:
    """Two losses a row, each before and after; says which cells are leftmost and lowest."""
    inches = figure.get_figheight()
    blocks = _blocks(group)
    grid = figure.add_gridspec(
        blocks,
        4,
        left=0.62 / WIDTH,
        right=1 - 0.12 / WIDTH,
        top=top - 0.62 / inches,
        bottom=0.5 / inches,
        wspace=0.16,
        hspace=0.78 / (tall - 0.78),
    )
    for place, loss in enumerate(group.losses):
        row, column = place // 2, 2 * (place % 2)
        lowest = row == blocks - 1 or (row == blocks - 2 and place + 2 >= len(group.losses))
        for offset, stage in enumerate(("before", "after")):
            left = column + offset == 0
            yield grid[row, column + offset], loss, stage, (left, lowest)


def _axis_labels(axes: Axes, lowest: Axes, corner: tuple[bool, bool], y: str, strip: str) -> None:
    left, bottom = corner
    for each_axes, label in ((axes, y), (lowest, strip)):
        in_percent(each_axes.yaxis, "")
        each_axes.tick_params(labelleft=left)
        if left and label:
            each_axes.set_ylabel(label, size=8)
    in_percent(lowest.xaxis, "")
    lowest.tick_params(labelbottom=bottom)
    if bottom:
        lowest.set_xlabel("confidence, %", size=8)


def _heading(axes: Axes, group: Group, loss: str, stage: str, number: str) -> None:
    fitted = mean(np.array([run.one.temperature for run in group.runs[loss]]))
    when = "before T" if stage == "before" else f"at T = {fitted:.2f}"
    axes.set_title(f"{when}\n{number}", size=8, pad=3)
    if stage == "before":
        axes.annotate(
            group.label(loss, 44, lines=1),
            (0, 1),
            (0, 28),
            xycoords="axes fraction",
            textcoords="offset points",
            weight="bold",
            color=INK,
            size=9,
        )


def _edges(bins: int) -> Floats:
    return np.arange(bins + 1) / bins


def _ece(group: Group, loss: str, stage: str) -> str:
    suffix = "" if stage == "before" else "_ts"
    found, null = (mean(group.values(loss, name + suffix)) for name in ("ece", "null_ece"))
    return f"ECE {percent(found)} (null {percent(null)})"


def _says(group: Group) -> str:
    def about(loss: str) -> str:
        fitted = mean(np.array([one.temperature for one in group.evaluated[loss]]))
        gap = mean(group.values(loss, "signed_gap"))
        return (
            f"{_ece(group, loss, 'before')} before temperature, "
            f"{'over' if gap > 0 else 'under'}-confident by {percent(abs(gap))}, "
            f"{_ece(group, loss, 'after')} at T = {fitted:.2f}"
        )

    return f"Means over seeds. {each(group, about)}"


def _confidence_says(group: Group) -> str:
    def about(loss: str) -> str:
        said = []
        for stage, when in (("before", "before"), ("after", "after")):
            count, summed, hits = np.sum(
                [getattr(run, stage).predicted.sum(axis=1) for run in group.runs[loss]], axis=0
            )
            said.append(f"mean confidence {percent(summed / count)} {when} temperature")
        return f"accuracy {percent(hits / count)}, {' and '.join(said)}"

    return each(group, about)


RELIABILITY = Kind("reliability", TITLE, CAPTION, reliability, _says)
CONFIDENCE_HISTOGRAMS = Kind(
    "confidence", CONFIDENCE_TITLE, CONFIDENCE_CAPTION, confidence, _confidence_says
)
