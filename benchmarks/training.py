"""Measure images per second of the trainer, relative to a bare loop and to a typical script.

    python benchmarks/training.py --model resnet20 --rounds 3
    python benchmarks/training.py --model resnet18 --batch-size 512

- trainer: our training step with everything that a run has: augmentation, checks for divergence,
  signals and progress.
- bare: forward, backward and optimizer step only, with the same model, precision and batch size,
  on tensors that were augmented beforehand. It takes turns with the trainer every few steps, in
  one process, because the two differ by less than two processes do.
- plain: a typical script: float32, the DataLoader of torch with two workers, torchvision's
  transforms on PIL images, and the contiguous memory format.
- ceiling: the speed if all floating-point operations of the step, as counted by torch, ran as fast
  as a large matrix product in the same precision.
- compiled: the trainer with --compile, and the number of images after which compiling pays off.
- evaluation: logits and metrics of the validation images, as at the end of each epoch.

The other ways take turns too, each in its own process, because machines are shared and noisy. The
ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
WAYS = ("trainer_and_bare", "plain", "compiled", "ceiling", "evaluation")
TRAIN, VAL = 45_000, 5_000  # images of CIFAR-10, to relate evaluation to an epoch
WARM_UP = 3
TURN = 5  # steps


def prepared(model: str, **options: object):
    """A Trainer on random images, without a record."""
    import torch

    from experiments.config import RunConfig
    from experiments.data.datasets import Data, Images
    from experiments.machine import distributed
    from experiments.training import criterion
    from experiments.training.trainer import Trainer

    config = RunConfig(model=model, dataset="folder", wandb="disabled", **options)
    accelerator = distributed.start(config)
    generator = torch.Generator().manual_seed(0)
    n = 10_000
    pixels = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)
    images = Images(pixels, torch.arange(n) % 10, torch.arange(n))
    few = images.take(torch.arange(10))
    classes = tuple("0123456789")
    data = Data(images, few, few, classes, (0.5,) * 3, (0.25,) * 3)
    return Trainer(config, accelerator, data, criterion.create(config), None)


class TrainerSteps:
    """The steps of the trainer."""

    def __init__(self, trainer) -> None:
        self.trainer, self.taken = trainer, 0
        self.order = trainer.learner.plan.order(0, trainer.learner.pipeline.index)

    def __call__(self, steps: int) -> None:
        """Take this many steps."""
        trainer, plan = self.trainer, self.trainer.learner.plan
        for step in range(self.taken, self.taken + steps):
            trainer.step(plan.batch(self.order, step % (plan.steps - 1)))
            trainer.at.step += 1
            trainer.progress.advance()
            trainer.pause(0.0)
        self.taken += steps


class BareSteps:
    """Forward, backward and optimizer step on prepared tensors."""

    def __init__(self, trainer) -> None:
        from experiments.training.optimisation import create

        pipeline = trainer.learner.pipeline
        size = trainer.config.batch_size
        self.batches = [batch(pipeline, slice(i * size, (i + 1) * size)) for i in range(4)]
        self.accelerator, self.network = trainer.accelerator, trainer.learner.network
        self.optimizer = create(self.network, trainer.config)

    def __call__(self, steps: int) -> None:
        """Take this many steps."""
        self.network.train()
        for step in range(steps):
            images, targets = self.batches[step % 4]
            bare_step(self.accelerator, self.network, self.optimizer, images, targets)


def batch(pipeline, positions: slice):
    """Augmented images of the first epoch, and their targets, on the device."""
    chosen = pipeline.positions[positions]
    return pipeline.augmented(chosen, 0), pipeline.targets[chosen]


def bare_step(accelerator, network, optimizer, images, targets) -> None:
    """Forward, backward and optimizer step, nothing else."""
    from torch.nn import functional as F

    with accelerator.autocast():
        logits = network(images)
    F.cross_entropy(logits, targets).backward()
    optimizer.step()
    optimizer.zero_grad()


def seconds_of(work, *arguments: int) -> float:
    """The seconds that a call takes."""
    start = clock()
    work(*arguments)
    return clock() - start


def measure_trainer_and_bare(model: str, steps: int, size: int) -> dict[str, float]:
    """Images per second of trainer and bare steps, and the warm-up of the trainer."""
    trainer = prepared(model, batch_size=size)
    ways = {"trainer": TrainerSteps(trainer), "bare": BareSteps(trainer)}
    warm_up = {way: seconds_of(run, WARM_UP) for way, run in ways.items()}
    spent = dict.fromkeys(ways, 0.0)
    turns = -(-steps // TURN)
    for turn in range(turns):
        for way in list(ways)[:: -1 if turn % 2 else 1]:
            spent[way] += seconds_of(ways[way], TURN)
    speeds = {way: size * TURN * turns / seconds for way, seconds in spent.items()}
    return speeds | {"trainer's warm-up": warm_up["trainer"]}


def measure_compiled(model: str, steps: int, size: int) -> dict[str, float]:
    """Images per second of the trainer with --compile, and its warm-up with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        run = TrainerSteps(prepared(model, batch_size=size, compile=True))
        warm_up = seconds_of(run, WARM_UP)
        return {"compiled": size * steps / seconds_of(run, steps), "compiled's warm-up": warm_up}


