"""The lines that a run prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from analyze.errors import UsageError
from experiments.config import RunConfig
from experiments.data.datasets import Data
from experiments.machine.progress import clock
from experiments.training.description import Position, sizes
from experiments.training.learner import Learner

FEW_STEPS = 100  # with fewer steps, a network has hardly begun to learn


def introduction(learner: Learner, dataset: Data) -> Iterator[str]:
    """Describe the run, and warn of what may surprise the user."""
    config, accelerator, counts = learner.config, learner.accelerator, sizes(learner, dataset)
    n, threads = accelerator.num_processes, torch.get_num_threads()
    yield (
        f"{config.loss} on {config.model} ({counts['parameters']:,} parameters), "
        f"{config.dataset} ({counts['train']:,} train, {counts['val']:,} validation, "
        f"{counts['test']:,} test), {n} process{'es' * (n > 1)} on "
        f"{accelerator.device.type}, {threads} thread{'s' * (threads > 1)} each, "
        f"precision {accelerator.mixed_precision}"
    )
    if learner.criterion.per_batch and n * config.grad_accum > 1:
        yield (
            f"{config.loss} gives one number per batch: its mean over processes and "
            "micro-batches stands for the whole batch"
        )
    if config.ema:
        yield f"--ema {config.ema:g}: the moving average of the weights is tested and saved"
    yield from dataset.remarks
    if learner.steps < FEW_STEPS:
        yield (
            f"{learner.steps:,} optimizer steps in all are few: a smaller --batch-size and --lr, "
            "or more --epochs, would train further"
        )


def resumed(at: Position) -> str:
    """Say from which step a run continues."""
    return f"continuing at epoch {at.epoch + 1}, step {at.step}"


def changed(changes: list[str]) -> str:
    """Differences from the original environment that break bit-for-bit reproducibility."""
    rule = "the result will not be bit for bit that of an uninterrupted run"
    return f"{rule}: {', '.join(changes)}"


def epoch(
    config: RunConfig, number: int, metrics: Mapping[str, float], rate: float, speed: float
) -> str:
    """The metrics of an epoch, its learning rate, and images per second."""
    shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    return f"epoch {number}/{config.epochs}: {shown}, lr {rate:.4f}, {speed:,.0f} images/s"


def stopped(at: Position) -> str:
    """Say at which step a run was stopped on request."""
    return f"stopped at epoch {at.epoch + 1}, step {at.step}; the same command continues from here"


def diverged(learner: Learner, step: int) -> str:
    """Say at which step of the run the loss was first not finite."""
    return (
        f"{learner.config.loss} diverged: the loss is not finite at step {step} "
        f"(epoch {step // learner.plan.steps + 1}, "
        f"learning rate {learner.learning_rate(step):.3g})"
    )


def finished(loss: str, scores: Mapping[str, Any], seconds: float, folder: Path) -> str:
    """The test metrics of a finished run."""
    at = f"{scores['temperature']:.4g}"
    if bound := scores.get("temperature_bound"):
        at += f", which stands for {bound}"  # the fit has no finite optimum
    return (
        f"{loss}: test accuracy {scores['test/accuracy']:.2%}, "
        f"NLL {scores['test/nll']:.4f}, ECE {scores['test/ece']:.2%}; "
        f"at temperature {at}: "
        f"NLL {scores['test/nll_ts']:.4f}, ECE {scores['test/ece_ts']:.2%} "
        f"({clock(seconds)}; {folder})"
    )


def over_already(summary: Mapping[str, Any], folder: Path) -> str:
    """Say that a run has ended already."""
    ended = "has diverged" if summary["status"] == "diverged" else "is finished"
    return f"{folder} {ended}; --fresh trains it anew"


def out_of_memory(error: RuntimeError, config: RunConfig, dataset: Data) -> UsageError | None:
    """A usage error that explains an out-of-memory error; None for any other error."""
    on_gpu = isinstance(error, torch.OutOfMemoryError)
    # On a CPU, torch raises a plain RuntimeError that only its text identifies.
    if not on_gpu and "can't allocate memory" not in str(error):
        return None
    place = "the GPU's" if on_gpu else "this machine's"
    images = sum(split.pixels.nbytes for split in (dataset.train, dataset.val)) / 1e9
    return UsageError(
        f"{place} memory does not hold {config.model} with --batch-size {config.batch_size}, and "
        f"{images:.1f} GB of images beside it: choose a smaller --batch-size or smaller images, "
        "or divide the batch by --grad-accum",
        "batch_size",
    )
