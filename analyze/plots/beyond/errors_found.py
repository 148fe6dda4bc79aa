"""Which errors are found: how well the confidence of each loss tells right from wrong."""

from matplotlib.figure import Figure

from analyze.beyond.evaluations import TEST
from analyze.plots.beyond.dots import Row, dots, of_means
from analyze.plots.group import Group
from analyze.plots.kind import Kind, each, percent
from analyze.plots.style import styled

TITLE = "Which errors are found: confidence of right and wrong predictions"
CAPTION = (
    "Test images. AUROC: how often a right prediction has a larger probability than a wrong one. "
    "AUGRC: the mean risk of an error that is not found, over all coverages; it is small where "
    "errors are few and found. Accuracy at 80% coverage: on the four fifths of the images with "
    "the largest probability. Set size: the mean number of classes in conformal sets (THR, at T) "
    "that hold the true class for 90% of the images. Lines are 95% intervals of the mean over "
    "seeds. Exploratory: no verdicts."
)
SHOWN = {
    "auroc_errors": ("AUROC of right against wrong", True),
    "augrc": ("AUGRC", True),
    "accuracy_at_80": ("accuracy at 80% coverage", True),
    "size_thr": ("set size at 90% coverage", False),
}


@styled
def errors_found(group: Group) -> Figure:
    """A panel for each measure, a row for each loss."""
    panels = [
        (title, rows, fraction)
        for measure, (title, fraction) in SHOWN.items()
        if (rows := _rows(group, measure))
    ]
    about = group.about + group.over_seeds("means over seeds")
    return dots(group, TITLE, about, panels, columns=2)


def _rows(group: Group, measure: str) -> dict[str, Row]:
    return {} if group.elsewhere is None else of_means(group.elsewhere, TEST, measure)


def _describe(group: Group) -> str:
    found = {measure: _rows(group, measure) for measure in SHOWN}

    def about(loss: str) -> str:
        told = []
        for measure, (title, fraction) in SHOWN.items():
            if loss in found[measure]:
                value = found[measure][loss][0]
                told.append(f"{title} {percent(value) if fraction else f'{value:.2f}'}")
        return ", ".join(told)

    return each(group, about)


KIND = Kind(
    "errors-found",
    TITLE,
    CAPTION,
    errors_found,
    _describe,
    possible=lambda group: bool(_rows(group, "augrc")),
)
