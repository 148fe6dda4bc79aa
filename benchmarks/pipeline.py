"""Measure the cost of augmentation, as a fraction of a training step.

    python benchmarks/pipeline.py --model resnet20 --rounds 5

For each setting, this compares the time to make a batch of 128 images and targets with that of
forward, backward and optimizer step on prepared tensors. The former includes the random numbers
of the epoch, divided by its number of batches. The data are 45,000 random images of 32x32 pixels,
as many as CIFAR has for training. Settings and step take turns in every round. Times are medians
over the rounds of the fastest of several repetitions.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from training import bare_step

sys.path.insert(0, str(Path(__file__).parent.parent))

from experiments.config import RunConfig
from experiments.data.datasets import Images
from experiments.data.pipeline import Augmentation, Pipeline, Plan
from experiments.machine import distributed
from experiments.training import models, optimisation

N, BATCH = 45_000, 128
STANDARD = {"crop": 4, "flip": True}
SETTINGS = {
    "none": {},
    "standard": STANDARD,
    "cutout": STANDARD | {"cutout": 16},
    "mixup": STANDARD | {"mixup": 0.2},
    "cutmix": STANDARD | {"cutmix": 1.0},
    "mixup + cutmix": STANDARD | {"mixup": 0.8, "cutmix": 1.0},
    "trivial": STANDARD | {"trivial": True},
    "trivial + cutout + mixup": STANDARD | {"trivial": True, "cutout": 16, "mixup": 0.2},
}


def fastest(action: Callable[[], object], repetitions: int) -> float:
    """Seconds of the fastest repetition, including the work of the GPU."""
    times = []
    for _ in range(repetitions):
        started = time.perf_counter()
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    """Measure all settings against the step, and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    config = RunConfig(model=options.model, threads=options.threads)
    accelerator = distributed.start(config)
    device = accelerator.device

    pixels = torch.randint(0, 256, (N, 3, 32, 32), dtype=torch.uint8)
    images = Images(pixels, torch.arange(N) % 10, torch.arange(N))
    plan = Plan(N, BATCH, seed=0)
    positions = plan.batch(plan.order(0, images.index), 0)
    network = models.create(options.model, 10, 3, seed=0).to(device)
    network = network.to(memory_format=torch.channels_last)
    optimizer = optimisation.create(network, config)
    ready = torch.randn(BATCH, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    labels = images.targets[:BATCH].to(device)

    def step() -> None:
        bare_step(accelerator, network, optimizer, ready, labels)

    def measure(setting: dict[str, float]) -> float:
        pipeline = Pipeline(
            images,
            (0.5,) * 3,
            (0.25,) * 3,
            device,
            classes=10,
            augmentation=Augmentation(**setting),
        )
        pipeline.labels(positions, 0)
        epochs = itertools.count(1)  # the first batch of an epoch draws its random numbers
        draw = fastest(lambda: pipeline.labels(positions, next(epochs)), 3)
        pipeline.labels(positions, 0)
        batch = fastest(
            lambda: (pipeline.augmented(positions, 0), pipeline.labels(positions, 0)), 20
        )
        return batch + draw / plan.steps

    steps: list[float] = []
    costs: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for _ in range(options.rounds):
        for name, setting in SETTINGS.items():
            costs[name].append(measure(setting))
        steps.append(fastest(step, 8))
    typical = statistics.median(steps)
    print(
        f"{options.model} on {device.type}, {torch.get_num_threads()} of "
        f"{len(os.sched_getaffinity(0))} threads: {1e3 * typical:.1f} ms a step of {BATCH}"
    )
    for name, cost in costs.items():
        fractions = ", ".join(f"{c / s:.2%}" for c, s in zip(cost, steps, strict=True))
        median = statistics.median(cost)
        print(f"{name:25} {1e3 * median:6.2f} ms, {median / typical:6.2%} (rounds: {fractions})")


if __name__ == "__main__":
    main()
