"""Keep a run alive when its output cannot be written."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Unbreakable(io.FileIO):
    """A file that drops what it cannot write: closed pipe, lost terminal, full disk."""

    def write(self, text: ReadableBuffer, /) -> int:
        """Write the text; claim success if that fails."""
        size = memoryview(text).nbytes
        try:
            written = super().write(text)
        except OSError:
            return size
        return size if written is None else written  # None: a non-blocking pipe that is full


def outlive_readers() -> None:
    """Let this process continue when nobody reads its output, as after ``| head -1``."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:  # closed from the start
            # Else the next file or pipe that is opened gets its number, and what is printed.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)  # so that the processes we start have it, too
            setattr(sys, name, io.TextIOWrapper(_unbreakable(number)))
        elif type(stream) is io.TextIOWrapper:  # leave the streams of notebooks and tests alone
            stream.flush()
            pipe = _unbreakable(stream.fileno())
            text = io.TextIOWrapper(pipe, stream.encoding, stream.errors, line_buffering=True)
            setattr(sys, name, text)


def _unbreakable(number: int) -> io.BufferedWriter:
    return io.BufferedWriter(_Unbreakable(number, "w", closefd=False))
