"""The launchers, which train the runs of a study: a file each, and an entry in the table here."""

from __future__ import annotations

from experiments.study.launch import Launcher
from experiments.study.local import LocalLauncher
from experiments.study.slurm import SlurmLauncher

LAUNCHERS: dict[str, Launcher] = {"local": LocalLauncher(), "slurm": SlurmLauncher()}
