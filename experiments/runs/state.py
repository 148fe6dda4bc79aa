"""Read the status of a run from its folder alone, whoever trains it."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from analyze.errors import UsageError
from analyze.runs import format as files
from experiments.config import RunConfig
from experiments.machine import locks
from experiments.runs import loss_source


class State(StrEnum):
    """The state of a run."""

    DONE = "done"
    DIVERGED = "diverged"
    FAILED = "failed"
    RUNNING = "running"
    STOPPED = "stopped"
    WAITING = "waiting"

    @property
    def over(self) -> bool:
        """Whether nothing is left to do, unless a failed run is to be retried."""
        return self in (State.DONE, State.DIVERGED, State.FAILED)


@dataclass(frozen=True)
class RunStatus:
    """The status of a run.

    Attributes:
        state: done, diverged, failed, running, stopped or waiting.
        epoch: number of epochs trained.
        note: the reason of a failure, the process that runs it, or the test accuracy.
    """

    state: State
    epoch: int = 0
    note: str = ""


def look(config: RunConfig) -> RunStatus:
    """The status of a run; a run whose folder cannot be read has failed."""
    try:
        return _look(config)
    except UsageError as refusal:
        return RunStatus(State.FAILED, files.count_epochs(config.folder), str(refusal))


def _look(config: RunConfig) -> RunStatus:
    folder = config.folder
    if (summary := files.read_json(folder / files.SUMMARY)) is not None:
        return _concluded(config, summary)
    if owner := locks.holder(folder):
        # The run may have ended between the two reads.
        if (summary := files.read_json(folder / files.SUMMARY)) is not None:
            return _concluded(config, summary)
        return RunStatus(State.RUNNING, files.count_epochs(folder), owner)
    if (failure := files.read_json(folder / files.FAILURE)) is not None:
        return RunStatus(State.FAILED, files.count_epochs(folder), str(failure.get("reason")))
    epochs = files.count_epochs(folder)
    begun = epochs or (folder / files.CONFIG).exists()
    return RunStatus(State.STOPPED if begun else State.WAITING, epochs)


def fail(config: RunConfig, reason: str) -> None:
    """Record why a run failed. The first reason stays, because later ones follow from it.

    Raises:
        OSError: if the run's folder cannot be written.
    """
    note = files.to_json({"reason": reason, "log": files.LOG, "time": time.time()})
    path = config.folder / files.FAILURE
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(note)
    except FileExistsError:
        return
    except OSError:
        with contextlib.suppress(OSError):  # a partial note would block a complete one
            path.unlink(missing_ok=True)
        raise


def forgive(config: RunConfig) -> None:
    """Remove the record of a failure, because the run is retried."""
    (config.folder / files.FAILURE).unlink(missing_ok=True)


def _concluded(config: RunConfig, summary: dict[str, Any]) -> RunStatus:
    if summary.get("status") == "finished":
        if changed := _changed_loss(config):
            version = f"trained with another version of {', '.join(changed)}"
            return RunStatus(State.FAILED, config.epochs, f"{version}: remove {config.folder}")
        accuracy = summary.get("test/accuracy")
        note = f"test accuracy {accuracy:.2%}" if isinstance(accuracy, float) else ""
        return RunStatus(State.DONE, config.epochs, note)
    note = f"the loss is not finite at step {summary.get('diverged_step')}"
    return RunStatus(State.DIVERGED, files.count_epochs(config.folder), note)


def _changed_loss(config: RunConfig) -> list[str]:
    """The files of a custom loss that have been edited since the run."""
    if ":" not in config.loss:  # a built-in loss: avoid reading config.json of every run
        return []
    return loss_source.changed(config.loss, files.read_json(config.folder / files.CONFIG) or {})
