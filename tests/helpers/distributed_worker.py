"""What each process of the tests of several processes does: ``distributed_worker.py TASK OUT``."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from small_runs import TINY
from torch import nn

import clsloss
from clsloss.base import REGISTRY
from experiments.config import RunConfig
from experiments.data import datasets
from experiments.machine import distributed
from experiments.training import models, trainer
from experiments.training.trainer import Trainer

HEART = ("ce", "label_smoothing", "focal", "hinge", "nll", "kl")
TERMS = ("tversky", "focal+mdca", "ce+0.5*soft_ece", "ce+mmce")
PAIRWISE = ("ce+0.3*knowing_losses:Pairs", "knowing_losses:LearntPairs+knowing_losses:Prior")
# 4 images in the last batch of 25: with three processes and three pieces some shares are empty.
TRAIN_IMAGES = 25 * 48 + 4


def small_network(dtype):
    """Without BatchNorm and dropout: nothing in it depends on how the batch is divided."""

    class Network(nn.Module):
        def __init__(self, num_classes, in_channels):
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(in_channels, 8, 3, padding=1),
                nn.Tanh(),
                nn.AdaptiveAvgPool2d(4),
                nn.Flatten(),
            )
            self.fc = nn.Linear(128, num_classes)

        def forward(self, x):
            return self.fc(self.features(x.to(dtype)))

    def create(name, num_classes, in_channels, seed, *, pretrained=False):
        torch.manual_seed(seed)
        return Network(num_classes, in_channels).to(dtype)

    return create


def thirty_steps(loss, dtype, accumulation, **further):
    """Weights after 30 steps, with class weights and a fifth of the labels ignored."""
    models.create = small_network(dtype)
    options = {"loss": loss, "batch_size": 48, "grad_accum": accumulation, "lr": 0.05}
    config = RunConfig.from_options(
        TINY | options | ({"head": "cosine"} if loss == "ldam" else {}) | further
    )
    accelerator = distributed.start(config)
    images = datasets.load(config)
    train = images.train.take(torch.arange(TRAIN_IMAGES))
    ignored = torch.rand(TRAIN_IMAGES, generator=torch.Generator().manual_seed(0)) < 0.2
    train = replace(train, targets=train.targets.masked_fill(ignored, -100))
    # a loss that is not ours would need class weights of its own
    weight = None if "knowing" in loss else torch.linspace(0.5, 2.0, 10, dtype=dtype)
    counts = train.targets[~ignored].bincount(minlength=10)
    criterion = clsloss.create(loss, weight=weight, class_counts=counts).to(dtype)
    run = Trainer(config, accelerator, replace(images, train=train), criterion, None)
    for step in range(30):
        run.at.epoch, run.at.step = divmod(step, run.learner.plan.steps)
        order = run.learner.plan.order(run.at.epoch, run.learner.pipeline.index)
        run.step(run.learner.plan.batch(order, run.at.step))
    average = run.learner.average.network.state_dict() if run.learner.average else {}
    averaged = {f"average.{name}": value for name, value in average.items()}
    return (
        run.learner.network.state_dict()
        | averaged
        | {
            "_last_loss": torch.tensor(run._last_loss()),
            "_sums": distributed.summed(accelerator, run.learner.objective.sums),
        }
    )


def some(out):
    """The weights of a loss of each kind."""
    accumulating = [(loss, 3) for loss in (*HEART, "ce+0.5*brier", "dice:per_image=true")]
    whole = [(loss, 1) for loss in ("ce", "dice", "ce+0.5*dice", *TERMS, *PAIRWISE)]
    weights(accumulating + whole, out)


def every(out):
    """The weights of every loss."""
    weights([(name, 3 if REGISTRY[name].additive else 1) for name in clsloss.names()], out)


def weights(cases, out):
    """The weights of these losses, in both precisions, on the main process."""
    results = {
        f"{loss} {dtype}": thirty_steps(loss, dtype, accumulation)
        for loss, accumulation in cases
        for dtype in (torch.float32, torch.float64)
    }
    # AdamW divides by the size of the gradient, and so enlarges what rounds differently where it
    # is nearly 0: a larger eps keeps that below the limits.
    tuned = {"optimizer": "adamw", "lr": 0.003, "eps": 1e-3, "ema": 0.9, "backbone_lr": 0.5}
    for dtype in (torch.float32, torch.float64):
        results[f"ce {dtype} adamw"] = thirty_steps("ce", dtype, 1, **tuned)
    if os.environ.get("RANK", "0") == "0":
        torch.save(results, out)


def stop_and_resume(out):
    """Stop a run after each of its steps, by a signal to one process, and let it go on."""
    real = Trainer.step
    for step in (None, *range(1, 11)):

        def counting(self, positions, step=step):
            real(self, positions)
            here = self.at.epoch * self.learner.plan.steps + self.at.step + 1
            if here == step and int(os.environ["RANK"]) == step % int(os.environ["WORLD_SIZE"]):
                os.kill(os.getpid(), 15)

        options = {"output": out, "study": f"stop-{step}", "batch_size": 250, "mixup": 0.4}
        config = RunConfig.from_options(TINY | options)
        Trainer.step = counting
        stopped = trainer.train(config)
        Trainer.step = real
        if step is not None:
            assert stopped == 128 + 15, stopped
            assert trainer.train(config) == 0


if __name__ == "__main__":
    tasks = {"some": some, "every": every, "stop_and_resume": stop_and_resume}
    tasks[sys.argv[1]](Path(sys.argv[2]))
    distributed.leave()  # as train.py does: torch's threads must end before the process
