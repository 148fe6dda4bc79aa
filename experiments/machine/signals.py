"""Stopping on request: a signal sets a flag, a loop looks at it."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, ClassVar, Self

# By one of these a user asks; who asks twice does not want to wait for a checkpoint. A terminal
# that closes may say so twice, through its shell too, and SLURM may warn twice.
IMPATIENT = (signal.SIGINT, signal.SIGTERM)


# What came before a StopRequest began, and is still to be heeded.
_early: list[int] = []


def note_interrupts() -> None:
    """Let Ctrl-C raise KeyboardInterrupt, and remember it where that is swallowed.

    Libraries make other errors of it, or none, while they are imported.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        _early.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)


def interrupted() -> bool:
    """Whether Ctrl-C has come since `note_interrupts`, and nothing has heeded it yet."""
    return signal.SIGINT in _early


class Listener:
    """Receives signals while its context is open, and gives them back to who had them before.

    A signal that is ignored when it begins stays so: whoever started this process wants it, as
    `nohup` does for SIGHUP, and a shell for the SIGINT of a job in the background.

    Attributes:
        SIGNALS: the numbers of those that it receives.
        signal: the number of the first signal received, or 0.
    """

    SIGNALS: ClassVar[tuple[signal.Signals, ...]] = (*IMPATIENT, signal.SIGHUP)

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Listen."""
        before = {number: signal.getsignal(number) for number in self.SIGNALS}
        self._before = {n: h for n, h in before.items() if h is not signal.SIG_IGN}
        for number in self._before:
            signal.signal(number, self.receive)
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
    """Listens to Ctrl-C, the end of a job or of its terminal, and SLURM's warnings before one."""

    WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)
    SIGNALS = (*Listener.SIGNALS, *WARNINGS)

    @classmethod
    def expect(cls) -> None:
        """Remember SLURM's warnings from now on, for the request that is still to begin.

        For a process that inherits that its signals are ignored from a server of ours. The other
        signals end it meanwhile: there is nothing to save yet.
        """
        for number in cls.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for number in cls.WARNINGS:
            signal.signal(number, lambda number, frame: _early.append(number))

    def __enter__(self) -> Self:
        """Listen, also to what came before."""
        super().__enter__()
        if _early:
            self.signal = _early[0]
            _early.clear()
        return self

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Remembers the first."""
        super().receive(number, frame)
        if number in IMPATIENT:
            signal.signal(number, signal.SIG_DFL)
