"""The error that remains after uncertain images are rejected."""

import numpy as np
from matplotlib.figure import Figure

from analyze.metrics.predictions import Floats
from analyze.plots.curves import RANGE, band, line
from analyze.plots.group import Group
from analyze.plots.kind import Kind, each, mean, percent
from analyze.plots.style import in_percent, key, laid_out, sheet, styled
from analyze.runs.reduced import POINTS

TITLE = "Risk and coverage: the error that remains if the doubtful images are refused"
CAPTION = (
    "From right to left, the least confident images are rejected, and the error among the rest "
    "should fall. A lower curve is better. The right end is the test error. The curve depends on "
    "the order of the confidences, not on their scale, so losses that leave the scale open can be "
    "compared. The band is the range over seeds."
)


@styled
def risk_coverage(group: Group) -> Figure:
    """The error rate among the most confident test examples, at every coverage."""
    curves = {loss: np.array([run.risk for run in runs]) for loss, runs in group.runs.items()}
    first = _first_error(np.concatenate(list(curves.values())))
    coverage = np.arange(1, POINTS + 1) / POINTS
    about = group.about + "; before temperature" + group.over_seeds(RANGE)
    figure = laid_out(*sheet(TITLE, about, 3.4, key(group.labels(), group.styles)))
    axes = figure.subplots()
    for place, (loss, risks) in enumerate(curves.items()):
        band(axes, group, loss, coverage[first:], risks[:, first:])
        line(axes, group, loss, coverage[first:], risks[:, first:].mean(axis=0), place)
    in_percent(axes.xaxis)
    in_percent(axes.yaxis)
    start = float(coverage[first]) if first else 0.0
    axes.set(
        xlim=(start, 1), xlabel="coverage, the most confident share", ylabel="error among them"
    )
    axes.set_ylim(bottom=0)
    return figure


def _first_error(curves: Floats) -> int:
    """The start of a plot of curves (runs, POINTS): a tenth before the first error."""
    wrong = int(np.argmax((curves > 0).any(axis=0))) if curves.any() else 0
    tenth = POINTS // 10
    return max(0, (wrong // tenth - 1) * tenth)


def _describe(group: Group) -> str:
    def about(loss: str) -> str:
        whole = percent(1 - mean(group.values(loss, "accuracy")))
        most = percent(mean(group.values(loss, "risk_at_80")))
        return f"{whole} of all, {most} of the most confident 80%"

    return f"Error. {each(group, about)}"


KIND = Kind("risk-coverage", TITLE, CAPTION, risk_coverage, _describe)
