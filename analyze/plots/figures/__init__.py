"""The figures, one per file: how each is drawn, read and described.

The name of a figure is that of its file, with hyphens.
"""

from importlib import import_module

from analyze.plots.beyond import errors_found, other_images, recalibrations, shift
from analyze.plots.kind import Kind

_FILES = (  # in reading order
    *(
        "forest",
        "pairs",
        "error_ece",
        "reliability",
        "readings",
        "decomposition",
        "nll_temperature",
    ),
    "ece_bins",
    *("risk_coverage", "confidence", "classes", "training"),
)
KINDS: tuple[Kind, ...] = (
    *(import_module(f"{__name__}.{file}").KIND for file in _FILES),
    *(module.KIND for module in (shift, other_images, errors_found, recalibrations)),
)
