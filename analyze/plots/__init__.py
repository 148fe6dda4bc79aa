"""The figures of a report: matplotlib figures, with captions and alternative text, as SVG or PNG.

`list_figures(report)` gives all that a report shows. A single one is drawn by the function of its
name, `analyze.plots.figures.forest.forest(group)`, from a `Group`, the runs of one setting, of
which `groups(report)` yields all.
"""

from analyze.plots.figures import KINDS
from analyze.plots.gallery import FULL_SETTINGS, Shown, list_figures
from analyze.plots.group import Group, groups
from analyze.plots.render import png, svg
from analyze.plots.style import INK, Style, colours, styles

__all__ = [
    "FULL_SETTINGS",
    "INK",
    "KINDS",
    "Group",
    "Shown",
    "Style",
    "colours",
    "groups",
    "list_figures",
    "png",
    "styles",
    "svg",
]
