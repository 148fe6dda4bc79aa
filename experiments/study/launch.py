"""What a study asks of a launcher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from experiments.config import RunConfig
from experiments.study.board import StudyStatus


@dataclass(frozen=True)
class Launch:
    """The task of a launcher.

    Attributes:
        study_status: status of the study.
        todo: the runs to train, in this order; may be empty.
        workers: number of runs at once; 0 leaves it to the launcher.
        processes: number of processes per run.
        settings: settings of this launcher.
    """

    study_status: StudyStatus
    todo: Sequence[RunConfig]
    workers: int
    processes: int
    settings: Mapping[str, str | bool]


class Launcher(Protocol):
    """Trains the remaining runs of a study.

    Attributes:
        settings: help text for ``--NAME KEY=VALUE``, where NAME is the launcher's name; empty if
            it takes no settings.
    """

    settings: str

    def run(self, launch: Launch) -> int:
        """Train or submit the runs, and print the outcome.

        Returns:
            The exit status of the command: that of `StudyStatus.conclude` if the study has ended.

        Raises:
            UsageError: if the runs cannot be launched with these settings.
        """
