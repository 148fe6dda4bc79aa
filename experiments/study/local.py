"""Run a study on this machine: several runs at once, each in its own processes."""

from __future__ import annotations

import contextlib
import signal
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import wait
from types import FrameType

from analyze.errors import UsageError
from analyze.runs.format import LOG
from experiments.config import RunConfig
from experiments.machine.signals import IMPATIENT, Listener
from experiments.runs import state
from experiments.runs.state import State
from experiments.study import worker
from experiments.study.board import Board, StudyStatus
from experiments.study.launch import Launch
from experiments.study.processes import Job, share_of_threads, start_server

_TICK = 1.0  # seconds between two reads of the run folders
_SIGNALS = {number.value: number.name for number in signal.Signals}
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)


@dataclass(frozen=True)
class Machine:
    """How a study uses this machine.

    Attributes:
        workers: number of runs at once.
        processes: number of processes per run.
        gpus: number of GPUs.
    """

    workers: int
    processes: int
    gpus: int

    @classmethod
    def of(cls, workers: int, processes: int, gpus: int) -> Machine:
        """As requested; with ``workers`` 0, one run per group of GPUs, or one run on a CPU.

        Raises:
            UsageError: if a run has more processes than there are GPUs.
        """
        if gpus and processes > gpus:
            raise UsageError(
                f"--processes-per-run must be at most {gpus}, the GPUs, got {processes}"
            )
        return cls(workers or max(1, gpus // processes), processes, gpus)

    def gpus_of(self, slot: int) -> list[int]:
        """The GPUs of a worker. If there are more workers than GPUs, they share."""
        first = slot * self.processes
        return [(first + i) % self.gpus for i in range(self.processes)] if self.gpus else []


def prepare(
    todo: Sequence[RunConfig], study_status: StudyStatus, workers: int, processes: int
) -> Machine:
    """Start the server from which runs are forked, and check the losses there, with torch.

    Raises:
        UsageError: naming the line of every loss that cannot be created.
    """
    gpus, problems = start_server(todo)
    if problems:
        study = study_status.study
        lines = dict.fromkeys(f"{study.locate(run, why.option)}: {why}" for run, why in problems)
        raise UsageError("\n".join(lines))
    return Machine.of(workers, processes, gpus)


class LocalLauncher:
    """The launcher ``local``: trains runs in processes on this machine."""

    settings = ""

    def run(self, launch: Launch) -> int:
        """See `experiments.study.launch.Launcher`. Also waits for runs trained elsewhere."""
        study_status, todo = launch.study_status, launch.todo
        if todo or study_status.runs(State.RUNNING):
            study = study_status.study
            print(
                f"{study_status.headline()}, in {', '.join(map(str, study.folders))}", flush=True
            )
            machine = prepare(todo, study_status, launch.workers, launch.processes)
            with Board(study_status) as board:
                stopped_by = _Runner(todo, study_status, machine, board).run()
            if stopped_by:
                print(f"{study_status.headline()}; the same command continues from here")
                return 128 + stopped_by
        return study_status.conclude()


class _Runner:
    """Trains runs on this machine, possibly beside other runners of the same study.

    The holder of a run's lock trains it. The other runners leave it alone, and take it over if the
    holder ends without finishing it.

    Args:
        todo: the runs to train, in this order.
        study_status: status of the study.
        machine: how to use this machine.
        board: display for the user.
    """

    def __init__(
        self, todo: Sequence[RunConfig], study_status: StudyStatus, machine: Machine, board: Board
    ) -> None:
        self._queue = deque(todo)
        self._study_status, self._machine, self._board = study_status, machine, board
        self._again = {run.folder for run, _ in study_status.runs(State.FAILED)} & {
            run.folder for run in todo
        }
        self._elsewhere: list[RunConfig] = [run for run, _ in study_status.runs(State.RUNNING)]
        self._jobs: dict[int, Job] = {}  # by worker

    def run(self) -> int:
        """Train until nothing is left; return the signal that ended it early, or 0."""
        with Interruption(self._board) as interruption:
            try:
                while self._jobs or not interruption.signal:
                    if not interruption.signal:
                        self._start()
                    if not (self._jobs or self._queue or self._elsewhere):
                        break
                    self._look()
                    interruption.pass_on(self._jobs.values())
                    ends = [end for job in self._jobs.values() for end in job.sentinels()]
                    wait([*ends, interruption.news], _TICK)
                    self._reap()
            finally:
                for job in self._jobs.values():  # empty, unless this process has raised
                    job.signal(signal.SIGTERM)
        self._study_status.refresh()
        return interruption.signal

    def _start(self) -> None:
        """Give every idle worker a run that nobody else trains."""
        for slot in range(self._machine.workers):
            while slot not in self._jobs and self._queue:
                run = self._queue.popleft()
                run_status = state.look(run)
                if run_status.state == State.RUNNING:
                    self._elsewhere.append(run)
                elif not run_status.state.over or run.folder in self._again:
                    self._again.discard(run.folder)
                    machine = self._machine
                    share = share_of_threads(run, machine.workers, machine.processes)
                    self._jobs[slot] = Job(share, machine.gpus_of(slot), machine.processes)

    def _look(self) -> None:
        self._study_status.refresh(job.config.folder for job in self._jobs.values())
        for run in list(self._elsewhere):
            run_status = self._study_status.statuses[run.folder]
            if run_status.state == State.RUNNING:
                continue
            self._elsewhere.remove(run)
            if run_status.state.over:
                self._tell(run, "elsewhere")
            else:
                self._queue.append(run)
        self._board.update()

    def _reap(self) -> None:
        for slot, job in list(self._jobs.items()):
            if (status := job.status()) is None:
                continue
            del self._jobs[slot]
            run = job.config
            if status == worker.TAKEN:
                self._elsewhere.append(run)
                continue
            if why := job.complaint() or _fault(status):
                self._note(run, why)
            self._study_status.statuses[run.folder] = run_status = self._study_status.look(run)
            if run_status.state.over:
                self._tell(run)
            elif run_status.state == State.RUNNING:  # some of its processes live on
                self._elsewhere.append(run)
            else:
                self._study_status.interrupted[run.folder] = why = _ending(status)
                self._board.tell(f"stopped: {run.run_name}: {why}")

    def _note(self, run: RunConfig, why: str) -> None:
        """Record a failure, unless the run's process has left another result."""
        if state.look(run).state not in (State.WAITING, State.STOPPED):
            return
        self._study_status.unnoted[run.folder] = why
        with contextlib.suppress(OSError):  # then only this process knows the reason
            state.fail(run, why)

    def _tell(self, run: RunConfig, where: str = "") -> None:
        run_status = self._study_status.statuses[run.folder]
        place = f" {where}" if where else ""
        line = f"{run_status.state}{place}: {run.run_name}: {run_status.note}"
        if run_status.state != State.DONE and (run.folder / LOG).exists():
            line += f"; log: {run.folder / LOG}"
        self._board.tell(line)


class Interruption(Listener):
    """Handles Ctrl-C and SIGTERM: the first stops runs with a checkpoint, the second kills them.

    Attributes:
        news: a connection that becomes ready with each signal.
    """

    def __init__(self, board: Board) -> None:
        super().__init__()
        self._kind, self._board = signal.SIGTERM, board
        self.news, self._notify = Pipe(duplex=False)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Note the signal, and wake the loop that waits for news."""
        first = not self.signal
        super().receive(number, frame)
        if first or number in IMPATIENT:
            self._notify.send(number)

    def pass_on(self, jobs: Collection[Job]) -> None:
        """Send the runs one signal for each request of the user."""
        while self.news.poll():
            self.news.recv()
            if jobs and self._kind == signal.SIGTERM:
                self._board.tell("stopping, with a checkpoint of each run; again kills them")
            for job in jobs:
                job.signal(self._kind)
            self._kind = signal.SIGKILL


def _fault(status: int) -> str:
    """Why a run with this exit status has failed; empty if it was stopped or killed."""
    if -status in _CRASHES:
        return f"crashed with {signal.Signals(-status).name}"
    if status < 0 or status - 128 in _SIGNALS:
        return ""
    return f"its process ended with exit status {status}, and without a result"


def _ending(status: int) -> str:
    """How a run that left no result has ended, from its exit status."""
    number, verb = (-status, "killed") if status < 0 else (status - 128, "stopped")
    return f"{verb} by {_SIGNALS.get(number, f'signal {number}')}"
