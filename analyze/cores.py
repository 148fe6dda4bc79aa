"""Count the CPU cores that this process may use."""

from __future__ import annotations

import os


def available() -> int:
    """Number of cores to which this process is bound; all cores if the system cannot tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
