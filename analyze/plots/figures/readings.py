"""Reliability of the losses with a reading of their own: by softmax, by that reading, and at T."""

from matplotlib.figure import Figure

from analyze.metrics.temperature import temperature_text
from analyze.plots.figures.reliability import TALL, draw, ece_text, handles
from analyze.plots.group import Group
from analyze.plots.kind import Kind, mean
from analyze.plots.multiples import own_cells, own_losses
from analyze.plots.style import sheet, styled

TITLE = "Three readings: how much of the miscalibration is the softmax?"
CAPTION = (
    "Some losses are minimised by outputs whose softmax is not the class probabilities. Left: the "
    "softmax of the outputs. Middle: the probabilities that they mean if they minimise the loss, "
    "with nothing fitted. Right: the softmax at the fitted temperature. What differs between left "
    "and middle is the reading, not the model. The diagrams are read as those of the other "
    "reliability figure."
)


@styled
def readings(group: Group) -> Figure:
    """Reliability diagrams of the losses with a reading of their own, one loss per row."""
    about = group.about + group.over_seeds(
        f"pooled, with intervals for the {group.examples:,} examples of one seed"
    )
    tall = TALL * len(own_losses(group)) + 0.25
    figure, top = sheet(TITLE, about, tall, handles())
    draw(figure, group, own_cells(figure, group, top, TALL))
    return figure


def _describe(group: Group) -> str:
    told = [
        f"{loss}: {ece_text(group, loss, 'before')} by softmax, "
        f"{ece_text(group, loss, 'own')} as the loss reads it, {ece_text(group, loss, 'after')} "
        f"at T = {temperature_text(mean(group.values(loss, 'temperature')))}"
        for loss in own_losses(group)
    ]
    return f"Means over seeds. {'; '.join(told)}."


KIND = Kind(
    "readings", TITLE, CAPTION, readings, _describe, lambda group: bool(own_losses(group)), 8
)
