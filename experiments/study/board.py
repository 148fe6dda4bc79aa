"""Show a study to the user: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from analyze.runs.format import LOG
from experiments.config import RunConfig
from experiments.machine.progress import clock
from experiments.runs.state import RunStatus, State, look
from experiments.study.grid import Study

_SECONDS_BETWEEN_LINES = 15.0
DONE, INCOMPLETE = 0, 3  # exit statuses


class StudyStatus:
    """The status of all runs of a study.

    Args:
        study: the study.

    Attributes:
        statuses: status of each run, by its folder.
        interrupted: why runs stopped early without failing, by folder.
        unnoted: why runs failed whose folders cannot record the reason, by folder.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.statuses = {run.folder: look(run) for run in study.runs}
        self.interrupted: dict[Path, str] = {}
        self.unnoted: dict[Path, str] = {}

    def refresh(self, mine: Iterable[Path] = ()) -> None:
        """Read the status of every run that may have changed.

        Args:
            mine: folders of the runs that this process has started and not seen end.
        """
        mine = set(mine)
        for run in self.study.runs:
            before = self.statuses[run.folder].state
            if before in (State.DONE, State.DIVERGED):
                continue
            self.statuses[run.folder] = now = self.look(run)
            if run.folder in mine:
                self.statuses[run.folder] = RunStatus(State.RUNNING, now.epoch)

    def look(self, run: RunConfig) -> RunStatus:
        """The status of a run, from its folder and from what this process knows."""
        now = look(run)
        why = self.unnoted.get(run.folder)
        unrecorded = why and now.state in (State.WAITING, State.STOPPED)
        return RunStatus(State.FAILED, now.epoch, why or "") if unrecorded else now

    def runs(self, *states: State) -> list[tuple[RunConfig, RunStatus]]:
        """The runs in any of these states, in the order of the study."""
        pairs = ((run, self.statuses[run.folder]) for run in self.study.runs)
        return [(run, run_status) for run, run_status in pairs if run_status.state in states]

    def progress(self) -> tuple[int, int]:
        """Epochs trained so far, and epochs in total."""
        trained = sum(self._trained(run) for run in self.study.runs)
        return trained, sum(run.epochs for run in self.study.runs)

    def left(self) -> int:
        """Epochs that remain to be trained. A run that has ended has none, however it ended."""
        unfinished = (run for run in self.study.runs if not self.statuses[run.folder].state.over)
        return sum(run.epochs - self._trained(run) for run in unfinished)

    def _trained(self, run: RunConfig) -> int:
        return min(self.statuses[run.folder].epoch, run.epochs)

    def headline(self) -> str:
        """``demo: 18 runs, 5 done, 2 running, 11 waiting``."""
        counts = Counter(run_status.state for run_status in self.statuses.values())
        parts = [f"{counts[state]} {state}" for state in State if counts[state]]
        return f"{self.study.name}: {len(self.study.runs):,} runs, {', '.join(parts)}"

    def conclude(self) -> int:
        """Print how the study has ended, and return the exit status."""
        print(self.headline())
        for line in self.problems():
            print(line)
        return DONE if len(self.runs(State.DONE)) == len(self.study.runs) else INCOMPLETE

    def problems(self) -> list[str]:
        """For each run that went wrong, the reason and its log; then how to continue."""
        lines = []
        for run, run_status in self.runs(State.DIVERGED, State.FAILED, State.STOPPED):
            if why := run_status.note or self.interrupted.get(run.folder):
                lines.append(f"{run_status.state}: {run.run_name}: {why}")
                if (run.folder / LOG).exists():
                    lines.append(f"    log: {run.folder / LOG}")
        if self.runs(State.FAILED):
            lines.append("run --retry tries failed runs again")
        if self.interrupted:
            lines.append("the same command continues the others")
        return lines


class Board:
    """Shows the status of a study while it runs, as a context manager.

    Args:
        study_status: the status to show. The caller refreshes it.
    """

    def __init__(self, study_status: StudyStatus) -> None:
        self._study_status = study_status
        self._started, self._before = time.monotonic(), study_status.progress()[0]
        self._last_line = self._started
        self._live: Live | None = None
        if sys.stdout.isatty():
            self._live = Live(console=Console(highlight=False), transient=True, auto_refresh=False)

    def __enter__(self) -> Board:
        """Show the table."""
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the table."""
        if self._live:
            self._live.stop()

    def tell(self, line: str) -> None:
        """Print a line that stays."""
        if self._live:
            self._live.console.print(line, markup=False, soft_wrap=True)
        else:
            print(line, flush=True)

    def update(self) -> None:
        """Show the current status and the time left."""
        headline = f"{self._study_status.headline()}; {self._time_left()} left"
        if self._live:
            self._live.update(Group(Text(headline), self._table()), refresh=True)
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.tell(headline)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for run, run_status in self._study_status.runs(State.RUNNING):
            table.add_row(
                Text(f"  {run.run_name}"),
                Text(f"epoch {min(run_status.epoch + 1, run.epochs)}/{run.epochs}"),
                Text(run_status.note),
            )
        return table

    def _time_left(self) -> str:
        """The time left as h:mm:ss, from the epochs that all launchers have trained meanwhile."""
        trained = self._study_status.progress()[0] - self._before
        speed = trained / (time.monotonic() - self._started)
        return clock(self._study_status.left() / speed) if speed > 0 else "?"
