"""What is measured of a run on a set of images: with labels, or of none of its classes."""

from functools import cached_property
from typing import Any

import numpy as np
from scipy import special

from analyze.metrics import binned
from analyze.metrics.beyond import detection, recalibration
from analyze.metrics.beyond.conformal import judged, quantiles
from analyze.metrics.beyond.failures import failures
from analyze.metrics.calibration import fit_temperature, metrics_of, per_example
from analyze.metrics.predictions import Floats, Integers, Scores, score
from analyze.metrics.table import METRICS
from analyze.runs.archive import Predictions, load_predictions
from analyze.runs.format import PREDICTIONS
from analyze.runs.scored import ScoredRun

OF_LABELLED = ("accuracy", "nll", "brier", "ece", "smece", "aurc")
LEAST_LOG_P = -690.0  # of a recalibration: the logarithm of 1e-300, which is finite
Measured = tuple[dict[str, float], dict[str, Floats]]  # measures, and the terms of some of them


class Scorer:
    """Measures of one run. All that is fitted is fitted on its validation images.

    Args:
        scored: The run, whose predictions are at hand.
    """

    def __init__(self, scored: ScoredRun) -> None:
        self.scored = scored

    @cached_property
    def predictions(self) -> Predictions:
        """The logits of validation and test images."""
        return load_predictions(self.scored.run.path / PREDICTIONS)

    @cached_property
    def validation(self) -> tuple[Floats, Integers]:
        """Logits, float64, and labels of the validation images."""
        val = self.predictions.val
        assert val is not None  # a run without them is not scored
        return val.logits.astype(np.float64), val.targets

    @cached_property
    def recalibrations(self) -> dict[str, recalibration.Recalibrated]:
        """The fitted methods."""
        return {
            name: fit(*self.validation, self.scored.temperature)
            for name, fit in recalibration.METHODS.items()
        }

    @cached_property
    def quantiles(self) -> dict[str, float]:
        """Those of the conformal scores, at T."""
        logits, targets = self.validation
        return quantiles(special.log_softmax(logits / self.scored.temperature, axis=1), targets)

    def test(self) -> Measured:
        """The measures on the test images, in the order of their indices."""
        test = self.predictions.test
        assert test.index is not None
        order = np.argsort(test.index)
        own = test.own.logits[order] if test.own else None
        return self._labelled(test.logits[order], test.targets[order], own)

    def of(self, arrays: dict[str, Any]) -> Measured:
        """The measures on other images: their logits, and labels if they have any."""
        order = np.argsort(arrays["index"])
        logits = arrays["logits"][order]
        if "targets" not in arrays:
            return self._detected(logits)
        own = arrays["log_probs"][order] if "log_probs" in arrays else None
        return self._labelled(logits, arrays["targets"][order], own)

    def _detected(self, logits: Floats) -> Measured:
        test = self.predictions.test
        assert test.index is not None
        own = detection.scores(test.logits[np.argsort(test.index)])
        other = detection.scores(logits)
        terms = {f"auroc_{s}": detection.auroc_terms(own[s], other[s]) for s in own}
        return detection.detection(test.logits, logits), terms

    def _labelled(self, logits: Floats, targets: Integers, own: Floats | None) -> Measured:
        logits, temperature = logits.astype(np.float64), self.scored.temperature
        before, after = (score(logits, targets, temperature=t) for t in (1.0, temperature))
        values = dict(metrics_of(before, names=OF_LABELLED))
        values |= {
            f"{name}_ts": value
            for name, value in metrics_of(after, names=OF_LABELLED).items()
            if METRICS[name].changes
        }
        if own is not None:
            of_own = metrics_of(score(own, targets), names=OF_LABELLED)
            values |= {f"{name}_own": value for name, value in of_own.items()}
        terms = {name: per_example(before)[name] for name in ("accuracy", "nll")}
        terms["nll_ts"] = per_example(after)["nll"]
        values |= failures(before) | _parts(logits, targets, before, after)
        if not self.scored.temperature_at_bound:
            log_p = special.log_softmax(logits / temperature, axis=1)
            values |= judged(self.quantiles, log_p, targets)
            more, their_terms = self._recalibrated(logits, targets, after)
            values, terms = values | more, terms | their_terms
        return values, terms

    def _recalibrated(self, logits: Floats, targets: Integers, after: Scores) -> Measured:
        """NLL and ECE by each method, with `..._gain`, what it adds to those at T."""
        values: dict[str, float] = {}
        terms: dict[str, Floats] = {}
        for name, apply in self.recalibrations.items():
            scores = score(apply(logits).clip(LEAST_LOG_P), targets)
            ece, ece_ts = (binned.ece(s.confidence, s.correct) for s in (scores, after))
            values |= {f"nll_{name}": float(scores.nll.mean()), f"ece_{name}": ece}
            # Where a method ends at the temperature itself, rounding is no difference.
            values[f"nll_{name}_gain"] = round(float(scores.nll.mean() - after.nll.mean()), 12)
            values[f"ece_{name}_gain"] = round(ece - ece_ts, 12)
            values[f"changed_{name}"] = float((scores.predicted != after.predicted).mean())
            terms[f"nll_{name}_gain"] = scores.nll - after.nll
            terms[f"ece_{name}_gain"] = binned.ece_terms(
                scores.confidence, scores.correct
            ) - binned.ece_terms(after.confidence, after.correct)
        return values, terms


def _parts(logits: Floats, targets: Integers, before: Scores, after: Scores) -> dict[str, float]:
    """NLL and Brier score as refinement plus calibration part, by the best temperature.

    Formula:
        refinement = the score at the temperature of least NLL on these very images
        miscalibration = the score - refinement; with `_ts`, that of the score at T

    No method of recalibration that scales logits does better on these images than their own
    temperature, so refinement says what confidence knows, and the rest what calibration loses.
    The labels of these images serve to describe, never to choose.

    Source: Berta, Holzmüller, Jordan & Bach 2025, "Rethinking Early Stopping: Refine, Then
    Calibrate", arXiv:2501.19195.
    """
    best = fit_temperature(logits, targets)
    if best.at_bound:
        return {}
    scores = score(logits, targets, temperature=best.value)
    values: dict[str, float] = {}
    for name in ("nll", "brier"):
        refinement, raw, tempered = (
            float(getattr(s, name).mean()) for s in (scores, before, after)
        )
        values[f"{name}_refinement"] = refinement
        values[f"{name}_miscalibration"] = raw - refinement
        values[f"{name}_miscalibration_ts"] = tempered - refinement
    return values
