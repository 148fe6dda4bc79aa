"""The figures, one a file: how it is drawn, how it is read, and what it says in words.

A figure's name is its file's, with hyphens.
"""

from analyze.plots.figures import (
    classes,
    confidence,
    decomposition,
    ece_bins,
    error_ece,
    forest,
    nll_temperature,
    reliability,
    risk_coverage,
    training,
)

KINDS = tuple(
    figure.KIND
    for figure in (  # in the order in which they are best read
        *(forest, error_ece, reliability, decomposition, nll_temperature, ece_bins),
        *(risk_coverage, confidence, classes, training),
    )
)
