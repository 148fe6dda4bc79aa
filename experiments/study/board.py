"""What the user sees of a study: a live table in a terminal, plain lines elsewhere."""

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
from experiments.runs.state import Standing, State, look
from experiments.study.grid import Study

_SECONDS_BETWEEN_LINES = 15.0
DONE, INCOMPLETE = 0, 3  # exit statuses


class Survey:
    """Where all runs of a study stand.

    Args:
        study: the study.

    Attributes:
        standings: of each run, by its folder.
        interrupted: why runs ended before their time, though they have not failed.
        unnoted: why runs failed whose folders could not take a note of it.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.standings = {run.folder: look(run) for run in study.runs}
        self.interrupted: dict[Path, str] = {}
        self.unnoted: dict[Path, str] = {}

    def refresh(self, mine: Iterable[Path] = ()) -> None:
        """Look again at everything that may have changed.

        Args:
            mine: the folders of the runs that this process has started and not seen end.
        """
        mine = set(mine)
        for run in self.study.runs:
            before = self.standings[run.folder].state
            if before in (State.DONE, State.DIVERGED):
                continue
            self.standings[run.folder] = now = self.look(run)
            if run.folder in mine:
                self.standings[run.folder] = Standing(State.RUNNING, now.epoch)

    def look(self, run: RunConfig) -> Standing:
        """Where a run stands, by its folder and by what was seen here."""
        now = look(run)
        why = self.unnoted.get(run.folder)
        lost = why and now.state in (State.WAITING, State.STOPPED)
        return Standing(State.FAILED, now.epoch, why or "") if lost else now

    def runs(self, *states: State) -> list[tuple[RunConfig, Standing]]:
        """The runs in any of these states, in the study's order."""
        pairs = ((run, self.standings[run.folder]) for run in self.study.runs)
        return [(run, standing) for run, standing in pairs if standing.state in states]

    def progress(self) -> tuple[int, int]:
        """Epochs trained, and epochs in all."""
        trained = sum(self._trained(run) for run in self.study.runs)
        return trained, sum(run.epochs for run in self.study.runs)

    def left(self) -> int:
        """Epochs that are to be trained yet: a run that is over has none, however it ended."""
        going = (run for run in self.study.runs if not self.standings[run.folder].state.over)
        return sum(run.epochs - self._trained(run) for run in going)

    def _trained(self, run: RunConfig) -> int:
        return min(self.standings[run.folder].epoch, run.epochs)

    def headline(self) -> str:
        """``demo: 18 runs, 5 done, 2 running, 11 waiting``."""
        counts = Counter(standing.state for standing in self.standings.values())
        parts = [f"{counts[state]} {state}" for state in State if counts[state]]
        return f"{self.study.name}: {len(self.study.runs):,} runs, {', '.join(parts)}"

    def conclude(self) -> int:
        """Print how the study has ended; returns the exit status that says so."""
        print(self.headline())
        for line in self.problems():
            print(line)
        return DONE if len(self.runs(State.DONE)) == len(self.study.runs) else INCOMPLETE

    def problems(self) -> list[str]:
        """Two lines for each run that went wrong: why, and its log; and how to go on."""
        lines = []
        for run, standing in self.runs(State.DIVERGED, State.FAILED, State.STOPPED):
            if why := standing.note or self.interrupted.get(run.folder):
                lines.append(f"{standing.state}: {run.run_name}: {why}")
                if (run.folder / LOG).exists():
                    lines.append(f"    log: {run.folder / LOG}")
        if self.runs(State.FAILED):
            lines.append("run --retry tries failed runs again")
        if self.interrupted:
            lines.append("the same command goes on with the others")
        return lines


class Board:
    """Shows a survey while a study runs, as a context manager.

    Args:
        survey: what is shown; whoever owns it refreshes it.
    """

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self._started, self._before = time.monotonic(), survey.progress()[0]
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
        """A line that stays."""
        if self._live:
            self._live.console.print(line, markup=False, soft_wrap=True)
        else:
            print(line, flush=True)

    def update(self) -> None:
        """Show where things stand, and how long the rest will take."""
        headline = f"{self._survey.headline()}; {self._time_left()} left"
        if self._live:
            self._live.update(Group(Text(headline), self._table()), refresh=True)
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.tell(headline)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for run, standing in self._survey.runs(State.RUNNING):
            table.add_row(
                Text(f"  {run.run_name}"),
                Text(f"epoch {min(standing.epoch + 1, run.epochs)}/{run.epochs}"),
                Text(standing.note),
            )
        return table

    def _time_left(self) -> str:
        """From the epochs since the start, as h:mm:ss; every runner's count."""
        trained = self._survey.progress()[0] - self._before
        speed = trained / (time.monotonic() - self._started)
        return clock(self._survey.left() / speed) if speed > 0 else "?"
