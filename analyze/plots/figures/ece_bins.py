"""ECE and null ECE as functions of the number of bins."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analyze.plots.curves import line
from analyze.plots.group import Group
from analyze.plots.kind import Kind, each, mean, percent
from analyze.plots.style import INK, OF_LOSS, in_percent, key, laid_out, logarithmic, sheet, styled
from analyze.runs.reduced import BIN_NUMBERS

TITLE = "ECE depends on the number of bins, and never reaches zero"
CAPTION = (
    "Solid: the measured ECE with this many equal-width bins, mean over seeds. Dotted, in the "
    "same colour: the null ECE, which a perfectly calibrated model with the same confidences "
    "would show by chance on this many test images. More bins raise both. Only the excess over "
    "the null ECE is miscalibration. Compare two losses at the same number of bins."
)


@styled
def ece_bins(group: Group) -> Figure:
    """ECE and null ECE with 5 to 100 bins, before and after temperature."""
    handles = [
        *key(group.labels(), group.styles),
        Line2D([], [], color=INK, linestyle=":", linewidth=1, label="null ECE"),
    ]
    about = group.about + group.over_seeds("means over seeds")
    figure = laid_out(*sheet(TITLE, about, 3.1, handles))
    for axes, stage, when in zip(
        figure.subplots(1, 2), ("before", "after"), ("before temperature", "at T"), strict=True
    ):
        for place, (loss, runs) in enumerate(group.runs.items()):
            stages = [getattr(run, stage) for run in runs]
            line(axes, group, loss, BIN_NUMBERS, np.mean([s.ece for s in stages], axis=0), place)
            axes.plot(
                BIN_NUMBERS,
                np.mean([s.null_ece for s in stages], axis=0),
                color=group.styles[loss].colour,
                linestyle=":",
                linewidth=1,
                gid=OF_LOSS + loss,
            )
        axes.set_title(when)
        logarithmic(axes, "x")
        axes.set_xticks(BIN_NUMBERS)
        in_percent(axes.yaxis)
        axes.set_ylim(bottom=0)
        axes.set(xlabel="number of bins", ylabel="ECE")
    return figure


def _describe(group: Group) -> str:
    def about(loss: str) -> str:
        stages_text = []
        for when in ("before", "after"):
            stages = [getattr(run, when) for run in group.runs[loss]]
            ends = [percent(mean(np.array([s.ece[i] for s in stages]))) for i in (0, -1)]
            nulls = [percent(mean(np.array([s.null_ece[i] for s in stages]))) for i in (0, -1)]
            stages_text.append(
                f"{ends[0]} to {ends[1]} {when} temperature (null {nulls[0]} to {nulls[1]})"
            )
        return ", ".join(stages_text)

    return f"ECE with {BIN_NUMBERS[0]} to {BIN_NUMBERS[-1]} bins. {each(group, about)}"


KIND = Kind("ece-bins", TITLE, CAPTION, ece_bins, _describe)
