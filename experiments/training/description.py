"""The contents of a run's config.json and summary.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from experiments.data.datasets import Data
from experiments.machine import hardware
from experiments.training.learner import Learner


@dataclass
class Position:
    """How far a run has trained, and how long that took."""

    epoch: int = 0
    step: int = 0  # within the epoch
    seconds: float = 0.0


def resolved(learner: Learner, dataset: Data) -> dict[str, Any]:
    """The values that the options resolve to on this machine and these data."""
    weights, accelerator = dataset.class_weights, learner.accelerator
    return {
        "input_kind": learner.criterion.input_kind,
        "reading": learner.criterion.reading,
        "device": accelerator.device.type,
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "precision": accelerator.mixed_precision,
        "augmentation": vars(learner.pipeline.augmentation),
        "class_weights": None if weights is None else weights.tolist(),
        "labels": dataset.notes,
        "teacher": learner.teacher.identity if learner.teacher else None,
        "pretrained": learner.pretrained,
        "classes": list(dataset.classes),
        "remarks": list(dataset.remarks),
        "mean": dataset.mean,
        "std": dataset.std,
        "sizes": sizes(learner, dataset),
        "hardware": hardware.describe(accelerator.device),
        "images_sha256": dataset.images_sha256(),
    }


def sizes(learner: Learner, dataset: Data) -> dict[str, int]:
    """Numbers of images in each split, and of parameters in the network."""
    return {
        "train": len(dataset.train),
        "val": len(dataset.val),
        "test": len(dataset.test),
        "parameters": sum(p.numel() for p in learner.network.parameters()),
    }


def summary(learner: Learner, at: Position, status: str) -> dict[str, Any]:
    """The summary of a run that ended at this position, without its metrics."""
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
