"""Progress with the time left: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

_SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Counts towards a total, as a context manager.

    Args:
        label: name of the task.
        total: number of items.
        enabled: whether to print anything; True on the main process only.

    Attributes:
        done: number of items done. On resume, set it before the context begins.
    """

    def __init__(self, label: str, total: int, enabled: bool = True) -> None:
        self.label, self.total, self.done = label, total, 0
        self.enabled = enabled
        self._started, self._done_before = time.monotonic(), 0
        self._last_line = self._started
        self._bar: Bar | None = None
        if enabled and sys.stderr.isatty():
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("left:"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(label, total=total)

    def __enter__(self) -> Progress:
        """Show the bar and start the clock."""
        self._started, self._done_before = time.monotonic(), self.done
        self._last_line = self._started
        if self._bar:
            self._bar.reset(self._task, completed=self.done)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        if self._bar:
            self._bar.stop()

    def advance(self, by: int = 1) -> None:
        """Count ``by`` more."""
        self.done += by
        if self._bar:
            self._bar.update(self._task, completed=self.done)
        elif self.enabled and time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.print(f"{self.label} {self.done:,}/{self.total:,}, {self.time_left()} left")

    def print(self, line: str) -> None:
        """Print a line that stays."""
        if self._bar:
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
        elif self.enabled:
            print(line.rstrip(), flush=True)

    def time_left(self) -> str:
        """The time left at the speed so far, as h:mm:ss."""
        counted = self.done - self._done_before
        if not counted:
            return "?"
        elapsed = time.monotonic() - self._started
        return clock((self.total - self.done) * elapsed / counted)


def clock(seconds: float) -> str:
    """``3723.4`` -> ``"1:02:03"``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
