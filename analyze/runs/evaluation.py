"""Scores each run once, from its predictions, before and after temperature."""

import hashlib
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import scipy

from analyze.errors import UsageError
from analyze.metrics.calibration import fit_temperature, metrics_of, per_example
from analyze.metrics.predictions import Floats, score
from analyze.metrics.table import HUMAN, METRICS
from analyze.runs.archive import Split, load_predictions
from analyze.runs.format import PREDICTIONS, SUMMARY
from analyze.runs.reduced import nll_by_temperature, risk_by_coverage, stage
from analyze.runs.run import LeftOut, Run, as_text
from analyze.runs.scored import (
    KEPT,
    ScoredRun,
    is_kept,
    read_cached,
    read_kept,
    write_cached,
)
from analyze.runs.sources.parallel import map_processes

SOFTMAX = "softmax"  # the reading of most losses, in config.json
MEMORY = 2**31  # bytes: runs scored in parallel hold at most this much of predictions


def score_runs(runs: Sequence[Run]) -> list[ScoredRun | LeftOut]:
    """As `score_run`, for many runs: all cores share those that have to be scored."""
    stored = [_stored(run) for run in runs]
    todo = [run for run, scored in zip(runs, stored, strict=True) if scored is None]
    largest = max((_size(run) for run in todo), default=1)
    at_most = max(1, MEMORY // largest)
    fresh = map_processes(_from_predictions, todo, "scoring runs", at_most=at_most)
    return [next(fresh) if scored is None else scored for scored in stored]


def score_run(run: Run) -> ScoredRun | LeftOut:
    """A run's metrics and statistics, or why it cannot be scored.

    They come from the file that replaces its predictions, from the cache beside its predictions,
    or from the predictions.
    """
    return _stored(run) or _from_predictions(run)


def by_own_reading(scored: Sequence[ScoredRun]) -> list[ScoredRun]:
    """The runs with NAME_own also where the loss reads by softmax, if any loss reads otherwise.

    A loss that reads by softmax has the same values twice, so that all can be compared as they
    read their outputs. A loss without a reading has none.
    """
    if not any(run.own for run in scored):
        return list(scored)
    return [_with_softmax_as_own(run) for run in scored]


def _with_softmax_as_own(scored: ScoredRun) -> ScoredRun:
    if scored.own or scored.run.described.get("reading") != SOFTMAX:
        return scored
    human = [quantity.name for quantity in HUMAN]
    known = [name for name in [*METRICS, *human] if name in scored.metrics]
    values = {f"{name}_own": scored.metrics[name] for name in known}
    terms = {f"{n}_own": scored.per_example[n] for n in METRICS if n in scored.per_example}
    return replace(scored, metrics=scored.metrics | values, per_example=scored.per_example | terms)


def same_examples(scored: Iterable[ScoredRun]) -> tuple[list[ScoredRun], list[LeftOut]]:
    """Keeps, in each setting, the runs on the most common test examples; leaves out the rest."""
    runs = list(scored)
    votes: dict[str, Counter[str]] = {}
    for scored_run in runs:
        votes.setdefault(as_text(scored_run.run.setting), Counter())[scored_run.examples] += 1
    usual = {setting: count.most_common(1)[0][0] for setting, count in votes.items()}
    kept, left_out = [], []
    for scored_run in runs:
        if scored_run.examples == usual[as_text(scored_run.run.setting)]:
            kept.append(scored_run)
        else:
            reason = "its test examples or labels differ from those of most runs of this setting"
            left_out.append(scored_run.run.left_out(reason))
    return kept, left_out


def _stored(run: Run) -> ScoredRun | LeftOut | None:
    """The run as kept or as scored before; None if its predictions must be scored."""
    if is_kept(run):
        try:
            return read_kept(run)
        except UsageError as error:
            return run.left_out(f"broken: {KEPT} {error}")
    key = _key(run)
    cached = read_cached(run, key) if key else None
    return cached and _with_summary(cached)


def _from_predictions(run: Run) -> ScoredRun | LeftOut:
    key = _key(run)
    try:
        predictions = load_predictions(run.path / PREDICTIONS)
    except UsageError as error:
        return run.left_out(f"broken: {PREDICTIONS} {error}")
    test, val = predictions.test, predictions.val
    if test.probabilities or (val and val.probabilities):
        return run.left_out(f"broken: {PREDICTIONS} has probabilities, but a report needs logits")
    if val is None:
        return run.left_out(f"broken: {PREDICTIONS} has no val_logits, so no temperature")
    if test.index is None:
        return run.left_out(f"broken: {PREDICTIONS} has no test_index, so it cannot be paired")
    scored = _scored(run, test, val)
    if key:
        write_cached(scored, key)
    return _with_summary(scored)


def _scored(run: Run, test: Split, val: Split) -> ScoredRun:
    assert test.index is not None
    temperature = fit_temperature(val.logits, val.targets)
    order, classes = np.argsort(test.index), test.logits.shape[1]
    values: dict[str, float] = {}
    terms: dict[str, Floats] = {}
    before, after = (
        score(test.logits, test.targets, temperature=t, class_gaps=True)
        for t in (1.0, temperature.value)
    )
    own = None
    if test.own:
        p = test.own.probabilities
        own = score(test.own.logits, test.targets, class_gaps=True, probabilities=p)
    for suffix, scores in (("", before), ("_ts", after), ("_own", own)):
        if scores is None:
            continue
        names = [name for name, metric in METRICS.items() if metric.changes or suffix != "_ts"]
        by_name, all_terms = metrics_of(scores, names=names), per_example(scores)
        values |= {name + suffix: value for name, value in by_name.items()}
        terms |= {name + suffix: all_terms[name][order] for name in all_terms if name in names}
    for name, metric in METRICS.items():
        if metric.proper:
            values[f"{name}_calibration"] = values[name] - values[f"{name}_ts"]
            terms[f"{name}_calibration"] = terms[name] - terms[f"{name}_ts"]
    wrong = np.bincount(test.targets, ~before.correct, classes)
    return ScoredRun(
        run=run,
        temperature=temperature.value,
        temperature_bound=temperature.bound,
        metrics=values,
        per_example=terms,
        examples=_examples(test, order),
        size=len(test.targets),
        before=stage(before, classes),
        after=stage(after, classes),
        targets=np.stack([np.bincount(test.targets, minlength=classes), wrong]),
        risk=risk_by_coverage(before),
        nll=nll_by_temperature(test.logits, test.targets),
        validation=len(val.targets),
        own=stage(own, classes) if own else None,
    )


def _examples(test: Split, order: np.ndarray) -> str:
    assert test.index is not None
    digest = hashlib.sha256(test.index[order].tobytes())
    digest.update(test.targets[order].tobytes())
    return digest.hexdigest()


def _with_summary(scored: ScoredRun) -> ScoredRun | LeftOut:
    """Adds the metrics that only summary.json has; leaves the run out if the two disagree."""
    values, summary = scored.metrics, scored.run.summary
    for name in ("accuracy", "nll"):
        recorded = summary.get(f"test/{name}")
        if isinstance(recorded, int | float) and not np.isclose(recorded, values[name], rtol=1e-5):
            reason = f"{SUMMARY} has test/{name} {recorded:.6g}, {PREDICTIONS} {values[name]:.6g}"
            return scored.run.left_out(f"broken: {reason}")
    suffixes = ("", "_ts", "_own")
    names = [quantity.name + suffix for suffix in suffixes for quantity in HUMAN]
    recorded_human = {name: summary.get(f"test/{name}") for name in names}
    numbers = {name: float(v) for name, v in recorded_human.items() if isinstance(v, int | float)}
    return replace(scored, metrics=values | numbers)


def _size(run: Run) -> int:
    try:
        return max(1, (run.path / PREDICTIONS).stat().st_size)
    except OSError:
        return 1


def _key(run: Run) -> str | None:
    """Identifies the predictions and the scoring code, without reading the predictions.

    An npz file is a zip archive, whose directory holds a checksum of each array.
    """
    path = run.path / PREDICTIONS
    try:
        with zipfile.ZipFile(path) as archive:
            sums = [(array.filename, array.file_size, array.CRC) for array in archive.infolist()]
        status = path.stat()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return None  # loading the file reports what is wrong with it
    return repr((code(), status.st_size, status.st_mtime_ns, sums))


@cache
def code() -> str:
    """Identifies the scoring code: a changed formula must invalidate cached values."""
    package = Path(__file__).parent.parent
    rooms = [package / name for name in ("runs", "metrics", "beyond")]
    sources = [path for room in rooms for path in room.rglob("*.py")]
    digest = hashlib.sha256(f"{np.__version__} {scipy.__version__}".encode())
    for path in sorted(sources):
        digest.update(path.read_bytes())
    return digest.hexdigest()
