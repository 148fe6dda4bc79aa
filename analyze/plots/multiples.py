"""Small multiples over losses: a pair of panels each, before temperature and at it."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from analyze.metrics.predictions import BINS, Floats
from analyze.metrics.temperature import temperature_text
from analyze.plots.group import Group
from analyze.plots.kind import mean
from analyze.plots.style import INK, WIDTH, in_percent
from analyze.runs.reduced import FINE


class Pooled(NamedTuple):
    """Bins over all seeds: examples per seed, mean confidence and accuracy (NaN if empty)."""

    examples: Floats
    confidence: Floats
    accuracy: Floats


def pooled(group: Group, loss: str, stage: str, bins: int = BINS) -> Pooled:
    """Pools the examples of all seeds into `bins` bins (BINS or FINE), counted as one seed's.

    Seeds share their test examples, so S seeds do not give S times as many examples. With the
    counts of one seed, intervals are too wide rather than too narrow.
    """
    runs = group.runs[loss]
    total = np.sum([getattr(run, stage).bins for run in runs], axis=0)
    count, confidence, hits = total.reshape(3, bins, FINE // bins).sum(axis=2)
    some = np.where(count > 0, count, np.nan)
    return Pooled(count / len(runs), confidence / some, hits / some)


def blocks(group: Group) -> int:
    """The number of rows, with two losses per row."""
    return math.ceil(len(group.losses) / 2)


STAGES = {"before": "", "own": "_own", "after": "_ts"}
"""The readings of a run, as attributes of a scored run and as suffixes of its metrics."""


def own_cells(
    figure: Figure, group: Group, top: float, tall: float
) -> Iterator[tuple[SubplotSpec, str, str, tuple[bool, bool]]]:
    """As `cells`, with one loss per row, of those with a reading of their own, in all readings."""
    losses = own_losses(group)
    inches = figure.get_figheight()
    grid = figure.add_gridspec(
        len(losses),
        len(STAGES),
        left=0.62 / WIDTH,
        right=1 - 0.12 / WIDTH,
        top=top - 0.62 / inches,
        bottom=0.5 / inches,
        wspace=0.16,
        hspace=0.78 / (tall - 0.78),
    )
    for row, loss in enumerate(losses):
        for column, stage in enumerate(STAGES):
            yield grid[row, column], loss, stage, (column == 0, row == len(losses) - 1)


def own_losses(group: Group) -> list[str]:
    """The losses that read their outputs otherwise than by softmax."""
    return [loss for loss in group.losses if all(run.own for run in group.runs[loss])]


def cells(
    figure: Figure, group: Group, top: float, tall: float
) -> Iterator[tuple[SubplotSpec, str, str, tuple[bool, bool]]]:
    """Yields two losses per row, each before and after, and whether leftmost and lowest."""
    inches = figure.get_figheight()
    rows = blocks(group)
    grid = figure.add_gridspec(
        rows,
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
        lowest = row == rows - 1 or (row == rows - 2 and place + 2 >= len(group.losses))
        for offset, stage in enumerate(("before", "after")):
            left = column + offset == 0
            yield grid[row, column + offset], loss, stage, (left, lowest)


def axis_labels(axes: Axes, lowest: Axes, corner: tuple[bool, bool], y: str, strip: str) -> None:
    """Labels the axes of a leftmost or lowest cell; `lowest` are the axes at its bottom."""
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


def heading(axes: Axes, group: Group, loss: str, stage: str, number: str) -> None:
    """Titles a panel with its stage and a number, and a pair with its loss."""
    fitted = mean(group.values(loss, "temperature"))
    names = {"before": "before T", "own": "as the loss reads it"}
    when = names.get(stage, f"at T = {temperature_text(fitted)}")
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


def edges(bins: int) -> Floats:
    """The edges of equal-width bins."""
    return np.arange(bins + 1) / bins
