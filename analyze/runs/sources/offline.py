"""Reads offline W&B folders with W&B's own `wandb leet inspect`."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analyze.runs.format import PREDICTIONS
from analyze.runs.run import LeftOut
from analyze.runs.sources.cache import cache_entry, cached
from analyze.runs.sources.parallel import map_threads
from analyze.runs.sources.tracked import FINISHED, Tracked

_TIMEOUT = 120  # seconds per file; two are typical
_LOGS = "run-*.wandb"


def is_wandb_folder(folder: Path) -> bool:
    """Whether W&B's client wrote this folder: it then holds the log of a run."""
    return any(folder.glob(_LOGS))


def as_run_folders(folders: Sequence[Path]) -> tuple[list[Path], list[LeftOut]]:
    """A run folder for each run in the W&B folders, and the runs that are broken.

    A resumed run has several W&B folders, which are merged. Runs of other job types, such as
    logged reports, are skipped.

    Raises:
        UsageError: The cache cannot be written.
    """
    by_id: dict[str, list[Path]] = {}
    for folder in folders:
        for log in sorted(folder.glob(_LOGS)):
            by_id.setdefault(log.stem, []).append(log)
    results = list(
        map_threads(
            _as_run_folder, list(by_id.values()), "reading W&B", at_once=os.cpu_count() or 1
        )
    )
    converted = [result for result in results if isinstance(result, Path)]
    return converted, [result for result in results if isinstance(result, LeftOut)]


def _as_run_folder(logs: Sequence[Path]) -> Path | LeftOut | None:
    """The cached run folder of a run, or why it is broken; None if it is no training run."""
    predictions = {log: log.parent / "files" / PREDICTIONS for log in logs}
    state = hashlib.sha256()
    for log in logs:
        state.update(hashlib.sha256(log.read_bytes()).digest())
        state.update(str(predictions[log].is_file()).encode())

    def write(parent: Path) -> Path:
        attempts = sorted(map(_inspect, logs), key=_progress)
        if attempts[-1].job != "train":
            raise _NotTraining
        folder = _merged(attempts).write(parent)
        for attempt in reversed(attempts):
            present = [p for p in (predictions[attempt.log], *attempt.staged) if p.is_file()]
            if present:
                shutil.copyfile(present[0], folder / PREDICTIONS)
                break
        return folder

    entry = cache_entry("offline", logs[0].stem, state.hexdigest()[:16])
    try:
        return cached(entry, write)
    except _NotTraining:
        return None
    except Unreadable as error:
        return LeftOut(logs[-1].parent, f"broken: {error}")


class Unreadable(Exception):
    """A log that W&B's client cannot read."""


class _NotTraining(Exception):
    """A run that is not of job type train."""


@dataclass
class _Attempt:
    """The content of one log: a whole run, or the part between two interruptions."""

    log: Path
    begun: bool = False
    title: str = ""
    job: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    ended: bool = False
    staged: list[Path] = field(default_factory=list)


def _progress(attempt: _Attempt) -> tuple[bool, float, bool]:
    """Sort key of the logs of a run: its progress, which a wrong clock cannot distort.

    A concluded run has a status. Any other is ordered by the number of epochs.
    """
    epochs = [row["epoch"] for row in attempt.history if isinstance(row.get("epoch"), int | float)]
    return "status" in attempt.summary, max(epochs, default=0), attempt.ended


def _merged(attempts: Sequence[_Attempt]) -> Tracked:
    last = attempts[-1]
    return Tracked(
        run=str(last.log.parent),
        title=f"{last.title}-{last.log.stem.removeprefix('run-')}",
        config=last.config,
        history=[row for attempt in attempts for row in attempt.history],
        summary=last.summary,
        state=FINISHED if last.ended else "running or crashed",
    )


def _inspect(log: Path) -> _Attempt:
    """Parses a log.

    Raises:
        Unreadable: The file is empty or no log.
    """
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)]
    environment = os.environ | {"WANDB_ERROR_REPORTING": "false"}
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise Unreadable(f"{log.name} could not be read within {_TIMEOUT} s") from error
    attempt = _Attempt(log)
    for line in done.stdout.splitlines():
        try:
            record = json.loads(line)
        except ValueError as error:
            raise Unreadable(f"{log.name} gave invalid JSON: {error}") from error
        _add_record(record, attempt)
    if not attempt.begun:
        messages = done.stderr.decode(errors="replace").strip().splitlines()
        detail = f" ({messages[-1]})" if messages else ""
        raise Unreadable(f"{log.name} contains no run{detail}")
    return attempt


def _add_record(record: dict[str, Any], attempt: _Attempt) -> None:
    """Adds a record to an attempt."""
    match record:
        case {"type": "run", "run": run}:
            attempt.begun, attempt.job = True, run.get("job_type", "")
            attempt.title = run.get("display_name", "")
            attempt.config |= run.get("config", {}).get("update", {})
        case {"type": "config", "config": {"update": update}}:
            attempt.config |= update
        case {"type": "history", "history": {"item": row}}:
            attempt.history.append(row)
        case {"type": "summary", "summary": {"update": update}}:
            attempt.summary |= update
        case {"type": "artifact", "artifact": {"type": "predictions", "manifest": manifest}}:
            files = manifest["contents"]
            attempt.staged += [Path(f["local_path"]) for f in files if f["path"] == PREDICTIONS]
        case {"type": "exit"}:
            attempt.ended = True
