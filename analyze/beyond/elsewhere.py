"""Tables of what the losses do beyond their metrics on the test set, with paired intervals.

They are exploratory: intervals are not corrected for their number, and there are no verdicts.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analyze.beyond.evaluations import Evaluated, fresh_evaluations, stored_evaluations
from analyze.comparison.contrasts import Setting, settings
from analyze.comparison.covariance import covariances
from analyze.comparison.report import Report
from analyze.comparison.statistics import interval
from analyze.comparison.variances import crossed, over_seeds
from analyze.errors import UsageError
from analyze.metrics.beyond.recalibration import METHODS
from analyze.metrics.predictions import Floats
from analyze.runs.run import option_texts
from analyze.runs.scored import ScoredRun
from analyze.runs.sources.parallel import map_processes

COLUMNS = ["images", "measure", "loss", "seeds", "mean", "sd", "difference", "low", "high"]
RECALIBRATED = [
    *("images", "method", "loss", "seeds", "nll", "ece"),
    *("nll_minus_t", "nll_low", "nll_high", "ece_minus_t", "ece_low", "ece_high", "changed"),
]


@dataclass(frozen=True)
class Beyond:
    """The tables, and what they were made from.

    Attributes:
        table: A row for each setting, set of images, measure and loss; COLUMNS after the options.
            `difference` is to the reference, paired by seed, with a 95% interval over seeds and,
            for means over images and AUROC, over images.
        recalibrated: A row for each setting, set of images, method and loss: RECALIBRATED after
            the options. Differences are to the values at T of the same runs.
        covariance: File name -> (runs, measure -> covariance between them over images).
    """

    table: pd.DataFrame
    recalibrated: pd.DataFrame
    covariance: dict[str, tuple[list[ScoredRun], dict[str, Floats]]]

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables that have rows, by name."""
        tables = {"elsewhere": self.table, "recalibrations": self.recalibrated}
        return {name: table for name, table in tables.items() if len(table)}


def tables_beyond(report: Report) -> Beyond:
    """The tables of a report; made once."""
    known = _LAST.get("report"), _LAST.get("beyond")
    if known[0] is not report:
        _LAST.update(report=report, beyond=_beyond(report))
    found: Beyond = _LAST["beyond"]
    return found


_LAST: dict[str, Any] = {}


def _beyond(report: Report) -> Beyond:
    runs = report.evaluated
    stored = [stored_evaluations(run) for run in runs]
    todo = [run for run, known in zip(runs, stored, strict=True) if known is None]
    at_most = max(1, len(todo))
    fresh = map_processes(fresh_evaluations, todo, "scoring other images", at_most=at_most)
    found = [next(fresh) if known is None else known for known in stored]
    rows: list[dict[str, Any]] = []
    recalibrated: list[dict[str, Any]] = []
    covariance = {}
    for images in dict.fromkeys(name for entry in found for name in entry):
        having = [(run, e[images]) for run, e in zip(runs, found, strict=True) if images in e]
        shown = [_as_run(run, evaluated) for run, evaluated in having]
        file = covariance_file(images)
        matrices = covariances(shown, file)
        covariance[file] = (shown, matrices)
        for setting in settings(shown, matrices):
            first = option_texts(setting.setting, report.options) | {"images": images}
            _check_same(setting, images)
            rows += [first | row for row in _rows(setting, report.reference)]
            recalibrated += [first | row for row in _recalibrated(setting)]
        for name in dict.fromkeys(name for _, e in having for name in e.single):
            single = [
                replace(run, metrics=e.single[name], per_example={})
                for run, e in having
                if name in e.single
            ]
            for setting in settings(single, {}):
                first = option_texts(setting.setting, report.options) | {"images": name}
                rows += [first | row for row in _rows(setting, report.reference)]
    return Beyond(
        pd.DataFrame(rows, columns=[*report.options, *COLUMNS]),
        pd.DataFrame(recalibrated, columns=[*report.options, *RECALIBRATED]),
        covariance,
    )


