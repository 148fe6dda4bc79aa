"""Parallel work on many runs: threads for slow reading, processes for computing."""

import multiprocessing
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from analyze import cores
from analyze.errors import UsageError
from analyze.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_threads(
    function: Callable[[Item], Result], items: Sequence[Item], what: str, *, at_once: int
) -> Iterator[Result]:
    """Maps a function over items with `at_once` threads, in order, with a progress display.

    The threads are daemons, unlike those of an executor. After an error or an interrupt the
    process can therefore end without waiting for a server that does not answer.

    Example:
        >>> list(map_threads(abs, [-1, 2], "taking", at_once=2))
        [1, 2]
    """
    todo: SimpleQueue[tuple[Item, Future[Result]]] = SimpleQueue()
    results: list[Future[Result]] = [Future() for _ in items]
    for item, result in zip(items, results, strict=True):
        todo.put((item, result))

    def work() -> None:
        with suppress(Empty):
            while True:
                item, result = todo.get_nowait()
                try:
                    result.set_result(function(item))
                except BaseException as error:
                    result.set_exception(error)

    for _ in range(min(at_once, len(items))):
        Thread(target=work, daemon=True).start()
    try:
        for result in track(results, what):
            yield result.result()
    finally:
        with suppress(Empty):  # after an error, drop the remaining items
            while True:
                todo.get_nowait()


def map_processes(
    function: Callable[[Item], Result], items: Sequence[Item], what: str, *, at_most: int
) -> Iterator[Result]:
    """As `map_threads`, for computation: one process per core, at most `at_most`.

    With a single process, the work runs in this one.

    Raises:
        UsageError: A process was killed.
    """
    workers = min(at_most, len(items), cores.available())
    if workers < 2:
        yield from map(function, track(items, what))
        return
    # Fork where that is safe: no module is imported again, and scripts need no __main__ guard.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    pool = ProcessPoolExecutor(workers, context, initializer=_end_silently_on_interrupt)
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns about every fork in a process with threads. BLAS threads trigger
            # it, although they handle forks.
            warnings.simplefilter("ignore", DeprecationWarning)
            results = [pool.submit(function, item) for item in items]
        for result in track(results, what):
            yield result.result()
        pool.shutdown()
    except BrokenProcessPool as error:
        raise UsageError(f"{what}: a process was killed, perhaps for lack of memory") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after an error, drop the remaining items


def _end_silently_on_interrupt() -> None:
    """Lets a worker end silently on Ctrl-C, which reaches every process of the group."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