def measure_plain(model: str, steps: int, size: int) -> dict[str, float]:
    """Images per second of a typical script."""
    import numpy as np
    import torch
    from PIL import Image
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    from experiments.training import models

    augment = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.25,) * 3),
        ]
    )
    pixels = np.random.default_rng(0).integers(0, 256, (10_000, 32, 32, 3), dtype=np.uint8)

    class Pictures(Dataset):
        def __len__(self):
            return 10**6

        def __getitem__(self, i):
            return augment(Image.fromarray(pixels[i % len(pixels)])), i % 10

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = models.create(model, 10, 3, seed=0).to(device)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9, nesterov=True, weight_decay=5e-4)
    loader = iter(DataLoader(Pictures(), batch_size=size, shuffle=False, num_workers=2))
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            start = clock()
        images, targets = (t.to(device) for t in next(loader))
        F.cross_entropy(network(images), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {"plain": size * steps / (clock() - start)}


def measure_ceiling(model: str, steps: int, size: int) -> dict[str, float]:
    """Images per second at the speed of a large matrix product."""
    import torch
    from torch.nn import functional as F
    from torch.utils.flop_counter import FlopCounterMode

    trainer = prepared(model, batch_size=size)
    accelerator, network = trainer.accelerator, trainer.learner.network
    images, targets = batch(trainer.learner.pipeline, slice(size))
    with FlopCounterMode(display=False) as counter, accelerator.autocast():
        F.cross_entropy(network(images), targets).backward()
    per_image = counter.get_total_flops() / size
    dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
    n = 2048
    a, b = torch.randn(2, n, n, device=accelerator.device).to(dtype)
    for product in range(WARM_UP + steps):
        if product == WARM_UP:
            start = clock()
        a @ b
    return {"ceiling": 2 * n**3 * steps / (clock() - start) / per_image}


def measure_evaluation(model: str, steps: int, size: int) -> dict[str, float]:
    """Images per second of the evaluation of an epoch."""
    import torch

    from experiments.training import evaluation

    trainer = prepared(model, batch_size=size)
    images = trainer.dataset.train.take(torch.arange(min(VAL, size * steps)))
    pipeline = evaluation.pipeline(images, trainer.dataset, trainer.learner)
    for round_ in range(2):
        if round_:
            start = clock()
        evaluation.validate(evaluation.predict(trainer.learner, pipeline), images)
    return {"evaluation": len(images) / (clock() - start)}


def clock() -> float:
    """The time in seconds, after the GPU has finished its work."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def apart(script: str, *words: str) -> str:
    """The output of a script that runs in its own process."""
    return subprocess.run(
        [sys.executable, script, *words],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ).stdout


def main() -> None:
    """Let the ways take turns, and print their speeds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        measure = globals()[f"measure_{options.way}"]
        print(json.dumps(measure(options.model, options.steps, options.batch_size)))
        return
    measured: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for way in WAYS:
            words = ["--way", way, "--model", options.model]
            words += ["--steps", str(options.steps), "--batch-size", str(options.batch_size)]
            for name, value in json.loads(apart(__file__, *words).splitlines()[-1]).items():
                measured.setdefault(name, []).append(value)
    median = {name: statistics.median(values) for name, values in measured.items()}
    for way in ("trainer", "bare", "plain", "compiled", "ceiling", "evaluation"):
        print(f"{way:10} {median[way]:9,.0f} images/s")
    for way in ("bare", "plain", "ceiling"):
        report(f"trainer / {way}", [a / b for a, b in pairs(measured, way)])
    report("compiled / trainer", [b / a for a, b in pairs(measured, "compiled")])
    waited = median["compiled's warm-up"] - median["trainer's warm-up"]
    saved = 1 / median["trainer"] - 1 / median["compiled"]
    when = f"pays off after {waited / saved:,.0f} images" if saved > 0 else "never pays off"
    print(f"compiling takes {waited:.0f} s more at the start and {when}")
    seconds = [(VAL / b, TRAIN / a) for a, b in pairs(measured, "evaluation")]
    report("evaluation / epoch", [val / (val + train) for val, train in seconds])


def pairs(measured: dict[str, list[float]], way: str) -> list[tuple[float, float]]:
    """The speeds of the trainer and another way, by round."""
    return list(zip(measured["trainer"], measured[way], strict=True))


def report(name: str, ratios: list[float]) -> None:
    """Print the median of a ratio and its value in each round."""
    listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"{name}: {statistics.median(ratios):.2f} (rounds: {listed})")


if __name__ == "__main__":
    main()
