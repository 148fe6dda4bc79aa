"""Measure the cost of a checkpoint, as a fraction of a minute (the default is one per 5 min).

    python benchmarks/checkpoints.py [--folder DIR] [--rounds 5]

Writes and syncs weights and momentum of each model as the trainer does. The folder should be on
the disk to be measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch

from experiments.runs import checkpoint
from experiments.runs.checkpoint import Checkpoint
from experiments.training import models


def main() -> None:
    """Print the cost for three sizes of model."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for name in ("resnet20", "resnet18", "resnet50"):
        state = models.create(name, 10, 3, seed=0).state_dict()
        momentum = {k: torch.zeros_like(v) for k, v in state.items() if v.is_floating_point()}
        saved = Checkpoint({"model": state, "momentum": momentum}, {})
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            seconds = []
            for step in range(options.rounds):
                start = time.perf_counter()
                checkpoint.save(Path(folder), step, saved)
                seconds.append(time.perf_counter() - start)
        median = statistics.median(seconds)
        print(f"{name}: {median:.3f} s (of {options.rounds}), {median / 60:.2%} of a minute")


if __name__ == "__main__":
    main()
