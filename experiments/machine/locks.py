"""File locks on runs and data. The kernel releases them when their holder ends."""

from __future__ import annotations

import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from analyze.errors import UsageError
from analyze.runs.format import LOCK

_GLANCES, _GLANCE = 10, 0.02


class Taken(UsageError):
    """Another process already trains this run."""


def acquire(folder: Path) -> IO[str]:
    """Lock a run's folder for as long as the returned file stays open.

    Raises:
        Taken: if another process holds the lock.
        OSError: if the folder cannot be written.
    """
    lock = (folder / LOCK).open("a+", encoding="utf-8")
    for _ in range(_GLANCES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_GLANCE)  # `holder` may have the lock for a moment
        else:
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {platform.node()}\n")
            lock.flush()
            return lock
    with lock:
        raise Taken(f"{folder} is being trained by {_owner(lock)}")


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process is in a block with the same path.

    If the file cannot be written or locked, do not wait.
    """
    with ExitStack() as held:
        with suppress(OSError):  # a read-only folder, or a network file system without locks
            path.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(held.enter_context(path.open("a", encoding="utf-8")), fcntl.LOCK_EX)
        yield


def holder(folder: Path) -> str | None:
    """The process that trains this run, or None.

    Raises:
        UsageError: if the lock cannot be read.
    """
    try:
        with (folder / LOCK).open(encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _owner(lock)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UsageError(f"cannot read {folder / LOCK} ({error.strerror})") from error
    return None


def _owner(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read().strip() or "another process"
