"""Stopping on request: a signal sets a flag, the training loop looks at it."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

# Ctrl-C, the end of a job, and the warnings that SLURM sends before one.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class StopRequest:
    """Listens to SIGINT, SIGTERM, SIGUSR1 and SIGUSR2 while its context is open.

    Attributes:
        signal: the number of the first signal received, or 0.
    """

    def __init__(self) -> None:
        self.signal = 0

    def __enter__(self) -> StopRequest:
        self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number
        # Who asks twice does not want to wait for the checkpoint; SLURM may warn twice.
        if number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
