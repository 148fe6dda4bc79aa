"""Work on many runs at a time: slow reading in threads, computing in processes."""

import multiprocessing
import os
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

from analyze.errors import UsageError
from analyze.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    function: Callable[[Item], Result], items: Sequence[Item], what: str, *, at_once: int
) -> Iterator[Result]:
    """The function's results in the order of the items, `at_once` in the making; shows progress.

    The threads are daemons, unlike those of an executor, so that nobody waits for a server that
    does not answer after an error or an interrupt.

    Example:
        >>> list(each(abs, [-1, 2], "taking", at_once=2))
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
        with suppress(Empty):  # after an error nobody wants the rest
            while True:
                todo.get_nowait()


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], what: str, *, at_most: int
) -> Iterator[Result]:
    """As `each`, for what computes: in a process a core, `at_most` of them; here where it is one.

    Raises:
        UsageError: A process was killed.
    """
    workers = min(at_most, len(items), _cores())
    if workers < 2:
        yield from map(function, track(items, what))
        return
    # forked where that is safe: nothing is imported again, and no script needs a __main__ guard
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    pool = ProcessPoolExecutor(workers, context, initializer=_end_at_an_interrupt)
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of every fork beside threads, such as those of BLAS, which are
            # made to be forked
            warnings.simplefilter("ignore", DeprecationWarning)
            results = [pool.submit(function, item) for item in items]
        for result in track(results, what):
            yield result.result()
        pool.shutdown()
    except BrokenProcessPool as error:
        raise UsageError(f"{what}: a process was killed, perhaps for want of memory") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after an error nobody wants the rest


def _cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _end_at_an_interrupt() -> None:
    """Ctrl-C reaches every process: one that computes for another ends without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
