"""What is printed is never worth a run."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Unbreakable(io.FileIO):
    """What cannot be written is dropped: a closed pipe, a terminal that is gone, a full disk."""

    def write(self, text: ReadableBuffer, /) -> int:
        """All of it, or as good as."""
        size = memoryview(text).nbytes
        try:
            written = super().write(text)
        except OSError:
            return size
        return size if written is None else written  # None: a full pipe that does not wait


def outlive_readers() -> None:
    """Let this process go on where nobody reads what it prints, as after ``| head -1``."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed from the start
            setattr(sys, name, io.TextIOWrapper(_unbreakable(os.open(os.devnull, os.O_WRONLY))))
        elif type(stream) is io.TextIOWrapper:  # no notebook's, and no test's
            stream.flush()
            pipe = _unbreakable(stream.fileno())
            text = io.TextIOWrapper(pipe, stream.encoding, stream.errors, line_buffering=True)
            setattr(sys, name, text)


def _unbreakable(number: int) -> io.BufferedWriter:
    return io.BufferedWriter(_Unbreakable(number, "w", closefd=False))
