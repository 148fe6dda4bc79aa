"""The figures, one a file: how it is drawn, how it is read, and what it says in words.

A figure's name is its file's, with hyphens.
"""

from importlib import import_module

from analyze.plots.kind import Kind

_FILES = (  # in the order in which they are best read
    *("forest", "error_ece", "reliability", "decomposition", "nll_temperature", "ece_bins"),
    *("risk_coverage", "confidence", "classes", "training"),
)
KINDS: tuple[Kind, ...] = tuple(import_module(f"{__name__}.{file}").KIND for file in _FILES)
