"""Test error against ECE, before and after temperature."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyze.plots.group import Group
from analyze.plots.kind import Kind, each, mean, percent
from analyze.plots.style import INK, belongs, in_percent, laid_out, logarithmic, sheet, styled

TITLE = "Error against calibration error, before and after temperature"
CAPTION = (
    "Each arrow leads from a loss as trained (open marker) to the same networks after temperature "
    "scaling (filled marker); markers are means over seeds, dots single seeds after temperature. "
    "Lower and further left is better. Arrows are level, because temperature changes no "
    "prediction. The grey line is the null ECE after temperature, averaged over losses. To its "
    "left, ECE is indistinguishable from chance."
)


@styled
def error_ece(group: Group) -> Figure:
    """Test error against ECE, with an arrow from before to after temperature."""
    about = group.about + group.over_seeds(
        "means over seeds, dots: single seeds after temperature"
    )
    figure = laid_out(*sheet(TITLE, about, max(3.7, 0.4 + 0.19 * len(group.losses))))
    axes = figure.subplots()
    for place, loss in enumerate(group.losses):
        with belongs(axes, loss):
            _arrow(axes, group, loss, 12 - 6 * place / len(group.losses))  # so that equals show
    null = mean(np.concatenate([group.values(loss, "null_ece_ts") for loss in group.losses]))
    axes.axvline(null, color=INK, alpha=0.5, linewidth=1)
    axes.annotate(" null ECE", (null, 1), xycoords=("data", "axes fraction"), va="top", size=8)
    axes.set(xlabel="ECE, 15 bins, log scale", ylabel="test error")
    axes.margins(0.06, 0.12)
    logarithmic(axes, "x", "%", 100)
    in_percent(axes.yaxis)
    _name(axes, group)
    return figure


def _arrow(axes: Axes, group: Group, loss: str, size: float) -> None:
    """The arrow of a loss from before to after temperature, and its seeds."""
    style = group.styles[loss]
    errors = 1 - group.values(loss, "accuracy")
    before, after = mean(group.values(loss, "ece")), mean(group.values(loss, "ece_ts"))
    error = mean(errors)
    if len(errors) > 1:
        axes.plot(group.values(loss, "ece_ts"), errors, ".", color=style.colour, alpha=0.45)
    marker_style: dict[str, Any] = {
        "color": style.colour,
        "marker": style.marker,
        "markersize": size,
    }
    axes.plot(before, error, markerfacecolor="none", markeredgewidth=1.4, **marker_style)
    axes.plot(after, error, **marker_style)
    arrow: dict[str, Any] = {"arrowstyle": "->", "color": style.colour, "linestyle": style.line}
    arrow |= {"linewidth": 1.3, "shrinkA": 5, "shrinkB": 6}
    axes.annotate("", (after, error), (before, error), arrowprops=arrow)


def _name(axes: Axes, group: Group) -> None:
    """Names the losses beside the axes, at the height of their arrows, without overlap."""
    bottom, top = axes.get_ylim()
    errors = {loss: 1 - mean(group.values(loss, "accuracy")) for loss in group.losses}
    order = sorted(group.losses, key=lambda loss: errors[loss])
    heights = [(errors[loss] - bottom) / (top - bottom) for loss in order]
    least = 1 / max(len(order), 20)
    for loss, height in zip(order, spread(heights, least), strict=True):
        style = group.styles[loss]
        with belongs(axes, loss):
            own = (errors[loss] - bottom) / (top - bottom)
            beside: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
            beside |= {"color": style.colour, "linewidth": 0.8}
            axes.plot([1, 1.025], [own, height], **beside)
            axes.plot(1.035, height, marker=style.marker, markersize=5, **beside)
            label = group.label(loss, 32, lines=1)
            axes.text(1.05, height, label, transform=axes.transAxes, va="center", size=8.5)


def spread(heights: Sequence[float], least: float) -> list[float]:
    """Heights in ascending order, moved as little as it takes to lie `least` apart, in 0 to 1.

    Neighbours that are too close form a block, centred where they would like to be.

    Example:
        >>> spread([0.5, 0.5, 0.9], 0.1)
        [0.45, 0.55, 0.9]
    """
    blocks: list[tuple[list[float], float]] = []  # heights, and the bottom of their block
    for height in heights:
        block = [height]
        while True:
            extent = least * (len(block) - 1)
            wanted = sum(block) / len(block) - extent / 2
            start = min(max(wanted, 0.0), max(1.0 - extent, 0.0))
            if not blocks or blocks[-1][1] + least * len(blocks[-1][0]) <= start + 1e-12:
                break
            block = blocks.pop()[0] + block
        blocks.append((block, start))
    return [start + least * i for block, start in blocks for i in range(len(block))]


def _describe(group: Group) -> str:
    def about(loss: str) -> str:
        error = percent(1 - mean(group.values(loss, "accuracy")))
        before, after = (percent(mean(group.values(loss, name))) for name in ("ece", "ece_ts"))
        return f"error {error}, ECE {before} before temperature and {after} after it"

    return f"Means over seeds. {each(group, about)}"


KIND = Kind("error-ece", TITLE, CAPTION, error_ece, _describe)
