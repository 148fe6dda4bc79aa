"""Test error against ECE, before and after temperature."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analyze.plots.group import Group
from analyze.plots.kind import Kind, each, mean, percent
from analyze.plots.style import INK, in_percent, key, laid_out, logarithmic, sheet, styled

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
    figure = laid_out(*sheet(TITLE, about, 3.7, key(group.labels(), group.styles)))
    axes = figure.subplots()
    for place, loss in enumerate(group.losses):
        style = group.styles[loss]
        errors = 1 - group.values(loss, "accuracy")
        before, after = mean(group.values(loss, "ece")), mean(group.values(loss, "ece_ts"))
        error = mean(errors)
        if len(errors) > 1:
            axes.plot(group.values(loss, "ece_ts"), errors, ".", color=style.colour, alpha=0.45)
        size = 12 - 6 * place / len(group.losses)  # nested markers, so that equal losses all show
        marker_style: dict[str, Any] = {
            "color": style.colour,
            "marker": style.marker,
            "markersize": size,
        }
        axes.plot(before, error, markerfacecolor="none", markeredgewidth=1.4, **marker_style)
        axes.plot(after, error, **marker_style)
        arrow: dict[str, Any] = {
            "arrowstyle": "->",
            "color": style.colour,
            "linestyle": style.line,
        }
        arrow |= {"linewidth": 1.3, "shrinkA": 5, "shrinkB": 6}
        axes.annotate("", (after, error), (before, error), arrowprops=arrow)
    null = mean(np.concatenate([group.values(loss, "null_ece_ts") for loss in group.losses]))
    axes.axvline(null, color=INK, alpha=0.5, linewidth=1)
    axes.annotate(" null ECE", (null, 1), xycoords=("data", "axes fraction"), va="top", size=8)
    axes.set(xlabel="ECE, 15 bins, log scale", ylabel="test error")
    axes.margins(0.06, 0.12)
    logarithmic(axes, "x", "%", 100)
    in_percent(axes.yaxis)
    return figure


def _describe(group: Group) -> str:
    def about(loss: str) -> str:
        error = percent(1 - mean(group.values(loss, "accuracy")))
        before, after = (percent(mean(group.values(loss, name))) for name in ("ece", "ece_ts"))
        return f"error {error}, ECE {before} before temperature and {after} after it"

    return f"Means over seeds. {each(group, about)}"


KIND = Kind("error-ece", TITLE, CAPTION, error_ece, _describe)
