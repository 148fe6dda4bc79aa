"""Stop on request: a signal sets a flag, and the training loop checks it."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, ClassVar, Self

# Signals from a user. A second one ends the process without a checkpoint. Other signals may come
# twice by themselves: a closing terminal sends SIGHUP itself and through its shell, and SLURM may
# warn twice.
IMPATIENT = (signal.SIGINT, signal.SIGTERM)


# Signals received before a StopRequest began, and not handled yet.
_early: list[int] = []


def note_interrupts() -> None:
    """Let Ctrl-C raise KeyboardInterrupt, and remember it.

    Libraries may swallow the exception or turn it into another one while they are imported.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        _early.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)


def interrupted() -> bool:
    """Whether Ctrl-C has come since `note_interrupts` and has not been handled."""
    return signal.SIGINT in _early


class Listener:
    """Receives signals while its context is open, and then restores the earlier handlers.

    A signal that is ignored at the start stays ignored, because the parent process wants it so:
    `nohup` ignores SIGHUP, and a shell ignores SIGINT for a background job.

    Attributes:
        SIGNALS: the signals that it receives.
        signal: number of the first signal received, or 0.
    """

    SIGNALS: ClassVar[tuple[signal.Signals, ...]] = (*IMPATIENT, signal.SIGHUP)

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Start to listen."""
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
        """Stop listening."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal. Subclasses extend this."""
        self.signal = self.signal or number


class StopRequest(Listener):
    """Listens for Ctrl-C, the end of the job or its terminal, and warnings from SLURM."""

    WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)
    SIGNALS = (*Listener.SIGNALS, *WARNINGS)

    @classmethod
    def expect(cls) -> None:
        """Remember SLURM's warnings from now on, until a StopRequest begins.

        This is for a process forked from a server that ignores signals. Until training begins,
        the other signals end the process, because there is nothing to save.
        """
        for number in cls.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for number in cls.WARNINGS:
            signal.signal(number, lambda number, frame: _early.append(number))

    def __enter__(self) -> Self:
        """Start to listen, and take over a signal that came before."""
        super().__enter__()
        if _early:
            self.signal = _early[0]
            _early.clear()
        return self

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal; let a second one from the user end the process."""
        super().receive(number, frame)
        if number in IMPATIENT:
            signal.signal(number, signal.SIG_DFL)
