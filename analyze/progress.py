"""Progress on standard error: a bar in a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")
EVERY = 10.0  # seconds between plain lines


def track(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yields the items, and shows how many are done and the time left."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            yield from progress.track(items)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - last > EVERY:
            left = (now - start) / done * (len(items) - done)
            console.print(f"{what}: {done} of {len(items)}, about {left:.0f} s left")
            last = now
        yield item
