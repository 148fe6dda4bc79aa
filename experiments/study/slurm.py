"""Runs a study on a SLURM cluster: an array of jobs, one for each run.

A job that SLURM warns of its time limit or of preemption writes a checkpoint and queues itself
again; one that SLURM queues again by itself goes on from its last checkpoint.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from analyze.errors import UsageError
from analyze.runs.format import read_json, write_json
from experiments.config import RunConfig
from experiments.errors import last_line
from experiments.study import worker
from experiments.study.board import DONE
from experiments.study.processes import Job, share_of_threads, start_server

if TYPE_CHECKING:
    from experiments.study.launchers import Launch

_MINUTES = 240
_FEWEST_MINUTES = 5  # SLURM warns 90 s before the end: something has to be trained before that
_WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)
_FOR_EVER = 1_000_000  # submitit's default gives a job up after three time limits


class SlurmLauncher:
    """The entry ``slurm``: runs as jobs of a cluster."""

    settings = "an option of sbatch: partition=gpu, time=120 (minutes), gpus_per_node=1, ..."

    def run(self, launch: Launch) -> int:
        """See `experiments.study.launchers.Launcher`; waits for nothing."""
        if not launch.todo:
            return launch.survey.conclude()
        line = submit(
            launch.survey.study.name,
            launch.todo,
            at_once=launch.workers,
            processes=launch.processes,
            options=launch.settings,
        )
        print(line)
        return DONE


def submit(
    study: str,
    runs: Sequence[RunConfig],
    *,
    at_once: int,
    processes: int,
    options: Mapping[str, str | bool],
) -> str:
    """Submit runs as an array of jobs.

    Args:
        study: its name, which the jobs get too.
        runs: those that are not done; what is in SLURM's queue already is left out.
        at_once: the most jobs that run at the same time; 0 for no limit.
        processes: how many train a run together, on one node.
        options: sbatch's, such as ``partition``, ``time`` (in minutes) or ``gpus_per_node``.

    Returns:
        One line that says what was submitted.

    Raises:
        UsageError: where submitit or SLURM is missing, or SLURM does not take the jobs.
    """
    known = queue(runs)
    todo = [run for run in runs if run.folder not in known]
    if not todo:
        return f"the {len(runs)} runs that are left are in SLURM's queue already"
    folder = _folder(todo[0])
    executor = _executor(folder, options)
    executor.update_parameters(job_name=study, array_parallelism=at_once or len(todo))
    try:
        jobs = executor.map_array(Element(processes), todo)
    except Exception as error:  # submitit's own kinds of failure are many
        raise UsageError(f"SLURM does not take the jobs: {last_line(error)}") from error
    numbers = {run.run_name: job.job_id for run, job in zip(todo, jobs, strict=True)}
    write_json(folder / f"{jobs[0].job_id}.json", numbers)
    array = str(jobs[0].job_id).partition("_")[0]
    limit = f", at most {at_once} at once" if at_once else ""
    return f"submitted {len(todo)} runs as job {array}{limit}; `scancel {array}` stops them"


def queue(runs: Sequence[RunConfig]) -> dict[Path, str]:
    """The runs that SLURM is running or will run: the numbers of their jobs, by their folders."""
    submitted: dict[Path, str] = {}
    for folder in {_folder(run) for run in runs}:
        for file in folder.glob("*.json"):
            numbers = read_json(file) or {}  # locks keep a run from two jobs, too
            submitted |= {folder.parent / name: job for name, job in numbers.items()}
    if not submitted:
        return {}
    alive = _ask("squeue", "--noheader", "--array", "--me", "--format=%i").split()
    return {run: job for run, job in submitted.items() if job in alive}


def _folder(run: RunConfig) -> Path:
    """Where submitit keeps a study's jobs and their own output."""
    return run.folder.parent / ".slurm"


def _executor(folder: Path, options: Mapping[str, str | bool]) -> Any:  # noqa: ANN401 (late import)
    try:
        import submitit
    except ImportError as error:
        raise UsageError("--launcher slurm needs submitit: pip install submitit") from error
    if not shutil.which("sbatch"):
        raise UsageError(
            "--launcher slurm needs SLURM's commands: there is no sbatch on this machine"
        )
    minutes = str(options.get("time", _MINUTES))
    if not minutes.isdigit() or int(minutes) < _FEWEST_MINUTES:
        raise UsageError(
            f"--slurm time must be a number of minutes, at least {_FEWEST_MINUTES}, got "
            f"{minutes!r}: the jobs queue themselves again until their runs are done"
        )
    # The jobs import what is imported here, a user's own losses too.
    paths = [str(Path(__file__).parents[2]), str(Path.cwd()), os.environ.get("PYTHONPATH", "")]
    executor = submitit.SlurmExecutor(folder, max_num_timeout=_FOR_EVER)
    executor.update_parameters(
        time=int(minutes),
        setup=[f"export PYTHONPATH={shlex.quote(os.pathsep.join(filter(None, paths)))}"],
        additional_parameters={"requeue": True}
        | {k: v for k, v in options.items() if k != "time"},
    )
    return executor


@dataclass(frozen=True)
class Element:
    """What a job of the array does, as a function of its run.

    Attributes:
        processes: how many train the run together.
    """

    processes: int

    def __call__(self, run: RunConfig) -> int:
        """Train the run; where SLURM has warned of the job's end, queue it again.

        Returns:
            The exit status of the run.
        """
        status = worker.execute(run) if self.processes == 1 else _together(run, self.processes)
        # Killed by a warning: it came before the run listened.
        if status - 128 in _WARNINGS or -status in _WARNINGS:
            _ask("scontrol", "requeue", os.environ["SLURM_JOB_ID"])
        return status

    def checkpoint(self, run: RunConfig) -> Any:  # noqa: ANN401 (submitit imports late)
        """What submitit queues again, where the warning comes before training begins."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, run)


def _together(run: RunConfig, processes: int) -> int:
    """Train a run by several processes of this node, and pass SLURM's signals on to them."""
    gpus, _ = start_server([run])
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)

    for number in (signal.SIGTERM, *_WARNINGS):
        signal.signal(number, receive)
    job = Job(share_of_threads(run, 1, processes), range(min(gpus, processes)), processes)
    while (status := job.status()) is None:
        while received:
            job.signal(received.pop(0))
        wait(job.sentinels(), timeout=1)
    if complaint := job.complaint():
        print(complaint, flush=True)
    return status


def _ask(*command: str) -> str:
    """What one of SLURM's commands answers."""
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
            timeout=60,
        )
    except subprocess.CalledProcessError as error:
        raise UsageError(f"{command[0]} failed: {error.stderr.strip()}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{command[0]} failed: {error}") from error
    return answer.stdout
