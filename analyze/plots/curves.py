"""Curves of all losses over one axis: bins, coverage, epochs."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analyze.metrics.predictions import Floats
from analyze.plots.group import Group
from analyze.plots.kind import Kind, each, mean, percent
from analyze.plots.style import INK, in_percent, key, laid_out, logarithmic, sheet, styled
from analyze.runs.reduced import BIN_NUMBERS, POINTS
from analyze.runs.scored import ScoredRun

BINS_TITLE = "ECE depends on the number of bins, and never reaches zero"
BINS_CAPTION = (
    "Solid: the measured ECE with this many equal-width bins, mean over seeds. Thin and dotted, "
    "in the same colour: the null ECE, what a perfectly calibrated model with the same "
    "confidences would show on this many test images by chance. More bins raise both. Only what "
    "rises above the null ECE is miscalibration; compare two losses at the same number of bins."
)
RISK_TITLE = "Risk and coverage: the error that remains if the doubtful images are refused"
RISK_CAPTION = (
    "From right to left the least confident images are handed back, and the error among those "
    "that are kept should fall. A lower curve is better; the right end is the test error. "
    "The curve depends on the order of the confidences alone, not on their scale, so that losses "
    "without one can be compared. The band is the range over seeds."
)
TRAINING_TITLE = "Training, epoch by epoch"
TRAINING_CAPTION = (
    "The line is the mean over seeds and the band their range. The training loss is each loss's "
    "own and in its own unit: compare its shape, not its height. All other panels are measured on "
    "the validation images, in the same unit for every loss; where NLL or ECE rises while "
    "accuracy still improves, the network is growing over-confident."
)
PANELS = {
    "train/loss": ("training loss, each in its own unit", "loss"),
    "val/accuracy": ("validation accuracy", "accuracy"),
    "val/nll": ("validation NLL", "nats"),
    "val/nll_ts": ("validation NLL at its best T: the refinement", "nats"),
    "val/ece": ("validation ECE", "ECE"),
}
SEEDS = "mean over seeds, band: their range"
FRACTIONS = ("val/accuracy", "val/ece")


@styled
def ece_bins(group: Group) -> Figure:
    """ECE and null ECE with 5 to 100 bins, before and after temperature."""
    handles = [
        *key(group.labels(), group.styles),
        Line2D([], [], color=INK, linestyle=":", linewidth=1, label="null ECE"),
    ]
    about = group.about + group.over_seeds("means over seeds")
    figure = laid_out(*sheet(BINS_TITLE, about, 3.1, handles))
    for axes, stage, when in zip(
        figure.subplots(1, 2), ("before", "after"), ("before temperature", "at T"), strict=True
    ):
        for place, (loss, runs) in enumerate(group.runs.items()):
            stages = [getattr(run, stage) for run in runs]
            _line(axes, group, loss, BIN_NUMBERS, np.mean([s.ece for s in stages], axis=0), place)
            axes.plot(
                BIN_NUMBERS,
                np.mean([s.null_ece for s in stages], axis=0),
                color=group.styles[loss].colour,
                linestyle=":",
                linewidth=1,
            )
        axes.set_title(when)
        logarithmic(axes, "x")
        axes.set_xticks(BIN_NUMBERS)
        in_percent(axes.yaxis)
        axes.set_ylim(bottom=0)
        axes.set(xlabel="number of bins", ylabel="ECE")
    return figure


@styled
def risk_coverage(group: Group) -> Figure:
    """The error among the most confident share of the test examples, for every share."""
    curves = {loss: np.array([run.risk for run in runs]) for loss, runs in group.runs.items()}
    first = _first_error(np.concatenate(list(curves.values())))
    coverage = np.arange(1, POINTS + 1) / POINTS
    about = group.about + "; before temperature" + group.over_seeds(SEEDS)
    figure = laid_out(*sheet(RISK_TITLE, about, 3.4, key(group.labels(), group.styles)))
    axes = figure.subplots()
    for place, (loss, risks) in enumerate(curves.items()):
        _band(axes, group, loss, coverage[first:], risks[:, first:])
        _line(axes, group, loss, coverage[first:], risks[:, first:].mean(axis=0), place)
    in_percent(axes.xaxis)
    in_percent(axes.yaxis)
    start = float(coverage[first]) if first else 0.0
    axes.set(
        xlim=(start, 1), xlabel="coverage, the most confident share", ylabel="error among them"
    )
    axes.set_ylim(bottom=0)
    return figure


@styled
def training(group: Group) -> Figure:
    """What metrics.jsonl has of training: loss, and accuracy, NLL and ECE on validation."""
    names = _recorded(group)
    sizes = sorted({run.validation for runs in group.runs.values() for run in runs})
    images = " or ".join(f"{size:,}" for size in sizes)
    examples = group.about_with(f"{images} validation examples")
    about = examples + group.over_seeds(SEEDS)
    rows = -(-len(names) // 2)
    figure = laid_out(*sheet(TRAINING_TITLE, about, 2.5 * rows, key(group.labels(), group.styles)))
    grid = figure.subplots(rows, 2, squeeze=False, sharex=True)
    for axes in grid.flat[len(names) :]:
        axes.remove()
    for axes, name in zip(grid.flat, names, strict=False):
        for place, (loss, runs) in enumerate(group.runs.items()):
            epochs, values = _history(runs, name)
            if len(epochs):
                _band(axes, group, loss, epochs, values)
                _line(axes, group, loss, epochs, np.mean(values, axis=0), place)
        title, label = PANELS[name]
        axes.set_title(title)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelbottom=True)
        if name in FRACTIONS:
            in_percent(axes.yaxis)
        elif axes.dataLim.y0 > 0:
            logarithmic(axes, "y")
    return figure


def _first_error(curves: Floats) -> int:
    """Where to begin a plot of curves (runs, POINTS): a tenth before the first error of any."""
    wrong = int(np.argmax((curves > 0).any(axis=0))) if curves.any() else 0
    tenth = POINTS // 10
    return max(0, (wrong // tenth - 1) * tenth)


def _recorded(group: Group) -> list[str]:
    runs = [run for runs in group.runs.values() for run in runs]
    return [name for name in PANELS if any(len(_history([run], name)[0]) > 1 for run in runs)]


def _history(runs: Sequence[ScoredRun], name: str) -> tuple[Floats, Floats]:
    """Epochs (E,) that all runs have, and the runs' values (runs, E); at most POINTS of them."""
    series = [
        {e["epoch"]: e[name] for e in run.history if _is_number(e.get(name)) and "epoch" in e}
        for run in runs
    ]
    series = [one for one in series if one]
    shared = sorted(set.intersection(*(set(one) for one in series))) if series else []
    kept = np.unique(np.linspace(0, len(shared) - 1, min(len(shared), POINTS)).round().astype(int))
    epochs = [shared[i] for i in kept]
    return np.array(epochs, float), np.array([[one[e] for e in epochs] for one in series], float)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _line(
    axes: Axes, group: Group, loss: str, x: Sequence[float] | Floats, y: Floats, place: int
) -> None:
    """A loss's curve. Markers are offset or, where few, nested, so that equal losses all show."""
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
    )


