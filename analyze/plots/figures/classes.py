"""Error and calibration gap of each class."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analyze.metrics.predictions import Floats, Integers
from analyze.plots.group import Group
from analyze.plots.kind import Kind, each, percent
from analyze.plots.style import OF_LOSS, in_percent, laid_out, number, quiet, sheet, styled

MOST_CLASSES = 20
NEARLY_BLACK = (
    "#010101"  # matplotlib omits pure black in SVG, and the text would take the colour of the page
)
TITLE = "Class by class: error, and the gap between confidence and accuracy"
CAPTION = (
    "Top: the error rate of each true class. Below: mean confidence minus accuracy among the "
    "images predicted as each class, before temperature and after; positive values mean "
    "overconfidence. A single temperature cannot repair an overconfident and an underconfident "
    "class at once. Each class has few images, so gaps of a few points are noise. An empty cell "
    "marks a class that was never predicted."
)
# Lightness shows the size, hue the sign of a gap. Blue and orange suit colour-blind readers.
ERRORS = LinearSegmentedColormap.from_list("errors", ["#f1eef6", "#a596c8", "#5b3a8e"])
GAPS = LinearSegmentedColormap.from_list(
    "gaps", ["#08519c", "#6baed6", "#f4f4f2", "#f4a15d", "#a63603"]
)


@styled
def classes(group: Group) -> Figure:
    """Error by true class and signed gap by predicted class; only the worst classes if many."""
    errors, before, after = (
        class_errors(group),
        class_gaps(group, "before"),
        class_gaps(group, "after"),
    )
    shown = worst(errors)
    which = "" if len(shown) == errors.shape[1] else f"; the {len(shown)} classes most often wrong"
    about = group.about + group.over_seeds("pooled") + which
    tall = 3 * (0.62 + max(0.26 * len(group.losses), 0.4))
    figure = laid_out(*sheet(TITLE, about, tall))
    grid = figure.subplots(3, 1)
    _cells(grid[0], group, errors[:, shown], shown, "error, by true class", ERRORS)
    shared = float(np.nanmax(np.abs(np.stack([before, after])[..., shown])))
    for axes, gaps, when in ((grid[1], before, "before T"), (grid[2], after, "at T")):
        _cells(
            axes,
            group,
            gaps[:, shown],
            shown,
            f"signed gap, by predicted class, {when}",
            GAPS,
            shared,
        )
    return figure


def class_errors(group: Group) -> Floats:
    """Error rate of each true class, seeds pooled, (losses, C); NaN without examples."""
    totals = [np.sum([run.targets for run in runs], axis=0) for runs in group.runs.values()]
    return np.stack([wrong / np.where(count > 0, count, np.nan) for count, wrong in totals])


def class_gaps(group: Group, stage: str) -> Floats:
    """Mean confidence minus accuracy of each predicted class, seeds pooled, (losses, C)."""
    totals = [
        np.sum([getattr(run, stage).predicted for run in runs], axis=0)
        for runs in group.runs.values()
    ]
    return np.stack(
        [(summed - hits) / np.where(count > 0, count, np.nan) for count, summed, hits in totals]
    )


def worst(errors: Floats) -> Integers:
    """The MOST_CLASSES classes with the highest mean error over losses, in ascending order."""
    difficulty = np.nan_to_num(errors).mean(
        axis=0
    )  # a class without examples counts as free of errors
    return np.sort(np.argsort(-difficulty, kind="stable")[:MOST_CLASSES])


def _cells(
    axes: Axes,
    group: Group,
    values: Floats,
    classes: Integers,
    title: str,
    colours: Colormap,
    around_zero: float | None = None,
) -> None:
    low, high = (
        (0.0, float(np.nanmax(values))) if around_zero is None else (-around_zero, around_zero)
    )
    levels = MaxNLocator(10, symmetric=around_zero is not None).tick_values(low, max(high, 0.01))
    mesh = axes.pcolormesh(
        values, cmap=colours, norm=BoundaryNorm(levels, colours.N), edgecolors="none"
    )
    limit = max(abs(levels[0]), levels[-1])
    digits = 1 if len(classes) <= 12 else 0
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        deep = abs(value) > 0.6 * limit
        axes.text(
            column + 0.5,
            row + 0.5,
            number(round(100 * value, digits), "" if around_zero is None else "+"),
            ha="center",
            va="center",
            size=7,
            color="#ffffff" if deep else NEARLY_BLACK,
            gid=OF_LOSS + group.losses[row],
            in_layout=False,  # inside the cells: looking at each would take most of the time
        )
    axes.set_title(f"{title}, in %")
    axes.set_xticks(np.arange(len(classes)) + 0.5, [str(c) for c in classes])
    axes.set_yticks(
        np.arange(len(group.losses)) + 0.5,
        [group.label(loss, 26, lines=1) for loss in group.losses],
    )
    axes.invert_yaxis()
    axes.set_xlabel("class")
    quiet(axes)
    bar = axes.figure.colorbar(
        mesh, ax=axes, pad=0.01, aspect=8, ticks=[*{levels[0], 0.0, levels[-1]}]
    )
    in_percent(bar.ax.yaxis)
    bar.ax.grid(False)
    bar.ax.minorticks_off()
    quiet(bar.ax)


def _describe(group: Group) -> str:
    errors, gaps = class_errors(group), class_gaps(group, "after")
    shown = worst(errors)

    def about(loss: str) -> str:
        row = group.losses.index(loss)
        hardest = shown[np.argmax(np.nan_to_num(errors[row, shown]))]
        off = shown[np.argmax(np.abs(np.nan_to_num(gaps[row, shown])))]
        return (
            f"class {hardest} is the hardest, {percent(errors[row, hardest])} wrong; after "
            f"temperature class {off} has the largest gap, {100 * gaps[row, off]:+.1f} points"
        )

    return each(group, about)


KIND = Kind("classes", TITLE, CAPTION, classes, _describe)
