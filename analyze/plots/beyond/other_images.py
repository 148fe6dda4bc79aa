"""How well each loss tells its own images from others, or classifies other images."""

from matplotlib.figure import Figure

from analyze.beyond.evaluations import CORRUPTIONS, GENERATED, TEST
from analyze.plots.beyond.dots import dots, of_means
from analyze.plots.group import Group
from analyze.plots.kind import Kind, percent
from analyze.plots.style import styled

TITLE = "On other images: detection, or accuracy"
CAPTION = (
    "A row is a loss; the marker is its mean over seeds, the line its 95% interval of the mean. "
    "For images of no class of the run: the AUROC by the largest probability, which is how often "
    "an own test image gets a higher one than such an image; 50% is chance. For images with "
    "labels: accuracy. Exploratory: no verdicts."
)
SHOWN = {"auroc_msp": "AUROC", "accuracy": "accuracy"}


@styled
def other_images(group: Group) -> Figure:
    """A panel for each set of images, a row for each loss."""
    assert group.elsewhere is not None
    panels = [
        (f"{images}: {SHOWN[measure]}", of_means(group.elsewhere, images, measure), True)
        for images, measure in _sets(group)
    ]
    return dots(group, TITLE, group.about + group.over_seeds("means over seeds"), panels)


def _sets(group: Group) -> list[tuple[str, str]]:
    """The sets of images, each with the measure that is shown of it."""
    table = group.elsewhere
    if table is None:
        return []
    own = table["images"].str.startswith((GENERATED, CORRUPTIONS, TEST))
    shown = table[table["measure"].isin(SHOWN) & ~own]
    return list(dict.fromkeys(zip(shown["images"], shown["measure"], strict=True)))


def _describe(group: Group) -> str:
    assert group.elsewhere is not None
    parts = []
    for images, measure in _sets(group):
        rows = of_means(group.elsewhere, images, measure)
        told = ", ".join(f"{loss} {percent(row[0])}" for loss, row in rows.items())
        parts.append(f"{images}, {SHOWN[measure]}: {told}.")
    return " ".join(parts)


KIND = Kind(
    "other-images",
    TITLE,
    CAPTION,
    other_images,
    _describe,
    possible=lambda group: bool(_sets(group)),
)