def _band(axes: Axes, group: Group, loss: str, x: Floats, y: Floats) -> None:
    """The range over the runs, where there is more than one."""
    if len(y) > 1:
        colour = group.styles[loss].colour
        axes.fill_between(x, y.min(axis=0), y.max(axis=0), color=colour, alpha=0.13, linewidth=0)


def _bins_say(group: Group) -> str:
    def about(loss: str) -> str:
        said = []
        for when in ("before", "after"):
            stages = [getattr(run, when) for run in group.runs[loss]]
            ends = [percent(mean(np.array([s.ece[i] for s in stages]))) for i in (0, -1)]
            nulls = [percent(mean(np.array([s.null_ece[i] for s in stages]))) for i in (0, -1)]
            said.append(
                f"{ends[0]} to {ends[1]} {when} temperature (null {nulls[0]} to {nulls[1]})"
            )
        return ", ".join(said)

    return f"ECE with {BIN_NUMBERS[0]} to {BIN_NUMBERS[-1]} bins. {each(group, about)}"


def _risk_says(group: Group) -> str:
    def about(loss: str) -> str:
        whole = percent(1 - mean(group.values(loss, "accuracy")))
        most = percent(mean(group.values(loss, "risk_at_80")))
        return f"{whole} of all, {most} of the most confident 80%"

    return f"Error. {each(group, about)}"


def _training_says(group: Group) -> str:
    def last(loss: str) -> Iterable[str]:
        for name in _recorded(group):
            epochs, values = _history(group.runs[loss], name)
            if len(epochs):
                value: Any = mean(values[:, -1])
                shown = percent(value) if name in FRACTIONS else f"{value:.3f}"
                yield f"{PANELS[name][0].partition(',')[0].partition(':')[0]} {shown}"

    return f"At the last epoch. {each(group, lambda loss: ', '.join(last(loss)))}"


ECE_BINS = Kind("ece-bins", BINS_TITLE, BINS_CAPTION, ece_bins, _bins_say)
RISK_COVERAGE = Kind("risk-coverage", RISK_TITLE, RISK_CAPTION, risk_coverage, _risk_says)
TRAINING = Kind(
    "training",
    TRAINING_TITLE,
    TRAINING_CAPTION,
    training,
    _training_says,
    possible=lambda group: bool(_recorded(group)),
)
