"""NLL as a function of the temperature, one panel per loss."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analyze.metrics.temperature import temperature_text
from analyze.plots.group import Group
from analyze.plots.kind import Kind, each, mean
from analyze.plots.style import INK, OF_LOSS, WIDTH, logarithmic, sheet, styled
from analyze.runs.reduced import MOST_LOGITS, TEMPERATURES

TITLE = "NLL as a function of the temperature"
CAPTION = (
    "Thin lines: the test NLL of each seed with its logits divided by T; thick line: their mean. "
    "The filled marker is the T fitted on the validation images, the open marker T = 1, the "
    "network as trained. The drop between the two is miscalibration that a single number repairs. "
    "The remainder is the refinement, by which to compare losses. A fitted T beside the minimum "
    "means that the validation set is too small or differs from the test set. T above 1 corrects "
    "overconfidence, T below 1 underconfidence."
)


@styled
def nll_temperature(group: Group) -> Figure:
    """Test NLL at temperatures from 0.1 to 10, one panel per loss, on shared axes."""
    step = -(-group.examples * _classes(group) // MOST_LOGITS)
    part = f"; of every {step}th example" if step > 1 else ""
    columns = min(4, len(group.losses))
    rows = math.ceil(len(group.losses) / columns)
    handles = [
        Line2D([], [], color=INK, marker="o", linestyle="", label="at the fitted T"),
        Line2D(
            [], [], color=INK, marker="o", linestyle="", markerfacecolor="none", label="at T = 1"
        ),
    ]
    about = group.about + group.over_seeds("thin: single seeds, thick: their mean") + part
    figure, top = sheet(TITLE, about, 2.2 * rows + 0.3, handles)
    inches = figure.get_figheight()
    grid = figure.subplots(
        rows,
        columns,
        squeeze=False,
        sharex=True,
        sharey=True,
        gridspec_kw={
            "left": 0.62 / WIDTH,
            "right": 1 - 0.12 / WIDTH,
            "top": top - 0.5 / inches,
            "bottom": 0.5 / inches,
            "wspace": 0.12,
            "hspace": 0.34,
        },
    )
    for axes in grid.flat[len(group.losses) :]:
        axes.remove()
    for place, (axes, loss) in enumerate(zip(grid.flat, group.losses, strict=False)):
        axes.set_gid(OF_LOSS + loss)
        _valley(axes, group, loss)
        axes.tick_params(labelbottom=place + columns >= len(group.losses))
        if place + columns >= len(group.losses):
            axes.set_xlabel("temperature T")
        if place % columns == 0:
            axes.set_ylabel("test NLL, nats")
    low, high = _nll_range(group)
    left, right = _temperature_range(group)
    grid.flat[0].set(xlim=(left, right), ylim=(low, high))
    grid.flat[0].set_xticks(_ticks(left, right))
    return figure


def _ticks(left: float, right: float) -> list[float]:
    """Ticks 1, 3, 10, 30 ...; fewer on a long axis, since logits may have any scale."""
    powers = range(math.floor(math.log10(left)), math.ceil(math.log10(right)) + 1)
    every = -(-len(powers) // 6)
    factors = (1, 3) if every == 1 else (1,)
    ticks = [f * 10.0**p for p in powers for f in factors if p % every == 0]
    return [tick for tick in ticks if left <= tick <= right]


def _valley(axes: Axes, group: Group, loss: str) -> None:
    colour = group.styles[loss].colour
    curves = np.array([run.nll for run in group.runs[loss]])
    if len(curves) > 1:
        for curve in curves:
            axes.plot(TEMPERATURES, curve, color=colour, linewidth=0.7, alpha=0.6)
    axes.plot(TEMPERATURES, curves.mean(axis=0), color=colour, linewidth=2.2)
    axes.axvline(1, color=INK, linewidth=0.7, alpha=0.5)
    fitted = group.values(loss, "temperature")
    for t, at_t, curve in zip(fitted, group.values(loss, "nll_ts"), curves, strict=True):
        at_1 = np.interp(0.0, np.log(TEMPERATURES), curve)
        axes.plot(1, at_1, "o", color=colour, markerfacecolor="none", markersize=5)
        axes.plot(t, at_t, "o", color=colour, markersize=5)
    logarithmic(axes, "x")
    logarithmic(axes, "y")
    shown = temperature_text(mean(fitted))
    axes.set_title(f"{group.label(loss, 26)}\nT = {shown}", size=8.5)


def _temperature_range(group: Group) -> tuple[float, float]:
    """The range of the curves, extended to fitted temperatures beyond."""
    fitted = np.concatenate([group.values(loss, "temperature") for loss in group.losses])
    return min(TEMPERATURES[0], 0.8 * fitted.min()), max(TEMPERATURES[-1], 1.25 * fitted.max())


def _nll_range(group: Group) -> tuple[float, float]:
    """From below the lowest NLL to well above every NLL at T = 1 and at the fitted T."""
    names = ("nll", "nll_ts")
    shown = np.concatenate([group.values(loss, name) for loss in group.losses for name in names])
    best = min(float(run.nll.min()) for runs in group.runs.values() for run in runs)
    return max(0.8 * best, 1e-6), max(4 * float(shown.max()), 2 * best)


def _classes(group: Group) -> int:
    return int(next(iter(group.runs.values()))[0].targets.shape[1])


def _describe(group: Group) -> str:
    def about(loss: str) -> str:
        fitted = group.values(loss, "temperature")
        before, after = (mean(group.values(loss, name)) for name in ("nll", "nll_ts"))
        ends = " to ".join(map(temperature_text, (fitted.min(), fitted.max())))
        spread = f" ({ends})" if len(fitted) > 1 else ""
        at = temperature_text(mean(fitted))
        return f"NLL {before:.4f} at T = 1, {after:.4f} at T = {at}{spread}"

    return f"Means over seeds. {each(group, about)}"


KIND = Kind("nll-temperature", TITLE, CAPTION, nll_temperature, _describe, most=12)
