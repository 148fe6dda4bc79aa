"""Slow reading of many runs at a time."""

from collections.abc import Callable, Iterator, Sequence
from multiprocessing.pool import ThreadPool
from typing import TypeVar

from analyze.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    function: Callable[[Item], Result], items: Sequence[Item], what: str, *, at_once: int
) -> Iterator[Result]:
    """The function's results in the order of the items, `at_once` in the making; shows progress.

    The threads are daemons, so that an interrupt need not wait for them.
    """
    if not items:
        return
    with ThreadPool(min(at_once, len(items))) as pool:
        results = pool.imap(function, items)
        for _ in track(items, what):
            yield next(results)
