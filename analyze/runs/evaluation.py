"""Scores runs: each once, from its predictions, before and after temperature."""

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
from analyze.runs.sources.parallel import in_processes

AT_ONCE = 2**31  # bytes of predictions that are in memory together, of runs that have so many


def score_runs(runs: Sequence[Run]) -> list[ScoredRun | LeftOut]:
    """As `score_run`, of many runs, on all cores where predictions have to be scored."""
    found = [_known(run) for run in runs]
    todo = [run for run, known in zip(runs, found, strict=True) if known is None]
    largest = max((_size(run) for run in todo), default=1)
    at_most = max(1, AT_ONCE // largest)
    fresh = in_processes(_from_predictions, todo, "scoring runs", at_most=at_most)
    return [next(fresh) if known is None else known for known in found]


def score_run(run: Run) -> ScoredRun | LeftOut:
    """A run's metrics and statistics, or why they cannot be had.

    They come from the file that is kept instead of its predictions, from what an earlier call
    left beside the predictions, or from these.
    """
    return _known(run) or _from_predictions(run)


def same_examples(scored: Iterable[ScoredRun]) -> tuple[list[ScoredRun], list[LeftOut]]:
    """Keeps, in each setting, the runs on the test examples that most of its runs have."""
    scored = list(scored)
    votes: dict[str, Counter[str]] = {}
    for one in scored:
        votes.setdefault(as_text(one.run.setting), Counter())[one.examples] += 1
    usual = {setting: count.most_common(1)[0][0] for setting, count in votes.items()}
    kept, left_out = [], []
    for one in scored:
        if one.examples == usual[as_text(one.run.setting)]:
            kept.append(one)
        else:
            reason = "its test examples or their labels are not those of the setting's other runs"
            left_out.append(one.run.left_out(reason))
    return kept, left_out


def _known(run: Run) -> ScoredRun | LeftOut | None:
    """The run without its predictions, where it is kept or was scored before."""
    if is_kept(run):
        try:
            return read_kept(run)
        except UsageError as error:
            return run.left_out(f"broken: {KEPT} {error}")
    key = _key(run)
    known = read_cached(run, key) if key else None
    return known and _beside_summary(known)


def _from_predictions(run: Run) -> ScoredRun | LeftOut:
    key = _key(run)
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
    scored = _scored(run, test, val)
    if key:
        write_cached(scored, key)
    return _beside_summary(scored)


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
    for suffix, scores in (("", before), ("_ts", after)):
        names = [name for name, one in METRICS.items() if one.changes or not suffix]
        found, added = metrics_of(scores, names=names), per_example(scores)
        values |= {name + suffix: value for name, value in found.items()}
        terms |= {name + suffix: added[name][order] for name in added if name in names}
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
    )


def _examples(test: Split, order: np.ndarray) -> str:
    assert test.index is not None
    digest = hashlib.sha256(test.index[order].tobytes())
    digest.update(test.targets[order].tobytes())
    return digest.hexdigest()


def _beside_summary(scored: ScoredRun) -> ScoredRun | LeftOut:
    """With what summary.json alone knows, unless it says otherwise than the predictions."""
    values, summary = scored.metrics, scored.run.summary
    for name in ("accuracy", "nll"):
        said = summary.get(f"test/{name}")
        if isinstance(said, int | float) and not np.isclose(said, values[name], rtol=1e-5):
            reason = f"{SUMMARY} has test/{name} {said:.6g}, {PREDICTIONS} {values[name]:.6g}"
            return scored.run.left_out(f"broken: {reason}")
    names = [one.name + suffix for suffix in ("", "_ts") for one in HUMAN]
    told = {name: summary.get(f"test/{name}") for name in names}
    numbers = {name: float(v) for name, v in told.items() if isinstance(v, int | float)}
    return replace(scored, metrics=values | numbers)


def _size(run: Run) -> int:
    try:
        return max(1, (run.path / PREDICTIONS).stat().st_size)
    except OSError:
        return 1


def _key(run: Run) -> str | None:
    """Identifies the predictions and the code that scores them, without reading the predictions.

    The directory of a zip file has a checksum of everything that is in it.
    """
    path = run.path / PREDICTIONS
    try:
        with zipfile.ZipFile(path) as archive:
            sums = [(one.filename, one.file_size, one.CRC) for one in archive.infolist()]
        status = path.stat()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return None  # whoever loads it says what is wrong
    return repr((_code(), status.st_size, status.st_mtime_ns, sums))


@cache
def _code() -> str:
    """Identifies the code that scores: a changed formula must not meet old values."""
    here = Path(__file__).parent
    sources = [path for room in (here, here.parent / "metrics") for path in room.glob("*.py")]
    digest = hashlib.sha256(f"{np.__version__} {scipy.__version__}".encode())
    for path in sorted(sources):
        digest.update(path.read_bytes())
    return digest.hexdigest()
