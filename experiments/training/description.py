"""What a run is and what has become of it, as its record says it: config.json and summary.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from experiments.data.datasets import Data
from experiments.machine import hardware
from experiments.training.learner import Learner


@dataclass
class Position:
    """Where a run stands: what is done, and the time it took."""

    epoch: int = 0
    step: int = 0  # of the epoch
    seconds: float = 0.0


def resolved(learner: Learner, dataset: Data) -> dict[str, Any]:
    """What the options came to on this machine and this data."""
    weights, accelerator = dataset.class_weights, learner.accelerator
    return {
        "input_kind": learner.criterion.input_kind,
        "device": accelerator.device.type,
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "precision": accelerator.mixed_precision,
        "augmentation": vars(learner.pipeline.augmentation),
        "class_weights": None if weights is None else weights.tolist(),
        "labels": dataset.notes,
        "teacher": learner.teacher.identity if learner.teacher else None,
        "classes": list(dataset.classes),
        "remarks": list(dataset.remarks),
        "mean": dataset.mean,
        "std": dataset.std,
        "sizes": sizes(learner, dataset),
        "hardware": hardware.describe(accelerator.device),
        "images_sha256": dataset.images_sha256(),
    }


def sizes(learner: Learner, dataset: Data) -> dict[str, int]:
    """Images of each split, and parameters of the network."""
    return {
        "train": len(dataset.train),
        "val": len(dataset.val),
        "test": len(dataset.test),
        "parameters": sum(p.numel() for p in learner.network.parameters()),
    }


def summary(learner: Learner, at: Position, status: str) -> dict[str, Any]:
    """What has become of a run that ended at a position, without its metrics."""
    config, plan = learner.config, learner.plan
    images = at.epoch * plan.size + at.step * config.batch_size
    return {
        "status": status,
        "loss": config.loss,
        "model": config.model,
        "dataset": config.dataset,
        "seed": config.seed,
        "epochs": at.epoch,
        "steps": at.epoch * plan.steps + at.step,
        "seconds": at.seconds,
        "images_per_second": images / at.seconds if at.seconds else 0.0,
    }
