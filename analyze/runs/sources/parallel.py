"""Slow reading of many runs at a time."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

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
