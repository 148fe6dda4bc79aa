"""Run a study on a SLURM cluster, as an array with one job per run.

SLURM warns a job of its time limit or of preemption. The job then writes a checkpoint and requeues
itself. A job that SLURM requeues without a warning continues from its last checkpoint.
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
from typing import Any

from analyze.errors import UsageError
from analyze.runs.format import read_json, write_json
from experiments.config import RunConfig
from experiments.errors import last_line
from experiments.study import worker
from experiments.study.board import DONE
from experiments.study.launch import Launch
from experiments.study.processes import Job, share_of_threads, start_server

_MINUTES = 240
_FEWEST_MINUTES = 5  # SLURM warns 90 s before the end; a job must train something before that
_WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)
_FOR_EVER = 1_000_000  # by default, submitit gives up after three time limits


class SlurmLauncher:
    """The launcher ``slurm``: submits runs as jobs to a cluster."""

    settings = "an option of sbatch: partition=gpu, time=120 (minutes), gpus_per_node=1, ..."

    def run(self, launch: Launch) -> int:
        """See `experiments.study.launch.Launcher`. Does not wait for the jobs."""
        if not launch.todo:
            return launch.study_status.conclude()
        line = submit(
            launch.study_status.study.name,
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
        study: name of the study, which becomes the name of the jobs.
        runs: the runs that are not done. Runs in the SLURM queue are left out.
        at_once: maximum number of jobs at the same time; 0 for no limit.
        processes: number of processes per run, on one node.
        options: options of sbatch, such as ``partition``, ``time`` (minutes) or
            ``gpus_per_node``.

    Returns:
        One line that says what was submitted.

    Raises:
        UsageError: if submitit or SLURM is missing, or SLURM rejects the jobs.
    """
    queued = queue(runs)
    todo = [run for run in runs if run.folder not in queued]
    if not todo:
        return f"the {len(runs)} runs that are left are in SLURM's queue already"
    folder = _folder(todo[0])
    executor = _executor(folder, options)
    executor.update_parameters(job_name=study, array_parallelism=at_once or len(todo))
    try:
        jobs = executor.map_array(Element(processes), todo)
    except Exception as error:  # submitit raises many kinds
        raise UsageError(f"SLURM does not take the jobs: {last_line(error)}") from error
    numbers = {run.run_name: job.job_id for run, job in zip(todo, jobs, strict=True)}
    write_json(folder / f"{jobs[0].job_id}.json", numbers)
    array = str(jobs[0].job_id).partition("_")[0]
    limit = f", at most {at_once} at once" if at_once else ""
    return f"submitted {len(todo)} runs as job {array}{limit}; `scancel {array}` stops them"


def queue(runs: Sequence[RunConfig]) -> dict[Path, str]:
    """The job numbers of the runs that are running or queued on SLURM, by run folder."""
    submitted: dict[Path, str] = {}
    for folder in {_folder(run) for run in runs}:
        for file in folder.glob("*.json"):
            numbers = read_json(file) or {}  # if damaged, locks still keep a run from two jobs
            submitted |= {folder.parent / name: job for name, job in numbers.items()}
    if not submitted:
        return {}
    alive = _ask("squeue", "--noheader", "--array", "--me", "--format=%i").split()
    return {run: job for run, job in submitted.items() if job in alive}


def _folder(run: RunConfig) -> Path:
    """The folder in which submitit keeps the jobs of a study and their output."""
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
    # The jobs must be able to import the same modules, custom losses included.
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
    """A job of the array, as a function of its run.

    Attributes:
        processes: number of processes of the run.
    """

    processes: int

    def __call__(self, run: RunConfig) -> int:
        """Train the run. If SLURM has warned that the job will end, requeue it.

        Returns:
            The exit status of the run.
        """
        status = worker.execute(run) if self.processes == 1 else _together(run, self.processes)
        # A negative status: the warning killed the run before it could listen.
        if status - 128 in _WARNINGS or -status in _WARNINGS:
            _ask("scontrol", "requeue", os.environ["SLURM_JOB_ID"])
        return status

    def checkpoint(self, run: RunConfig) -> Any:  # noqa: ANN401 (submitit imports late)
        """What submitit requeues if the warning comes before training begins."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, run)


def _together(run: RunConfig, processes: int) -> int:
    """Train a run in several processes on this node, and forward SLURM's signals to them."""
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
    """The output of a SLURM command."""
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
