"""The figures of a report: matplotlib figures, with captions and alternative text, as SVG or PNG.

`figures(report)` yields everything that a report shows. The functions of single figures take a
`Group`, the runs of one setting, of which `groups(report)` yields all.
"""

from analyze.plots.classes import class_heatmap
from analyze.plots.curves import ece_bins, risk_coverage, training
from analyze.plots.forest import forest
from analyze.plots.gallery import FULL_SETTINGS, KIND_NAMES, Shown, figures
from analyze.plots.group import Group, groups
from analyze.plots.histograms import confidence
from analyze.plots.reliability import reliability
from analyze.plots.render import png, svg
from analyze.plots.scaling import decomposition, error_ece, nll_temperature
from analyze.plots.style import INK, Style, colours, styles

__all__ = [
    "FULL_SETTINGS",
    "INK",
    "KIND_NAMES",
    "Group",
    "Shown",
    "Style",
    "class_heatmap",
    "colours",
    "confidence",
    "decomposition",
    "ece_bins",
    "error_ece",
    "figures",
    "forest",
    "groups",
    "nll_temperature",
    "png",
    "reliability",
    "risk_coverage",
    "styles",
    "svg",
    "training",
]
