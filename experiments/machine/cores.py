"""How many processor cores this process may use."""

from __future__ import annotations

import os


def available() -> int:
    """The cores that this process is bound to; all of the machine's where no one can say."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
