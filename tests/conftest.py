"""Fixtures that all tests share."""

from __future__ import annotations

import subprocess
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
