"""Computes a run's metrics from its predictions, before and after temperature."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from analyze.errors import UsageError
from analyze.metrics.calibration import (
    MORE_NAMES,
    NAMES,
    fit_temperature,
    metrics_of,
    per_example,
)
from analyze.metrics.predictions import Floats, score
from analyze.metrics.temperature import Bound
from analyze.runs.archive import Split, load_predictions
from analyze.runs.format import PREDICTIONS, SUMMARY
from analyze.runs.run import LeftOut, Run, as_text

VERSION = 2  # of the definitions of the metrics
OF_EQUAL_MASS = ("ada_ece", "l2_debiased", "ece_sweep")  # what version 2 changed
# The temperature changes neither: no column of their own after it.
UNCHANGED = ("accuracy", "top5")
# Of people's answers only the trainer knows: taken from summary.json where it has them.
HUMAN = [
    f"human_{name}{suffix}"
    for suffix in ("", "_ts")
    for name in ("cross_entropy", "total_variation")
]


@dataclass(frozen=True)
class Evaluated:
    """A run and its metrics on the test examples.

    Attributes:
        run: The run.
        temperature: Fitted on its validation split.
        temperature_bound: What it stands for where no finite one is the best: see
            `fit_temperature`.
        metrics: Name -> value; NAME_ts is after temperature, `nll_calibration` and
            `brier_calibration` are what the temperature takes away (what it leaves is the
            refinement, NAME_ts), and `human_...` is there where summary.json has it.
        per_example: The metrics that are means over examples, float64 (N,) each, in the order
            of the examples' indices; {} of a run without predictions.
        examples: Identifies the test examples and their labels.
        size: N.
        version: Of the definitions of the metrics: 1 cut ties of confidence into bins of equal
            mass by the order of the rows; runs that were kept then still have such values.
    """

    run: Run
    temperature: float
    temperature_bound: Bound | None
    metrics: dict[str, float]
    per_example: dict[str, Floats] = field(repr=False)
    examples: str
    size: int
    version: int = VERSION

    @property
    def temperature_at_bound(self) -> bool:
        """Whether no finite temperature is the best."""
        return self.temperature_bound is not None


def evaluate_run(run: Run) -> Evaluated | LeftOut:
    """Loads a run's predictions and computes everything, or says why that cannot be done."""
    try:
        predictions = load_predictions(run.path / PREDICTIONS)
    except UsageError as error:
        return run.left_out(f"broken: {PREDICTIONS} {error}")
    test, val = predictions.test, predictions.val
    if test.probabilities or (val and val.probabilities):
        return run.left_out(f"broken: {PREDICTIONS} has probabilities, a report needs logits")
    if val is None:
        return run.left_out(f"broken: {PREDICTIONS} has no val_logits, so no temperature")
    if test.index is None:
        return run.left_out(f"broken: {PREDICTIONS} has no test_index, so it cannot be paired")

    temperature = fit_temperature(val.logits, val.targets)
    order = np.argsort(test.index)
    values: dict[str, float] = {}
    terms: dict[str, Floats] = {}
    for suffix, t in (("", 1.0), ("_ts", temperature.value)):
        scores = score(test.logits, test.targets, temperature=t, class_gaps=True)
        found = metrics_of(scores, names=(*NAMES, *MORE_NAMES))
        kept = [name for name in found if not suffix or name not in UNCHANGED]
        values |= {name + suffix: found[name] for name in kept}
        added = per_example(scores)
        terms |= {name + suffix: added[name][order] for name in added if name in kept}
    for name in ("nll", "brier"):
        values[f"{name}_calibration"] = values[name] - values[f"{name}_ts"]
        terms[f"{name}_calibration"] = terms[name] - terms[f"{name}_ts"]
    if reason := _disagreement(run, values):
        return run.left_out(f"broken: {reason}")
    said = {name: run.summary.get(f"test/{name}") for name in HUMAN}
    values |= {name: float(v) for name, v in said.items() if isinstance(v, int | float)}
    examples = _examples(test, order)
    return Evaluated(run, *temperature, values, terms, examples, len(test.targets))


def same_examples(evaluated: Iterable[Evaluated]) -> tuple[list[Evaluated], list[LeftOut]]:
    """Keeps, in each setting, the runs on the test examples that most of its runs have."""
    evaluated = list(evaluated)
    votes: dict[str, Counter[str]] = {}
    for one in evaluated:
        votes.setdefault(as_text(one.run.setting), Counter())[one.examples] += 1
    usual = {setting: count.most_common(1)[0][0] for setting, count in votes.items()}
    kept, left_out = [], []
    for one in evaluated:
        if one.examples == usual[as_text(one.run.setting)]:
            kept.append(one)
        else:
            reason = "its test examples or their labels are not those of the setting's other runs"
            left_out.append(one.run.left_out(reason))
    return kept, left_out


def _examples(test: Split, order: np.ndarray) -> str:
    assert test.index is not None
    digest = hashlib.sha256(test.index[order].tobytes())
    digest.update(test.targets[order].tobytes())
    return digest.hexdigest()


def _disagreement(run: Run, values: dict[str, float]) -> str | None:
    """What summary.json says otherwise than the predictions beside it."""
    for name in ("accuracy", "nll"):
        said = run.summary.get(f"test/{name}")
        if isinstance(said, int | float) and not np.isclose(said, values[name], rtol=1e-5):
            return f"{SUMMARY} has test/{name} {said:.6g}, {PREDICTIONS} {values[name]:.6g}"
    return None
