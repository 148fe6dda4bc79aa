"""Stopping on request: a signal sets a flag, a loop looks at it."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import ClassVar, Self


class Listener:
    """Receives signals while its context is open, and gives them back to who had them before.

    Attributes:
        SIGNALS: the numbers of those that it receives.
        signal: the number of the first signal received, or 0.
    """

    SIGNALS: ClassVar[tuple[signal.Signals, ...]] = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signal = 0

    def __enter__(self) -> Self:
        """Listen."""
        self._before = {number: signal.signal(number, self.receive) for number in self.SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Listen no more."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Remembers the first; to be extended."""
        self.signal = self.signal or number


class StopRequest(Listener):
    """Listens to Ctrl-C, the end of a job, and the warnings that SLURM sends before one."""

    SIGNALS = (*Listener.SIGNALS, signal.SIGUSR1, signal.SIGUSR2)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Who asks twice does not want to wait for the checkpoint; SLURM may warn twice."""
        super().receive(number, frame)
        if number in Listener.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
