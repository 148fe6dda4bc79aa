"""The figures of a report: matplotlib figures with captions and alternative text, as SVG or PNG.

`list_figures(report)` returns the figures of a report. The function of a figure draws it on its
own, as in `analyze.plots.figures.forest.forest(group)`. Its argument is a `Group`, the runs of
one setting; `groups(report)` yields them.
"""

from analyze.plots.figures import KINDS
from analyze.plots.gallery import FULL_SETTINGS, Shown, drawn, list_figures
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
    "drawn",
    "groups",
    "list_figures",
    "png",
    "styles",
    "svg",
]
