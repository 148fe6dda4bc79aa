"""The table of metrics: each entry holds everything that the program needs of a metric.

To add a metric, write its formula and an entry. Scoring, tables, comparisons, choices and figures
read the entries in this order.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Literal, get_args

import numpy as np

from analyze.metrics import binned
from analyze.metrics.predictions import Booleans, Floats, Scores
from analyze.metrics.selective import aurc, coverage_at_risk, e_aurc, risk_at_coverage, risk_curve
from analyze.metrics.smooth import smece

PRIMARY = ("accuracy", "nll", "ece", "nll_ts")  # the metrics with verdicts

Unit = Literal["%", "nats", ""]
Better = Literal["higher", "lower", "nearer 0", "neither"]
Formula = Callable[[Scores], float]
Terms = Callable[[Scores], Floats]


@dataclass(frozen=True)
class Quantity:
    """The quantity in a column of a table.

    Attributes:
        name: The key in summary.json and in the names of columns.
        title: The name for readers. A column heading omits the part in brackets.
        unit: "%" if the fraction is shown as a percentage.
        better: The direction of improvement; "neither" if losses are not compared by it.
        scale_bound: Whether it depends on the scale of the logits. Before temperature such a
            quantity means nothing for a loss that leaves the scale of its scores open.
    """

    name: str
    title: str
    unit: Unit
    better: Better
    scale_bound: bool

    def __post_init__(self) -> None:
        for value, allowed in ((self.unit, Unit), (self.better, Better)):
            if value not in get_args(allowed):
                message = f"expected one of {get_args(allowed)}, got {value!r}"
                raise ValueError(f"{self.name}: {message}")


@dataclass(frozen=True)
class Metric(Quantity):
    """A metric of one set of predictions.

    Attributes:
        formula: Computes its value; a fraction if it is shown as a percentage.
        terms: Computes the per-example terms, shape (N,), whose mean is the metric. With them,
            comparisons treat the test examples as random too. None if the metric is no mean.
        proper: Whether it is a proper score. The part that the temperature removes is its
            calibration error, in a column of its own; the rest is its refinement.
        changes: Whether the temperature changes it; if so, it has a column at T.
        in_summary: Whether summary.json and `score` include it; if not, only reports do.
        selects: Whether `choose` can select by it.
        class_gaps: Whether the formula reads `Scores.class_gaps`.
    """

    formula: Formula
    terms: Terms | None
    _: KW_ONLY
    proper: bool = False
    changes: bool = True
    in_summary: bool = True
    selects: bool = False
    class_gaps: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.proper and not (self.terms and self.changes):
            raise ValueError(f"{self.name}: a proper score is a mean that temperature changes")


def _mean(terms: Terms) -> tuple[Formula, Terms]:
    return lambda s: terms(s).mean(), terms


def _top(formula: Callable[[Floats, Booleans], float]) -> Formula:
    return lambda s: formula(s.confidence, s.correct)


def _ranked(formula: Callable[[Floats, Booleans], float]) -> Formula:
    return lambda s: formula(s.log_uncertainty, s.correct)


def _curve(s: Scores) -> Floats:
    return risk_curve(s.log_uncertainty, s.correct)


def _classwise_ece(s: Scores) -> float:
    if s.class_gaps is None:
        raise ValueError("classwise_ece needs score(..., class_gaps=True)")
    return binned.classwise_ece(s.class_gaps, len(s.nll))


def _ece_terms(s: Scores) -> Floats:
    # An example also affects the sign of its bin's gap. This second-order effect is left out,
    # which overestimates the variance where the gap is pure noise.
    return binned.ece_terms(s.confidence, s.correct)


def _null_ece(s: Scores) -> float:
    return binned.null_ece(s.confidence, np.random.default_rng(0))


_ENTRIES = (
    Metric(
        *("accuracy", "accuracy", "%", "higher", False),
        *_mean(lambda s: s.correct.astype(np.float64)),
        changes=False,
        selects=True,
    ),
    Metric(
        *("top5", "top-5 accuracy", "%", "higher", False),
        *_mean(lambda s: (s.target_rank < 5).astype(np.float64)),
        changes=False,
        selects=True,
    ),
    Metric(
        *("nll", "NLL", "nats", "lower", True), *_mean(lambda s: s.nll), proper=True, selects=True
    ),
    Metric(
        *("brier", "Brier", "", "lower", True),
        *_mean(lambda s: s.brier),
        proper=True,
        selects=True,
    ),
    Metric("ece", "ECE (15 bins)", "%", "lower", True, _top(binned.ece), _ece_terms),
    Metric("ada_ece", "AdaECE", "%", "lower", True, _top(binned.ada_ece), None),
    Metric(
        *("classwise_ece", "classwise ECE", "%", "lower", True, _classwise_ece, None),
        class_gaps=True,
    ),
    Metric("mce", "MCE", "%", "lower", True, _top(binned.mce), None),
    Metric("l2_debiased", "L2² debiased", "", "lower", True, _top(binned.l2_debiased), None),
    Metric("ece_sweep", "ECE-sweep", "%", "lower", True, _top(binned.ece_sweep), None),
    Metric("smece", "smECE", "%", "lower", True, _top(smece), None),
    Metric(
        *("signed_gap", "signed gap", "%", "nearer 0", True),
        lambda s: s.confidence.mean() - s.correct.mean(),
        lambda s: s.confidence - s.correct,
    ),
    Metric("aurc", "AURC", "%", "lower", False, _ranked(aurc), None, selects=True),
    Metric("e_aurc", "E-AURC", "%", "lower", False, _ranked(e_aurc), None),
    Metric("null_ece", "null ECE", "%", "neither", True, _null_ece, None),
    Metric(
        *("risk_at_80", "risk at 80% coverage", "%", "lower", False),
        lambda s: risk_at_coverage(_curve(s), 0.80),
        None,
        in_summary=False,
    ),
    Metric(
        *("coverage_at_5", "coverage at 5% risk", "%", "higher", False),
        lambda s: coverage_at_risk(_curve(s), 0.05),
        None,
        in_summary=False,
    ),
)
OWN = "as the loss reads it"
METRICS = {metric.name: metric for metric in _ENTRIES}
# Human labels are at hand in training only, so reports read these from summary.json.
HUMAN = (
    Quantity("human_cross_entropy", "cross-entropy with people", "nats", "lower", True),
    Quantity("human_total_variation", "total variation from people", "%", "lower", True),
)
_TEMPERATURE = Quantity("temperature", "T", "", "neither", False)
_OTHERS = {quantity.name: quantity for quantity in (*HUMAN, _TEMPERATURE)}


def of_column(column: str) -> Quantity:
    """The quantity in a column; NAME_ts, NAME_own and NAME_calibration belong to NAME.

    NAME_ts is the value at the fitted temperature, NAME_calibration the part that it removes, and
    NAME_own the value of the outputs as the loss reads them.
    A name that is not in this table, as in runs of another version, is a plain number.

    Example:
        >>> of_column("ece_ts").unit, of_column("nll_calibration").better
        ('%', 'lower')
    """
    name = column.removesuffix("_ts").removesuffix("_own").removesuffix("_calibration")
    plain = Quantity(name, name, "", "lower", True)
    return METRICS.get(name) or _OTHERS.get(name, plain)


def heading(column: str) -> str:
    """The heading of a column.

    Example:
        >>> heading("ece"), heading("nll_ts"), heading("nll_own")
        ('ECE %', 'NLL at T', 'NLL as the loss reads it')
    """
    quantity = of_column(column)
    title = quantity.title.partition(" (")[0] + " %" * (quantity.unit == "%")
    if column.endswith("_own"):
        return f"{title} {OWN}"
    return title + " at T" * column.endswith("_ts")


def is_scale_bound(column: str) -> bool:
    """Whether a column depends on the scale of the logits; none at T or of an own reading does."""
    return not column.endswith(("_ts", "_own")) and of_column(column).scale_bound
