"""The runs of one setting, reduced to the small statistics that the figures need."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analyze.archive import load_predictions
from analyze.binned import ece, null_ece
from analyze.cells import SCALE_MARK, by_setting, setting_title, within
from analyze.evaluation import PREDICTIONS, Evaluated
from analyze.plots.style import Style, styles, wrapped
from analyze.predictions import BINS, Floats, Integers, Scores, bin_index, score
from analyze.report import Report
from analyze.runs import option_texts, read_history
from analyze.selective import risk_curve

FINE = 2 * BINS  # bins of the histograms of confidence; pairs of them are those of ECE
POINTS = 200  # on a curve over coverage
BIN_NUMBERS = (5, 10, 15, 20, 30, 50, 100)
TEMPERATURES = np.geomspace(0.1, 10.0, 41)
NULL_DRAWS = 20  # a run and number of bins: seeds are averaged
MOST_LOGITS = 4_000_000  # of which the curve over temperatures is computed


@dataclass(frozen=True)
class Stage:
    """A run's confidences on the test examples, before or after temperature.

    Attributes:
        bins: Examples, their summed confidence, and how many are right, in FINE equal-width bins
            (a, b], shape (3, FINE).
        predicted: The same by predicted class, shape (3, C).
        ece, null_ece: With each of BIN_NUMBERS bins.
    """

    bins: Floats
    predicted: Floats
    ece: Floats
    null_ece: Floats


@dataclass(frozen=True)
class Reduced:
    """A run as the figures need it.

    Attributes:
        one: The run and its metrics.
        before, after: Its confidences, without temperature and at the fitted one.
        targets: Examples, and how many are wrong, by true class, shape (2, C).
        risk: Error among the most confident share, for POINTS shares up to 1.
        nll: Test NLL at each of TEMPERATURES.
        validation: How many validation examples there are.
        history: The epochs of metrics.jsonl.
    """

    one: Evaluated
    before: Stage
    after: Stage
    targets: Floats
    risk: Floats
    nll: Floats
    validation: int
    history: list[dict[str, Any]] = field(repr=False)


@dataclass(frozen=True)
class Group:
    """The runs of a report with one setting.

    Attributes:
        number: Which setting of the report, from 1.
        setting: The options that vary in the report, with their values here; {} where none does.
        reference: The loss that the others are compared to.
        evaluated: The runs by loss, the reference first, then by name; each by seed.
        comparisons: The rows of the report's table.
        styles: Of each loss of the whole report.
    """

    number: int
    setting: dict[str, str]
    reference: str
    evaluated: dict[str, list[Evaluated]]
    comparisons: pd.DataFrame
    styles: dict[str, Style]

    @property
    def losses(self) -> list[str]:
        """In the order of every figure."""
        return list(self.evaluated)

    @property
    def examples(self) -> int:
        """How many test examples there are."""
        return len(next(iter(self.evaluated.values()))[0].per_example["accuracy"])

    @property
    def about(self) -> str:
        """Setting, test examples and seeds in words."""
        return self.about_with(f"{self.examples:,} test examples")

    def about_with(self, examples: str) -> str:
        """Setting, the examples that are named, and seeds in words."""
        counts = sorted({len(runs) for runs in self.evaluated.values()})
        seeds = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seeds"
        said = [setting_title(self.setting), examples]
        return ", ".join([*filter(None, said), "1 seed" if counts == [1] else seeds])

    def over_seeds(self, how: str) -> str:
        """`how` seeds are combined, to follow `about`; "" where there is one of each loss."""
        return f"; {how}" if any(len(runs) > 1 for runs in self.evaluated.values()) else ""

    def scale_arbitrary(self, loss: str) -> bool:
        """Whether the loss trains scores without a scale."""
        return any(one.run.scale_arbitrary for one in self.evaluated[loss])

    def label(self, loss: str, width: int = 24, lines: int = 2) -> str:
        """The loss as a figure shows it: wrapped, and marked where its scale is arbitrary."""
        mark = f" {SCALE_MARK}" if self.scale_arbitrary(loss) else ""
        return wrapped(loss, width, lines) + mark

    def labels(self) -> dict[str, str]:
        """The label of every loss in a legend."""
        return {loss: self.label(loss, 30) for loss in self.losses}

    def values(self, loss: str, metric: str) -> Floats:
        """A metric of the loss, shape (seeds,)."""
        return np.array([one.metrics[metric] for one in self.evaluated[loss]])

    def temperatures(self, loss: str) -> Floats:
        """The fitted temperatures of the loss, shape (seeds,)."""
        return np.array([one.temperature for one in self.evaluated[loss]])

    @cached_property
    def runs(self) -> dict[str, list[Reduced]]:
        """As `evaluated`, reduced: reads one file of predictions after the other."""
        return {loss: [reduce_run(one) for one in ones] for loss, ones in self.evaluated.items()}


def groups(report: Report) -> Iterator[Group]:
    """The settings of a report that have runs, in the order of its tables."""
    looks = styles(report.runs["loss"])
    # not runs.csv, where one column may be an option's or a metric's
    table = pd.DataFrame(
        option_texts(one.run.setting, report.options) | {"loss": one.run.loss}
        for one in report.evaluated
    )
    for number, (setting, rows) in enumerate(by_setting(table, report.options), start=1):
        ones = [report.evaluated[place] for place in rows.index]
        losses = sorted(set(rows["loss"]), key=lambda loss: (loss != report.reference, loss))
        yield Group(
            number=number,
            setting=setting,
            reference=report.reference,
            evaluated={loss: [one for one in ones if one.run.loss == loss] for loss in losses},
            comparisons=within(report.comparisons, setting),
            styles=looks,
        )


def reduce_run(one: Evaluated) -> Reduced:
    """Loads a run's predictions, once, and keeps what the figures need.

    Raises:
        ValueError: The predictions are no longer what was evaluated, or cannot be read.
    """
    predictions = load_predictions(one.run.path / PREDICTIONS)
    test, val = predictions.test, predictions.val
    classes = test.logits.shape[1]
    before = score(test.logits, test.targets)
    after = score(test.logits, test.targets, temperature=one.temperature)
    curve = risk_curve(before.log_doubt, before.correct)
    shares = np.arange(1, POINTS + 1) / POINTS
    wrong = np.bincount(test.targets, ~before.correct, classes)
    return Reduced(
        one=one,
        before=_stage(before, classes),
        after=_stage(after, classes),
        targets=np.stack([np.bincount(test.targets, minlength=classes), wrong]),
        risk=curve[np.ceil(shares * len(curve) - 1e-9).astype(int) - 1],
        nll=_nll_by_temperature(test.logits, test.targets),
        validation=0 if val is None else len(val.targets),
        history=read_history(one.run.path),
    )


def _stage(scores: Scores, classes: int) -> Stage:
    confidence, correct = scores.confidence, scores.correct
    rng = np.random.default_rng(0)
    return Stage(
        bins=_sums(bin_index(confidence, FINE), scores, FINE),
        predicted=_sums(scores.predicted, scores, classes),
        ece=np.array([ece(confidence, correct, bins) for bins in BIN_NUMBERS]),
        null_ece=np.array([null_ece(confidence, rng, NULL_DRAWS, bins) for bins in BIN_NUMBERS]),
    )


def _sums(cell: Integers, scores: Scores, cells: int) -> Floats:
    weights = (None, scores.confidence, scores.correct)
    return np.stack([np.bincount(cell, weight, cells).astype(np.float64) for weight in weights])


def _nll_by_temperature(logits: Any, targets: Integers) -> Floats:  # noqa: ANN401 (any real dtype)
    """Mean NLL at each of TEMPERATURES; of evenly spaced rows where there are too many."""
    step = -(-logits.size // MOST_LOGITS)
    z, y = logits[::step].astype(np.float64), targets[::step]
    z -= z.max(axis=1, keepdims=True)
    z_y = z[np.arange(len(z)), y]
    return np.array([np.mean(np.log(np.exp(z / t).sum(axis=1)) - z_y / t) for t in TEMPERATURES])
