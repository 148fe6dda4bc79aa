"""Training loss and validation metrics over epochs."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analyze.metrics.predictions import Floats
from analyze.plots.curves import RANGE, band, line
from analyze.plots.group import Group
from analyze.plots.kind import Kind, each, mean, percent
from analyze.plots.style import in_percent, key, laid_out, logarithmic, sheet, styled
from analyze.runs.reduced import POINTS
from analyze.runs.scored import ScoredRun

TITLE = "Training, epoch by epoch"
CAPTION = (
    "The line is the mean over seeds, the band their range. Each training loss has its own unit: "
    "compare its shape, not its height. All other panels show the validation images, in the same "
    "unit for every loss. If NLL or ECE rises while accuracy still improves, the network is "
    "growing overconfident."
)
PANELS = {
    "train/loss": ("training loss, each in its own unit", "loss"),
    "val/accuracy": ("validation accuracy", "accuracy"),
    "val/nll": ("validation NLL", "nats"),
    "val/nll_ts": ("validation NLL at its best T: the refinement", "nats"),
    "val/ece": ("validation ECE", "ECE"),
}
FRACTIONS = ("val/accuracy", "val/ece")


@styled
def training(group: Group) -> Figure:
    """The training loss, and the accuracy, NLL and ECE on validation, from metrics.jsonl."""
    names = _recorded(group)
    sizes = sorted({run.validation for runs in group.runs.values() for run in runs})
    images = " or ".join(f"{size:,}" for size in sizes)
    examples = group.about_with(f"{images} validation examples")
    about = examples + group.over_seeds(RANGE)
    rows = -(-len(names) // 2)
    figure = laid_out(*sheet(TITLE, about, 2.5 * rows, key(group.labels(), group.styles)))
    grid = figure.subplots(rows, 2, squeeze=False, sharex=True)
    for axes in grid.flat[len(names) :]:
        axes.remove()
    for axes, name in zip(grid.flat, names, strict=False):
        for place, (loss, runs) in enumerate(group.runs.items()):
            epochs, values = _history(runs, name)
            if len(epochs):
                band(axes, group, loss, epochs, values)
                line(axes, group, loss, epochs, np.mean(values, axis=0), place)
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


def _recorded(group: Group) -> list[str]:
    runs = [run for runs in group.runs.values() for run in runs]
    return [name for name in PANELS if any(len(_history([run], name)[0]) > 1 for run in runs)]


def _history(runs: Sequence[ScoredRun], name: str) -> tuple[Floats, Floats]:
    """Epochs (E,) that all runs share, at most POINTS, and their values (runs, E)."""
    series = [
        {e["epoch"]: e[name] for e in run.history if _is_number(e.get(name)) and "epoch" in e}
        for run in runs
    ]
    series = [by_epoch for by_epoch in series if by_epoch]
    shared = sorted(set.intersection(*map(set, series))) if series else []
    kept = np.unique(np.linspace(0, len(shared) - 1, min(len(shared), POINTS)).round().astype(int))
    epochs = [shared[i] for i in kept]
    return np.array(epochs, float), np.array(
        [[by_epoch[e] for e in epochs] for by_epoch in series], float
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _describe(group: Group) -> str:
    def last(loss: str) -> Iterable[str]:
        for name in _recorded(group):
            epochs, values = _history(group.runs[loss], name)
            if len(epochs):
                value: Any = mean(values[:, -1])
                shown = percent(value) if name in FRACTIONS else f"{value:.3f}"
                yield f"{PANELS[name][0].partition(',')[0].partition(':')[0]} {shown}"

    return f"At the last epoch. {each(group, lambda loss: ', '.join(last(loss)))}"


KIND = Kind(
    "training", TITLE, CAPTION, training, _describe, possible=lambda group: bool(_recorded(group))
)
