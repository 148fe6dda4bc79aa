"""Small studies, run to their end, killed and stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from small_runs import ROOT, environment, result_hash

STUDY = """\
method: grid
program: train.py
parameters:
  dataset: {value: digits}
  model: {value: resnet8}
  threads: {value: 1}
  wandb: {value: disabled}
"""


def write(folder: Path, *lines: str, name: str = "tiny") -> Path:
    """A study file of tiny runs with these parameters."""
    path = folder / f"{name}.yaml"
    path.write_text(STUDY + "".join(f"  {line}\n" for line in lines))
    return path


def start(
    *arguments: object, group: bool = False, before: Sequence[str] = (), **extra: str
) -> subprocess.Popen[str]:
    """The real command, in the background.

    Args:
        arguments: its own.
        group: whether it is a group of processes of its own.
        before: words before it, of a command that starts it.
        extra: variables of its environment.
    """
    return subprocess.Popen(
        [*before, sys.executable, "-m", "experiments", *map(str, arguments)],
        cwd=ROOT,
        env=environment(**extra),
        start_new_session=group,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def hashes(output: Path) -> dict[str, str]:
    """What each finished run below a folder computed, by its name."""
    folders = sorted(path.parent for path in output.glob("*/*/summary.json"))
    return {folder.name: result_hash(folder) for folder in folders}


def until(condition, seconds: float = 120):
    """Wait for something to become true, and return it."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return result


def in_the_middle(output: Path, finished: int = 1, other_than: Path | None = None) -> Path | None:
    """A run that has trained one epoch, once that many others are finished."""
    if len(list(output.glob("*/*/summary.json"))) < finished:
        return None
    for metrics in output.glob("*/*/metrics.jsonl"):
        if metrics.parent != other_than and metrics.read_bytes().count(b"\n") == 1:
            return metrics.parent
    return None


class Attack(threading.Thread):
    """Does something to a study in the middle of one of its runs.

    Attributes:
        victim: the folder of that run.
    """

    def __init__(self, output: Path, deed, finished: int = 1) -> None:
        super().__init__(daemon=True)
        self.output, self.deed, self.finished = output, deed, finished
        self.start()

    def run(self) -> None:
        self.victim = until(lambda: in_the_middle(self.output, self.finished))
        self.deed(self.victim)


def owner(folder: Path) -> int:
    """The process that trains a run."""
    return int((folder / ".lock").read_text().split()[1])


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def attempts(folder: Path) -> int:
    """How many processes have trained a run."""
    return (folder / "log.txt").read_text().count("---- ")


def summary(folder: Path) -> dict[str, object]:
    return json.loads((folder / "summary.json").read_text())
