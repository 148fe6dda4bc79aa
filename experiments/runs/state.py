"""Where a run stands, read from its folder alone: whoever trained it, wherever."""

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
    """What has become of a run."""

    DONE = "done"
    DIVERGED = "diverged"
    FAILED = "failed"
    RUNNING = "running"
    STOPPED = "stopped"
    WAITING = "waiting"

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do, unless a failed run is to be tried again."""
        return self in (State.DONE, State.DIVERGED, State.FAILED)


@dataclass(frozen=True)
class Standing:
    """Where a run stands.

    Attributes:
        state: what has become of it.
        epoch: how many epochs it has trained.
        note: why it failed or diverged, who runs it, or how accurate it is.
    """

    state: State
    epoch: int = 0
    note: str = ""


def look(config: RunConfig) -> Standing:
    """Where a run stands; one that cannot be looked at has failed."""
    try:
        return _look(config)
    except UsageError as refusal:
        return Standing(State.FAILED, files.count_epochs(config.folder), str(refusal))


def _look(config: RunConfig) -> Standing:
    folder = config.folder
    if (summary := files.read_json(folder / files.SUMMARY)) is not None:
        return _concluded(config, summary)
    if owner := locks.holder(folder):
        # It may have finished between the two looks.
        if (summary := files.read_json(folder / files.SUMMARY)) is not None:
            return _concluded(config, summary)
        return Standing(State.RUNNING, files.count_epochs(folder), owner)
    if (failure := files.read_json(folder / files.FAILURE)) is not None:
        return Standing(State.FAILED, files.count_epochs(folder), str(failure.get("reason")))
    epochs = files.count_epochs(folder)
    begun = epochs or (folder / files.CONFIG).exists()
    return Standing(State.STOPPED if begun else State.WAITING, epochs)


def fail(config: RunConfig, reason: str) -> None:
    """Note that a run failed, and why. The first reason stays: the others follow from it.

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
        with contextlib.suppress(OSError):  # half a note says nothing, and keeps out a whole one
            path.unlink(missing_ok=True)
        raise


def forgive(config: RunConfig) -> None:
    """Forget that a run failed: it is tried again."""
    (config.folder / files.FAILURE).unlink(missing_ok=True)


def _concluded(config: RunConfig, summary: dict[str, Any]) -> Standing:
    if summary.get("status") == "finished":
        if changed := _changed_loss(config):
            version = f"trained with another version of {', '.join(changed)}"
            return Standing(State.FAILED, config.epochs, f"{version}: remove {config.folder}")
        accuracy = summary.get("test/accuracy")
        note = f"test accuracy {accuracy:.2%}" if isinstance(accuracy, float) else ""
        return Standing(State.DONE, config.epochs, note)
    note = f"the loss is not finite at step {summary.get('diverged_step')}"
    return Standing(State.DIVERGED, files.count_epochs(config.folder), note)


def _changed_loss(config: RunConfig) -> list[str]:
    """The files of the user's own loss that have been edited since the run."""
    if ":" not in config.loss:  # one of ours: a study of a thousand runs need not ask
        return []
    return loss_source.changed(config.loss, files.read_json(config.folder / files.CONFIG) or {})
