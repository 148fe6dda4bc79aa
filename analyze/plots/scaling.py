"""What temperature scaling changes: NLL over T, error against ECE, NLL and Brier taken apart."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analyze.metrics.predictions import Floats
from analyze.metrics.temperature import temperature_text
from analyze.plots.group import Group
from analyze.plots.kind import Kind, each, mean, percent
from analyze.plots.style import (
    INK,
    in_percent,
    key,
    laid_out,
    logarithmic,
    row_labels,
    sheet,
    styled,
)
from analyze.runs.reduced import MOST_LOGITS, TEMPERATURES

NLL_TITLE = "NLL as a function of the temperature"
NLL_CAPTION = (
    "Thin: the test NLL of each seed with its logits divided by T; thick: their mean. The filled "
    "marker is the T that was fitted on the validation images, the open one T = 1, the network "
    "as trained. The drop between the two is miscalibration that one number repairs, what is "
    "left is the refinement, on which to compare losses. A fitted T beside the valley's bottom "
    "says that validation was too small, or unlike test; T above 1 cures over-confidence, "
    "below 1 under-confidence."
)
TRADE_TITLE = "Error against calibration error, before and after temperature"
TRADE_CAPTION = (
    "Each arrow leads from a loss as trained (open) to the same networks after temperature "
    "scaling (filled), means over seeds; small dots are single seeds after it. Lower and further "
    "left is better. Temperature changes no prediction, so that arrows are level. The grey line "
    "is the null ECE after temperature, averaged over losses: left of it ECE cannot be told from "
    "chance."
)
PARTS_TITLE = "What temperature can repair, and what it cannot"
PARTS_CAPTION = (
    "A proper score is the sum of two parts. The solid bar is the refinement, the score at the "
    "fitted temperature; the hatched bar is the calibration part that the temperature takes away "
    "(to the left of zero where the temperature made it worse). Compare losses by the solid "
    "bars: the hatched part costs one number to repair. Ticks are the scores of single seeds "
    "before temperature."
)
ROWS = {"nll": "NLL, nats", "brier": "Brier score"}


@styled
def nll_temperature(group: Group) -> Figure:
    """Test NLL over temperatures from 0.1 to 10, a panel a loss, on shared axes."""
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
    figure = laid_out(
        *sheet(
            NLL_TITLE,
            group.about + group.over_seeds("thin: single seeds, thick: their mean") + part,
            2.2 * rows + 0.1,
            handles,
        )
    )
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(group.losses) :]:
        axes.remove()
    for place, (axes, loss) in enumerate(zip(grid.flat, group.losses, strict=False)):
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
    """1, 3, 10, 30 ... of an axis, fewer where it is long: logits may have any scale."""
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
    for one, curve in zip(group.evaluated[loss], curves, strict=True):
        at_1 = np.interp(0.0, np.log(TEMPERATURES), curve)
        axes.plot(1, at_1, "o", color=colour, markerfacecolor="none", markersize=5)
        axes.plot(one.temperature, one.metrics["nll_ts"], "o", color=colour, markersize=5)
    logarithmic(axes, "x")
    logarithmic(axes, "y")
    fitted = mean(group.temperatures(loss))
    axes.set_title(f"{group.label(loss, 26)}\nT = {temperature_text(fitted)}", size=8.5)


def _temperature_range(group: Group) -> tuple[float, float]:
    """That of the curves, and of what was fitted beyond them."""
    fitted = np.concatenate([group.temperatures(loss) for loss in group.losses])
    return min(TEMPERATURES[0], 0.8 * fitted.min()), max(TEMPERATURES[-1], 1.25 * fitted.max())


def _nll_range(group: Group) -> tuple[float, float]:
    """From the best NLL to well above that of every network as trained and as fitted."""
    names = ("nll", "nll_ts")
    shown = np.concatenate([group.values(loss, name) for loss in group.losses for name in names])
    best = min(float(run.nll.min()) for runs in group.runs.values() for run in runs)
    return max(0.8 * best, 1e-6), max(4 * float(shown.max()), 2 * best)


def _classes(group: Group) -> int:
    return int(next(iter(group.runs.values()))[0].targets.shape[1])


@styled
def error_ece(group: Group) -> Figure:
    """Test error over ECE with an arrow from before to after temperature."""
    about = group.about + group.over_seeds(
        "means over seeds, dots: single seeds after temperature"
    )
    figure = laid_out(*sheet(TRADE_TITLE, about, 3.7, key(group.labels(), group.styles)))
    axes = figure.subplots()
    for place, loss in enumerate(group.losses):
        style = group.styles[loss]
        errors = 1 - group.values(loss, "accuracy")
        before, after = mean(group.values(loss, "ece")), mean(group.values(loss, "ece_ts"))
        error = mean(errors)
        if len(errors) > 1:
            axes.plot(group.values(loss, "ece_ts"), errors, ".", color=style.colour, alpha=0.45)
        size = 12 - 6 * place / len(group.losses)  # nested, so that equal losses all show
        look: dict[str, Any] = {"color": style.colour, "marker": style.marker, "markersize": size}
        axes.plot(before, error, markerfacecolor="none", markeredgewidth=1.4, **look)
        axes.plot(after, error, **look)
        axes.annotate(
            "",
            (after, error),
            (before, error),
            arrowprops={
                "arrowstyle": "->",
                "color": style.colour,
                "linestyle": style.line,
                "linewidth": 1.3,
                "shrinkA": 5,
                "shrinkB": 6,
            },
        )
    null = mean(np.concatenate([group.values(loss, "null_ece_ts") for loss in group.losses]))
    axes.axvline(null, color=INK, alpha=0.5, linewidth=1)
    axes.annotate(
        " null ECE",
        (null, 1),
        xycoords=("data", "axes fraction"),
        va="top",
        size=8,
    )
    axes.set(xlabel="ECE, 15 bins, log scale", ylabel="test error")
    axes.margins(0.06, 0.12)
    logarithmic(axes, "x", "%", 100)
    in_percent(axes.yaxis)
    return figure


@styled
def decomposition(group: Group) -> Figure:
    """NLL and Brier score as refinement plus calibration, a bar a loss."""
    handles = [
        Patch(facecolor=INK, alpha=0.7, label="refinement, left at T"),
        Patch(facecolor="none", edgecolor=INK, hatch="////", label="calibration, repaired by T"),
        Line2D([], [], color=INK, marker="|", linestyle="", markersize=9, label="seeds, before T"),
    ]
    about = group.about + group.over_seeds("means over seeds")
    figure = laid_out(*sheet(PARTS_TITLE, about, 0.75 + 0.36 * len(group.losses), handles))
    grid = figure.subplots(1, 2, sharey=True)
    for axes, (name, title) in zip(grid, ROWS.items(), strict=True):
        for y, loss in enumerate(group.losses):
            _bar(axes, group, loss, name, y)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_xlabel(title)
        row_labels(axes, [group.label(loss) for loss in group.losses])
    return figure


def _bar(axes: Axes, group: Group, loss: str, name: str, y: int) -> None:
    colour = group.styles[loss].colour
    refinement = mean(group.values(loss, f"{name}_ts"))
    repaired = mean(group.values(loss, f"{name}_calibration"))
    axes.barh(y, refinement, height=0.6, color=colour, alpha=0.8)
    axes.barh(
        y,
        repaired,
        left=refinement if repaired > 0 else 0,
        height=0.6,
        facecolor="none",
        edgecolor=colour,
        hatch="////",
    )
    seeds: Floats = group.values(loss, name)
    if len(seeds) > 1:
        axes.plot(seeds, np.full(len(seeds), y), "|", color=INK, markersize=9)


def _nll_says(group: Group) -> str:
    def about(loss: str) -> str:
        fitted = group.temperatures(loss)
        before, after = (mean(group.values(loss, name)) for name in ("nll", "nll_ts"))
        ends = " to ".join(map(temperature_text, (fitted.min(), fitted.max())))
        spread = f" ({ends})" if len(fitted) > 1 else ""
        at = temperature_text(mean(fitted))
        return f"NLL {before:.4f} at T = 1, {after:.4f} at T = {at}{spread}"

    return f"Means over seeds. {each(group, about)}"


def _trade_says(group: Group) -> str:
    def about(loss: str) -> str:
        error = percent(1 - mean(group.values(loss, "accuracy")))
        before, after = (percent(mean(group.values(loss, name))) for name in ("ece", "ece_ts"))
        return f"error {error}, ECE {before} before temperature and {after} after it"

    return f"Means over seeds. {each(group, about)}"


def _parts_say(group: Group) -> str:
    def about(loss: str) -> str:
        said = [
            f"{score} {mean(group.values(loss, f'{name}_ts')):.4f} refinement "
            f"{mean(group.values(loss, f'{name}_calibration')):+.4f} calibration"
            for name, score in (("nll", "NLL"), ("brier", "Brier"))
        ]
        return ", ".join(said)

    return f"Means over seeds. {each(group, about)}"


NLL_TEMPERATURE = Kind("nll-temperature", NLL_TITLE, NLL_CAPTION, nll_temperature, _nll_says)
ERROR_ECE = Kind("error-ece", TRADE_TITLE, TRADE_CAPTION, error_ece, _trade_says)
DECOMPOSITION = Kind("decomposition", PARTS_TITLE, PARTS_CAPTION, decomposition, _parts_say)