def covariance_file(images: str) -> str:
    """The file beside kept runs with the covariances on a set of images."""
    return f"covariances-{re.sub(r'[^a-z0-9]+', '-', images.lower()).strip('-')}.npz"


def _as_run(run: ScoredRun, evaluated: Evaluated) -> ScoredRun:
    """The run as if these images were its test images."""
    terms = {name: values.astype(np.float64) for name, values in evaluated.terms.items()}
    return replace(
        run,
        metrics=evaluated.measures,
        per_example=terms,
        examples=evaluated.images,
        size=evaluated.size,
    )


def _rows(setting: Setting, reference: str) -> Iterator[dict[str, Any]]:
    by_loss = {loss: _runs(setting, loss) for loss in setting.losses}
    names = dict.fromkeys(name for run in setting.runs for name in run.metrics)
    for measure in names:
        if measure.endswith("_gain") or measure.rpartition("_")[2] in METHODS:
            continue  # these are in the table of recalibrations
        for loss, runs in by_loss.items():
            values = [run.metrics[measure] for run in runs if measure in run.metrics]
            if values:
                row = {"measure": measure, "loss": loss, "seeds": len(values)}
                yield row | _moments(values) | _difference(setting, measure, loss, reference)


def _runs(setting: Setting, loss: str) -> list[ScoredRun]:
    return [run for run in setting.runs if run.run.loss == loss]


def _moments(values: Sequence[float]) -> dict[str, float]:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return {"mean": float(np.mean(values)), "sd": sd}


def _difference(setting: Setting, measure: str, loss: str, reference: str) -> dict[str, float]:
    """The difference to the reference, with its interval if there are two seeds in common."""
    if loss == reference or not setting.seeds(loss, reference):
        return {}
    places = [r for r in setting.runs if r.run.loss in (loss, reference)]
    if any(measure not in run.metrics for run in places):
        return {}
    contrast = setting.contrast(measure, loss, reference)
    found = {"difference": float(np.mean(contrast.differences))}
    if contrast.own is None:
        return found
    low, high = interval(contrast.own)
    return found | {"low": low, "high": high}


def _recalibrated(setting: Setting) -> Iterator[dict[str, Any]]:
    for method in METHODS:
        for loss in setting.losses:
            places = [
                i
                for i, run in enumerate(setting.runs)
                if run.run.loss == loss and f"nll_{method}" in run.metrics
            ]
            if not places:
                continue
            values = {
                name: float(np.mean([setting.runs[i].metrics[f"{name}_{method}"] for i in places]))
                for name in ("nll", "ece", "changed")
            }
            row: dict[str, Any] = {"method": method, "loss": loss, "seeds": len(places)} | values
            for metric in ("nll", "ece"):
                row |= _gain(setting, places, metric, f"{metric}_{method}_gain")
            yield row


def _gain(setting: Setting, places: Sequence[int], metric: str, measure: str) -> dict[str, float]:
    """What a method adds to a metric at T, over the runs of a loss."""
    gains = [setting.runs[i].metrics[measure] for i in places]
    found = {f"{metric}_minus_t": float(np.mean(gains))}
    if len(places) < 2:
        return found
    known = setting.covariance.get(measure)
    between = None if known is None else known[np.ix_(places, places)]
    if between is None or np.isnan(between).any():
        difference = over_seeds(gains)
    else:
        difference = crossed(gains, between, setting.runs[places[0]].size)
    low, high = interval(difference)
    return found | {f"{metric}_low": low, f"{metric}_high": high}


def _check_same(setting: Setting, images: str) -> None:
    """Refuse runs whose images have the same name and are others.

    Raises:
        UsageError: There are such runs.
    """
    first, *rest = setting.runs
    for run in rest:
        if run.examples != first.examples:
            raise UsageError(
                f"{first.run.path} and {run.run.path} were evaluated on other images named "
                f"{images!r}: evaluate both again, or rename a folder"
            )
