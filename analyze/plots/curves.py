"""The curve of a loss and its band over seeds, for figures with all losses in one panel."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from analyze.metrics.predictions import Floats
from analyze.plots.group import Group
from analyze.plots.style import OF_LOSS

RANGE = "mean over seeds, band: their range"


def line(
    axes: Axes, group: Group, loss: str, x: Sequence[float] | Floats, y: Floats, place: int
) -> None:
    """Draws the curve of a loss. Markers are offset or nested, so that equal losses all show."""
    style = group.styles[loss]
    step = max(1, len(x) // 6)
    first = place * step // len(group.losses)
    axes.plot(
        x,
        y,
        color=style.colour,
        linestyle=style.line,
        marker=style.marker,
        markersize=7 - 4 * place / len(group.losses) if step == 1 else 4.5,
        markevery=(first, step),
        gid=OF_LOSS + loss,
    )


def band(axes: Axes, group: Group, loss: str, x: Floats, y: Floats) -> None:
    """Shades the range over seeds, if there is more than one."""
    if len(y) > 1:
        colour = group.styles[loss].colour
        filled = axes.fill_between(
            x, y.min(axis=0), y.max(axis=0), color=colour, alpha=0.13, linewidth=0
        )
        filled.set_gid(OF_LOSS + loss)
