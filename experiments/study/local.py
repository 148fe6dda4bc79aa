"""Runs a study on this machine: a number of runs at once, each in processes of its own."""

from __future__ import annotations

import contextlib
import signal
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import wait
from types import FrameType
from typing import TYPE_CHECKING

from analyze.errors import UsageError
from analyze.runs.format import LOG
from experiments.config import RunConfig
from experiments.machine.signals import IMPATIENT, Listener
from experiments.runs import state
from experiments.runs.state import State
from experiments.study import worker
from experiments.study.board import Board, Survey
from experiments.study.processes import Job, share_of_threads, start_server

if TYPE_CHECKING:
    from experiments.study.launchers import Launch

_TICK = 1.0  # seconds between two looks at the runs' folders
_SIGNALS = {known.value: known.name for known in signal.Signals}
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)


@dataclass(frozen=True)
class Machine:
    """How a study uses this machine.

    Attributes:
        workers: runs at once.
        processes: how many train a run together.
        gpus: how many GPUs there are.
    """

    workers: int
    processes: int
    gpus: int

    @classmethod
    def of(cls, workers: int, processes: int, gpus: int) -> Machine:
        """As asked for; with ``workers`` 0 one run per GPU, or one on a CPU.

        Raises:
            UsageError: where a run has more processes than there are GPUs.
        """
        if gpus and processes > gpus:
            raise UsageError(
                f"--processes-per-run must be at most {gpus}, the GPUs, got {processes}"
            )
        return cls(workers or max(1, gpus // processes), processes, gpus)

    def gpus_of(self, slot: int) -> list[int]:
        """The GPUs of the worker of that number; with more workers than GPUs they share."""
        first = slot * self.processes
        return [(first + i) % self.gpus for i in range(self.processes)] if self.gpus else []


def prepare(todo: Sequence[RunConfig], survey: Survey, workers: int, processes: int) -> Machine:
    """Start the server that runs are forked from, and check there what needs torch.

    Raises:
        UsageError: naming the line of every loss that cannot be made.
    """
    gpus, problems = start_server(todo)
    if problems:
        study = survey.study
        lines = dict.fromkeys(f"{study.locate(run, why.option)}: {why}" for run, why in problems)
        raise UsageError("\n".join(lines))
    return Machine.of(workers, processes, gpus)


class LocalLauncher:
    """The entry ``local``: runs in processes of this machine."""

    settings = ""

    def run(self, launch: Launch) -> int:
        """See `experiments.study.launchers.Launcher`; waits for runs that others train, too."""
        survey, todo = launch.survey, launch.todo
        if todo or survey.runs(State.RUNNING):
            study = survey.study
            print(f"{survey.headline()}, in {', '.join(map(str, study.folders))}", flush=True)
            machine = prepare(todo, survey, launch.workers, launch.processes)
            with Board(survey) as board:
                stopped_by = _Runner(todo, survey, machine, board).run()
            if stopped_by:
                print(f"{survey.headline()}; the same command goes on from here")
                return 128 + stopped_by
        return survey.conclude()


class _Runner:
    """Trains runs here, beside other runners of the same study.

    Who holds a run's lock trains it; the others leave it alone, and take it over if its holder
    ends without finishing it.

    Args:
        todo: the runs to train, in this order.
        survey: of the study.
        machine: how many at once, and on what.
        board: what the user sees.
    """

    def __init__(
        self, todo: Sequence[RunConfig], survey: Survey, machine: Machine, board: Board
    ) -> None:
        self._queue = deque(todo)
        self._survey, self._machine, self._board = survey, machine, board
        self._again = {run.folder for run, _ in survey.runs(State.FAILED)} & {
            run.folder for run in todo
        }
        self._elsewhere: list[RunConfig] = [run for run, _ in survey.runs(State.RUNNING)]
        self._jobs: dict[int, Job] = {}  # by the number of the worker

    def run(self) -> int:
        """Train until nothing is left; returns the signal that ended it early, or 0."""
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
                for job in self._jobs.values():  # none, unless this process itself is at fault
                    job.signal(signal.SIGTERM)
        self._survey.refresh()
        return interruption.signal

    def _start(self) -> None:
        """Give every idle worker a run that nobody else has."""
        for slot in range(self._machine.workers):
            while slot not in self._jobs and self._queue:
                run = self._queue.popleft()
                standing = state.look(run)
                if standing.state == State.RUNNING:
                    self._elsewhere.append(run)
                elif not standing.state.over or run.folder in self._again:
                    self._again.discard(run.folder)
                    machine = self._machine
                    share = share_of_threads(run, machine.workers, machine.processes)
                    self._jobs[slot] = Job(share, machine.gpus_of(slot), machine.processes)

    def _look(self) -> None:
        self._survey.refresh(job.config.folder for job in self._jobs.values())
        for run in list(self._elsewhere):
            standing = self._survey.standings[run.folder]
            if standing.state == State.RUNNING:
                continue
            self._elsewhere.remove(run)
            if standing.state.over:
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
            self._survey.standings[run.folder] = standing = self._survey.look(run)
            if standing.state.over:
                self._tell(run)
            elif standing.state == State.RUNNING:  # it has survived whoever waited for it
                self._elsewhere.append(run)
            else:
                self._survey.interrupted[run.folder] = why = _ending(status)
                self._board.tell(f"stopped: {run.run_name}: {why}")

    def _note(self, run: RunConfig, why: str) -> None:
        """A run has failed, if its process has not left another result."""
        if state.look(run).state not in (State.WAITING, State.STOPPED):
            return
        self._survey.unnoted[run.folder] = why
        with contextlib.suppress(OSError):  # then only this process knows
            state.fail(run, why)

    def _tell(self, run: RunConfig, where: str = "") -> None:
        standing = self._survey.standings[run.folder]
        place = f" {where}" if where else ""
        line = f"{standing.state}{place}: {run.run_name}: {standing.note}"
        if standing.state != State.DONE and (run.folder / LOG).exists():
            line += f"; log: {run.folder / LOG}"
        self._board.tell(line)


class Interruption(Listener):
    """Ctrl-C or SIGTERM: runs write a checkpoint and end; a second one kills them.

    Attributes:
        news: becomes ready with each of them.
    """

    def __init__(self, board: Board) -> None:
        super().__init__()
        self._kind, self._board = signal.SIGTERM, board
        self.news, self._notify = Pipe(duplex=False)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Wake whoever waits for news."""
        first = not self.signal
        super().receive(number, frame)
        if first or number in IMPATIENT:
            self._notify.send(number)

    def pass_on(self, jobs: Collection[Job]) -> None:
        """Tell the runs, once for each time that the user asked."""
        while self.news.poll():
            self.news.recv()
            if jobs and self._kind == signal.SIGTERM:
                self._board.tell("stopping, with a checkpoint of each run; again kills them")
            for job in jobs:
                job.signal(self._kind)
            self._kind = signal.SIGKILL


def _fault(status: int) -> str:
    """Why a run has failed that ended with this status; nothing if it was stopped or killed."""
    if -status in _CRASHES:
        return f"crashed with {signal.Signals(-status).name}"
    if status < 0 or status - 128 in _SIGNALS:
        return ""
    return f"its process ended with exit status {status}, and without a result"


def _ending(status: int) -> str:
    """What an exit status says about a run that left no result."""
    number, verb = (-status, "killed") if status < 0 else (status - 128, "stopped")
    return f"{verb} by {_SIGNALS.get(number, f'signal {number}')}"
