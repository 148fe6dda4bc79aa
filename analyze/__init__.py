"""Reads what runs left: metrics, temperature, paired comparisons, reports. Needs no torch.

What a notebook needs is imported from here:

    from analyze import build_report, list_figures, summarise
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "read_runs": "runs.run",
    "load_predictions": "runs.archive",
    "score_predictions": "runs.score",
    "ece": "metrics.binned",
    "build_report": "comparison.report",
    "groups": "plots.group",
    "list_figures": "plots.gallery",
    "markdown_tables": "report.documents",
    "summarise": "report.sentences",
    "write_report": "report.output",
    "UsageError": "errors",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    # Imported when asked for: training needs the metrics, and neither pandas nor matplotlib.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
