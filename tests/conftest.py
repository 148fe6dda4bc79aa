"""Fixtures that all tests share."""

from __future__ import annotations

import subprocess
from itertools import chain, zip_longest
from pathlib import Path

import pytest
from small_runs import ROOT, TINY, command, environment


@pytest.fixture
def cli():
    """Run the real command to its end."""

    def run(*arguments: str, processes: int = 1, timeout: float = 240, **extra: str):
        options = command({}, processes)[: -len(TINY)]
        return subprocess.run(
            [*options, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=ROOT,
            env=environment(**extra),
        )

    return run


@pytest.fixture
def train_here(tmp_path):
    """Train a tiny run in this process; returns its folder and exit status."""
    from accelerate.state import AcceleratorState

    from experiments.config import RunConfig
    from experiments.training.trainer import train

    def run(output: Path = tmp_path / "runs", **options: object):
        AcceleratorState._reset_state(reset_partial_state=True)
        config = RunConfig.from_options(TINY | {"output": output} | options)
        return config.folder, train(config)

    yield run
    AcceleratorState._reset_state(reset_partial_state=True)


def pytest_collection_modifyitems(items):
    """Alternate files that start processes, and wait for them, with files that compute.

    Two workers then rarely have the same kind, and the longest files do not come last.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting = [path for path in files if "experiments" in path.parts]
    computing = [path for path in files if path not in set(waiting)]
    order = chain.from_iterable(zip_longest(waiting, computing))
    items[:] = [item for path in order if path for item in files[path]]
