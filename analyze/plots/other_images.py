"""How well each loss tells its own images from others, or classifies other images."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyze.beyond.evaluations import CORRUPTIONS, GENERATED
from analyze.plots.group import Group
from analyze.plots.kind import Kind, percent
from analyze.plots.style import belongs, in_percent, laid_out, row_labels, sheet, styled

TITLE = "On other images: detection, or accuracy"
CAPTION = (
    "A row is a loss; the marker is its mean over seeds, the line its 95% interval of the mean. "
    "For images of no class of the run: the AUROC by the largest probability, which is how often "
    "an own test image gets a higher one than such an image; 50% is chance. For images with "
    "labels: accuracy. Exploratory: no verdicts."
)
SHOWN = {"auroc_msp": "AUROC", "accuracy": "accuracy"}


@styled
def other_images(group: Group) -> Figure:
    """A panel for each set of images, a row for each loss."""
    sets = _sets(group)
    columns = min(3, len(sets))
    rows = math.ceil(len(sets) / columns)
    height = rows * (0.85 + 0.24 * len(group.losses))
    figure = laid_out(*sheet(TITLE, group.about + group.over_seeds("means over seeds"), height))
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(sets) :]:
        axes.remove()
    for axes, (images, measure) in zip(grid.flat, sets, strict=False):
        _panel(axes, group, images, measure)
        axes.set_title(f"{images}: {SHOWN[measure]}")
        in_percent(axes.xaxis)
        row_labels(axes, [group.label(loss) for loss in group.losses])
    return figure


def _sets(group: Group) -> list[tuple[str, str]]:
    """The sets of images, each with the measure that is shown of it."""
    table = group.elsewhere
    if table is None:
        return []
    generated = table["images"].str.startswith((GENERATED, CORRUPTIONS))
    shown = table[table["measure"].isin(SHOWN) & ~generated]
    return list(dict.fromkeys(zip(shown["images"], shown["measure"], strict=True)))


def _rows(group: Group, images: str, measure: str) -> dict[str, tuple[float, float]]:
    """The mean of each loss, and half its 95% t-interval over seeds; NaN for one seed."""
    from scipy import stats

    assert group.elsewhere is not None
    table = group.elsewhere
    table = table[(table["images"] == images) & (table["measure"] == measure)]
    found = {}
    for row in table.to_dict("records"):
        seeds = int(row["seeds"])
        half = float("nan")
        if seeds > 1:
            half = float(stats.t.ppf(0.975, seeds - 1)) * row["sd"] / math.sqrt(seeds)
        found[row["loss"]] = (row["mean"], half)
    return found


def _panel(axes: Axes, group: Group, images: str, measure: str) -> None:
    for y, loss in enumerate(group.losses):
        mean, half = _rows(group, images, measure).get(loss, (float("nan"), float("nan")))
        style = group.styles[loss]
        with belongs(axes, loss):
            if not np.isnan(half):
                axes.plot([mean - half, mean + half], [y, y], color=style.colour, linewidth=2.2)
            axes.plot(mean, y, marker=style.marker, color=style.colour, markersize=7)


def _describe(group: Group) -> str:
    parts = []
    for images, measure in _sets(group):
        rows = _rows(group, images, measure)
        told = ", ".join(f"{loss} {percent(mean)}" for loss, (mean, _) in rows.items())
        parts.append(f"{images}, {SHOWN[measure]}: {told}.")
    return " ".join(parts)


KIND = Kind(
    "other-images",
    TITLE,
    CAPTION,
    other_images,
    _describe,
    possible=lambda group: bool(_sets(group)),
)
