"""Analyses finished runs: metrics, temperature, paired comparisons, reports. Needs no torch.

Notebooks import the public functions from here:

    from analyze import build_report, list_figures, summarise
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "read_runs": "runs.run",
    "load_predictions": "runs.archive",
    "score_predictions": "runs.score",
    "ece": "metrics.binned",
    "build_report": "comparison.report",
    "tables_beyond": "beyond.elsewhere",
    "groups": "plots.group",
    "list_figures": "plots.gallery",
    "markdown_tables": "report.documents",
    "summarise": "report.sentences",
    "write_report": "report.output",
    "UsageError": "errors",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    # Import on demand: training needs the metrics, but neither pandas nor matplotlib.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
