"""The table of metrics: an entry says all that is asked of a metric anywhere.

To add one, write its formula and an entry. Scoring, tables, comparisons, choices and figures read
the entries, in this order.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Literal, get_args

import numpy as np

from analyze.metrics import binned
from analyze.metrics.predictions import Booleans, Floats, Scores
from analyze.metrics.selective import aurc, coverage_at_risk, e_aurc, risk_at_coverage, risk_curve
from analyze.metrics.smooth import smece

Unit = Literal["%", "nats", ""]
Better = Literal["higher", "lower", "nearer 0", "neither"]
Formula = Callable[[Scores], float]
Terms = Callable[[Scores], Floats]


@dataclass(frozen=True)
class Quantity:
    """What a column of a table is about.

    Attributes:
        name: In summary.json and in the names of columns.
        title: For readers; over a column without what it has in brackets.
        unit: "%" where a fraction is shown as percent.
        better: Which way; "neither" of what is no property of a loss, which is not compared.
        scale_bound: Whether it means nothing, before temperature, for a loss that leaves the
            scale of its scores open.
    """

    name: str
    title: str
    unit: Unit
    better: Better
    scale_bound: bool

    def __post_init__(self) -> None:
        for given, known in ((self.unit, Unit), (self.better, Better)):
            if given not in get_args(known):
                raise ValueError(f"{self.name}: expected one of {get_args(known)}, got {given!r}")


@dataclass(frozen=True)
class Metric(Quantity):
    """A number of one set of predictions.

    Attributes:
        formula: Its value; a fraction where it is shown as percent.
        terms: What each example adds, shape (N,), where the metric is their mean: with them,
            comparisons take the test examples as random, too. None where it is no mean.
        proper: Whether it is a proper score: what the temperature takes away of it is
            calibration, in a column of its own, and what it leaves is refinement.
        changes: Whether the temperature changes it, so that it has a column after that.
        in_summary: Whether summary.json and `score` have it, not reports alone.
        selects: Whether an option can be chosen by it.
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
    return lambda s: formula(s.log_doubt, s.correct)


def _curve(s: Scores) -> Floats:
    return risk_curve(s.log_doubt, s.correct)


def _classwise_ece(s: Scores) -> float:
    if s.class_gaps is None:
        raise ValueError("classwise_ece needs score(..., class_gaps=True)")
    return binned.classwise_ece(s.class_gaps, len(s.nll))


def _ece_terms(s: Scores) -> Floats:
    # An example's own effect on the sign of its bin's gap is of second order, and left out; where
    # the gap is all noise, that makes the variance larger.
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
METRICS = {metric.name: metric for metric in _ENTRIES}
# What people answered only the trainer knows: `human_agreement`, taken from summary.json.
HUMAN = (
    Quantity("human_cross_entropy", "cross-entropy with people", "nats", "lower", True),
    Quantity("human_total_variation", "total variation from people", "%", "lower", True),
)
_TEMPERATURE = Quantity("temperature", "T", "", "neither", False)
_OTHERS = {one.name: one for one in (*HUMAN, _TEMPERATURE)}


def of_column(column: str) -> Quantity:
    """What a column is about: NAME_ts is after temperature, NAME_calibration what that takes away.

    A name that this table lacks, as runs kept elsewhere may have, is that of a plain number.

    Example:
        >>> of_column("ece_ts").unit, of_column("nll_calibration").better
        ('%', 'lower')
    """
    name = column.removesuffix("_ts").removesuffix("_calibration")
    plain = Quantity(name, name, "", "lower", True)
    return METRICS.get(name) or _OTHERS.get(name, plain)


def heading(column: str) -> str:
    """What stands over a column.

    Example:
        >>> heading("ece"), heading("nll_ts")
        ('ECE %', 'NLL at T')
    """
    about = of_column(column)
    title = about.title.partition(" (")[0]
    return title + " %" * (about.unit == "%") + " at T" * column.endswith("_ts")


def is_scale_bound(column: str) -> bool:
    """Whether a column depends on the scale of the logits (those after temperature do not)."""
    return not column.endswith("_ts") and of_column(column).scale_bound
