"""The style of every figure: one ink, one colour and marker per loss, a header with n and seeds.

Nothing here touches pyplot or changes matplotlib's settings for others.
"""

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from analyze.runs.purposes import OTHERS, PURPOSES, in_order, purpose_of

Line = Literal["-", "--", ":", "-."]

# The colour of text, axes and grid, which `svg` turns into currentColor.
INK = "#0a0b0c"
WIDTH = 9.0  # inches, the same for all figures, so that text has one size on a page
# Contrast of at least 3:1 against both white and #111. Among such sets of eight, this one has
# the largest minimal OKLab distance for normal vision and the three kinds of dichromacy.
PALETTE = (
    *("#0060d8", "#b49000", "#cc2400", "#a8249c"),
    *("#549cc0", "#e46c84", "#9c78fc", "#846060"),
)
# These losses have the same colour in every report.
AT_HOME = ("ce", "focal", "hinge", "label_smoothing", "kl", "nll", "brier", "mae")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
LINES: tuple[Line, ...] = ("-", "--", ":", "-.")
OF_LOSS = "loss:"  # starts the gid of an artist that belongs to one loss
MINUS = "\N{MINUS SIGN}"

_SETTINGS: dict[str, Any] = {
    "font.family": [
        "DejaVu Sans"
    ],  # ships with matplotlib, so the layout is the same on every machine
    "font.size": 9.0,
    "text.parse_math": False,  # a loss may be called $x_1$
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "hatch.linewidth": 0.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "analyze",
}
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def styled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Runs a function with the settings of the figures, regardless of the user's matplotlibrc."""

    @wraps(function)
    def inside(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        defaults: dict[Any, Any] = {k: v for k, v in mpl.rcParamsDefault.items() if k != "backend"}
        with mpl.rc_context(defaults | _SETTINGS):
            return function(*args, **kwargs)

    return inside


@dataclass(frozen=True)
class Style:
    """The colour, marker and line style of a loss; no two losses share all three."""

    colour: str
    marker: str
    line: Line


def styles(losses: Iterable[str]) -> dict[str, Style]:
    """One style per loss: a colour each for up to eight, above that a colour for each purpose.

    A well-known loss has the same colour in every report. If it is absent, a loss with options
    takes its colour: focal:gamma=3 takes that of focal. The other losses get the remaining
    colours in their order. Losses of one purpose differ in marker and line.

    Example:
        >>> styles(["ce", "focal:gamma=3"])["ce"].colour == styles(["mae", "ce"])["ce"].colour
        True
    """
    losses = in_order(list(set(losses)))
    if len(losses) > len(PALETTE):
        return _by_purpose(losses)
    home = {name: slot for slot, name in enumerate(AT_HOME)}
    slots = {loss: home[loss] for loss in losses if loss in home}
    for loss in losses:
        slot = home.get(loss.partition(":")[0])
        if loss not in slots and slot is not None and slot not in slots.values():
            slots[loss] = slot
    for loss in losses:
        if loss not in slots:
            slots[loss] = next(i for i in range(len(losses)) if i not in slots.values())
    return {
        loss: Style(
            PALETTE[slot % len(PALETTE)],
            MARKERS[slot % len(MARKERS)],
            LINES[slot // len(PALETTE) % len(LINES)],
        )
        for loss, slot in slots.items()
    }


def _by_purpose(losses: Sequence[str]) -> dict[str, Style]:
    seen: Counter[str] = Counter()
    purposes = [*PURPOSES, OTHERS]
    result = {}
    for loss in losses:
        purpose = purpose_of(loss)
        place = seen[purpose]
        result[loss] = Style(
            PALETTE[purposes.index(purpose)],
            MARKERS[place % len(MARKERS)],
            LINES[(place + place // len(MARKERS)) % len(LINES)],
        )
        seen[purpose] += 1
    return result


def colours(losses: Iterable[str]) -> dict[str, str]:
    """The colour of each loss in all figures of these losses, as #rrggbb."""
    return {loss: style.colour for loss, style in styles(losses).items()}


@contextmanager
def belongs(axes: Axes, loss: str) -> Iterator[None]:
    """Marks what is drawn meanwhile as belonging to a loss, so that a page can show or hide it."""
    before = set(axes.get_children())
    yield
    for artist in axes.get_children():
        if artist not in before:
            artist.set_gid(OF_LOSS + loss)


def wrapped(text: str, width: int = 24, lines: int = 2) -> str:
    r"""The text in lines of at most `width` characters, truncated with an ellipsis.

    Example:
        >>> wrapped("tversky:alpha=0.7,beta=0.3", 16)
        'tversky:alpha=\n0.7,beta=0.3'
    """
    # Break after the separators of a spec if possible.
    breakable = "".join(c + "\0" if c in ":,=+/" else c for c in text)
    pieces, line = [], ""
    for part in breakable.split("\0"):
        for chunk in textwrap.wrap(part, width, drop_whitespace=False) or [""]:
            if len(line) + len(chunk) > width:
                pieces.append(line)
                line = ""
            line += chunk
    pieces.append(line)
    if len(pieces) > lines:
        pieces = [*pieces[: lines - 1], pieces[lines - 1][: width - 1] + "…"]
    return "\n".join(pieces)


def key(shown: dict[str, str], looks: dict[str, Style]) -> list[Line2D]:
    """Legend handles of losses with these labels."""
    return [
        Line2D(
            [],
            [],
            color=looks[loss].colour,
            marker=looks[loss].marker,
            linestyle=looks[loss].line,
            markersize=5,
            label=text,
            gid=OF_LOSS + loss,
        )
        for loss, text in shown.items()
    ]


def sheet(
    title: str, about: str, height: float, handles: Sequence[Any] = ()
) -> tuple[Figure, float]:
    """An empty figure with a header: title, description and legend.

    Args:
        title: The heading, in bold.
        about: A description, wrapped if long: setting, n, seeds, how seeds are combined.
        height: The height below the header, in inches.
        handles: The legend handles.

    Returns:
        The figure, and the top of the free area as a fraction of its height.
    """
    lines = textwrap.wrap(about, 112) or [""]
    longest = max((len(line) for h in handles for line in h.get_label().split("\n")), default=0)
    columns = max(1, min(len(handles), int((WIDTH - 0.2) / (0.085 * longest + 0.55))))
    by_row = [handles[i : i + columns] for i in range(0, len(handles), columns)]
    tall = sum(max(1 + h.get_label().count("\n") for h in row) for row in by_row)
    header = 0.36 + 0.17 * len(lines) + (0.08 + 0.185 * tall if handles else 0.0)
    figure = Figure(figsize=(WIDTH, height + header))
    total = height + header
    figure.text(0.012, 1 - 0.08 / total, title, va="top", weight="bold", size=11.5)
    figure.text(0.012, 1 - 0.31 / total, "\n".join(lines), va="top", size=8.5, alpha=0.8)
    if handles:
        legend = figure.legend(
            handles=_row_by_row(handles, columns),
            loc="upper left",
            bbox_to_anchor=(0.004, 1 - (0.31 + 0.17 * len(lines)) / total),
            ncols=columns,
            columnspacing=1.4,
            labelspacing=0.35,
            handlelength=2.2,
        )
        entries = zip(legend.legend_handles, legend.get_texts(), strict=True)
        for handle, entry in zip(_row_by_row(handles, columns), entries, strict=True):
            for artist in entry:
                if artist is not None:
                    artist.set_gid(handle.get_gid())
    return figure, height / total


def _row_by_row(handles: Sequence[Any], columns: int) -> list[Any]:
    """Reorders handles, so that a legend filled column by column reads row by row."""
    return [handle for column in range(columns) for handle in handles[column::columns]]


def laid_out(figure: Figure, top: float) -> Figure:
    """Makes the figure lay out its axes below the header without overlaps; returns it."""
    figure.set_layout_engine("constrained", rect=(0.005, 0.01, 0.99, top - 0.015), w_pad=0.06)
    return figure


def in_percent(axis: Axis, unit: str = "%") -> None:
    """Shows the fractions on an axis as percentages."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(100 * value) + unit))


def number(value: float, sign: str = "") -> str:
    r"""A tick label: as short as possible, with a true minus sign.

    Example:
        >>> number(-2.5) == "\N{MINUS SIGN}2.5", number(1.0, "+"), number(0.0, "+")
        (True, '+1', '0')
    """
    return f"{value:{sign}.4g}".replace("-", MINUS) if abs(value) > 1e-12 else "0"


def logarithmic(axes: Axes, which: Literal["x", "y"], unit: str = "", scale: float = 1.0) -> None:
    """Makes an axis logarithmic, with a few round tick labels."""
    axes.set(**{f"{which}scale": "log"})
    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(scale * value) + unit))


def row_labels(axes: Axes, labels: Sequence[str]) -> None:
    """Makes the y axis a list of rows, the first on top, without grid, ticks or spine."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def quiet(axes: Axes) -> None:
    """Removes grid, ticks and spines of axes whose cells or bars have their own labels."""
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
