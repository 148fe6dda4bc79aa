"""What can train the runs of a study: each launcher is a file, and an entry of the table here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from experiments.config import RunConfig
from experiments.study.board import Survey
from experiments.study.local import LocalLauncher
from experiments.study.slurm import SlurmLauncher


@dataclass(frozen=True)
class Launch:
    """What a launcher is to do.

    Attributes:
        survey: of the study.
        todo: the runs that are left, in the order to train them in; there may be none.
        workers: how many at once; 0 leaves it to the launcher.
        processes: how many train one run together.
        settings: the launcher's own.
    """

    survey: Survey
    todo: Sequence[RunConfig]
    workers: int
    processes: int
    settings: Mapping[str, str | bool]


class Launcher(Protocol):
    """Trains what is left of a study.

    Attributes:
        settings: what ``--NAME KEY=VALUE`` tells a launcher of that name, for the help; empty
            for one that takes no settings.
    """

    settings: str

    def run(self, launch: Launch) -> int:
        """Train the runs, or have them trained, and print what became of them.

        Returns:
            The exit status of the command; `Survey.conclude` where the study has ended.

        Raises:
            UsageError: where the runs cannot be launched like this.
        """


LAUNCHERS: dict[str, Launcher] = {"local": LocalLauncher(), "slurm": SlurmLauncher()}
