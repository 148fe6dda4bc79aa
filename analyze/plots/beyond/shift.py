"""Accuracy and calibration as generated corruptions become more severe."""

import numpy as np
from matplotlib.figure import Figure

from analyze.beyond.evaluations import severity
from analyze.metrics.predictions import Floats
from analyze.plots.curves import band, line
from analyze.plots.group import Group
from analyze.plots.kind import Kind, each, mean, percent
from analyze.plots.style import in_percent, key, laid_out, sheet, styled

TITLE = "Under shift: corrupted test images"
CAPTION = (
    "The mean over corruptions (Hendrycks & Dietterich 2019), which are generated from the test "
    "images with the constants of CIFAR-10-C; severity 0 is the clean test set. ECE before "
    "temperature, and at the temperature that was fitted on clean validation images. Exploratory: "
    "no verdicts."
)
PANELS = {
    "accuracy": "accuracy",
    "ece": "ECE before temperature",
    "ece_ts": "ECE at T",
    "nll_ts": "NLL at T, nats",
}


@styled
def shift(group: Group) -> Figure:
    """A panel for each measure, a curve over severity for each loss."""
    handles = key(group.labels(), group.styles)
    about = group.about + group.over_seeds("means over seeds, band: one standard deviation")
    figure = laid_out(*sheet(TITLE, about, 5.0, handles))
    for axes, (measure, title) in zip(
        figure.subplots(2, 2, sharex=True).flat, PANELS.items(), strict=True
    ):
        for place, loss in enumerate(group.losses):
            severities, values = _curve(group, loss, measure)
            if len(values):
                band(axes, group, loss, severities, values)
                line(axes, group, loss, severities, values[0], place)
        axes.set_title(title)
        axes.set_xlabel("severity")
        axes.tick_params(labelbottom=True)
        if measure != "nll_ts":
            in_percent(axes.yaxis)
    return figure


def _severities(group: Group) -> dict[int, str]:
    """The severities, with the name of the mean over corruptions at each."""
    if group.elsewhere is None:
        return {}
    found = {severity(name): name for name in group.elsewhere["images"].unique()}
    return dict(sorted((number, name) for number, name in found.items() if number))


def _curve(group: Group, loss: str, measure: str) -> tuple[Floats, Floats]:
    """The severities of a loss, and the mean and its standard deviations around it, (3, S)."""
    assert group.elsewhere is not None
    table = group.elsewhere[
        (group.elsewhere["loss"] == loss) & (group.elsewhere["measure"] == measure)
    ].set_index("images")
    clean = group.values(loss, measure)
    rows = [(0, mean(clean), float(np.std(clean, ddof=1)) if len(clean) > 1 else 0.0)]
    for number, name in _severities(group).items():
        if name in table.index:
            row = table.loc[name]
            rows.append((number, row["mean"], np.nan_to_num(row["sd"])))
    if len(rows) < 2:
        return np.empty(0), np.empty((0, 0))
    severities, means, sds = np.array(rows, dtype=float).T
    return severities, np.stack([means, means - sds, means + sds])


def _describe(group: Group) -> str:
    def about(loss: str) -> str:
        parts = []
        for measure in ("accuracy", "ece_ts"):
            severities, values = _curve(group, loss, measure)
            if len(values):
                ends = f"{percent(values[0][0])} to {percent(values[0][-1])}"
                parts.append(f"{PANELS[measure]} {ends} at severity {severities[-1]:.0f}")
        return ", ".join(parts) or "not evaluated"

    return f"From the clean test set to the most severe corruptions. {each(group, about)}"


KIND = Kind(
    "shift", TITLE, CAPTION, shift, _describe, possible=lambda group: bool(_severities(group))
)
