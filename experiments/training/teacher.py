"""A trained run as the teacher of another (Hinton, Vinyals & Dean 2015, arXiv:1503.02531).

The targets are q = softmax(teacher logits / T). The student's predictions are
log p = log_softmax(student logits / T). The loss is T² KL(q || p); the factor T² keeps the size of
the gradient independent of T. Teacher and student see the same images, augmented and mixed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from analyze.errors import UsageError
from analyze.runs.format import CONFIG, SUMMARY, WEIGHTS, read_json
from experiments.config import RunConfig
from experiments.data.datasets import Data
from experiments.machine.fingerprint import fingerprint
from experiments.training import models
from experiments.values import data_seed


class Teacher:
    """The network of a finished run, in evaluation mode.

    Args:
        network: the trained network.
        moments: per-channel mean and std of the teacher's training pixels, in [0, 1].
        student: mean and std that normalise the student's images.
        temperature: T.
        accelerator: gives device and precision.
        identity: name and weights of the teacher, for the student's record.
    """

    def __init__(
        self,
        network: nn.Module,
        moments: tuple[list[float], list[float]],
        student: tuple[tuple[float, ...], tuple[float, ...]],
        temperature: float,
        accelerator: Accelerator,
        identity: dict[str, str],
    ) -> None:
        self.accelerator, self.temperature, self.identity = accelerator, temperature, identity
        device = accelerator.device
        self.network = network.to(device).to(memory_format=torch.channels_last).eval()
        (mean, std), (own_mean, own_std) = (
            [torch.tensor(moment, device=device).view(1, -1, 1, 1) for moment in pair]
            for pair in (moments, student)
        )
        # Undo the student's normalisation and apply the teacher's, in one affine map.
        self._scale, self._shift = own_std / std, (own_mean - mean) / std

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The targets, softmax(logits / T).

        Args:
            images: images normalised for the student, (n, C_in, H, W).

        Returns:
            Probabilities, float32, (n, C).
        """
        with self.accelerator.autocast():
            logits: Tensor = self.network(torch.addcmul(self._shift, images, self._scale))
        return (logits.float() / self.temperature).softmax(1)


def load(config: RunConfig, dataset: Data, accelerator: Accelerator) -> Teacher | None:
    """Load the teacher that ``--teacher`` names; None without one.

    Raises:
        UsageError: if the folder holds no finished run, or if the teacher has other classes or
            channels, or was trained on images that this run holds out.
    """
    if not config.teacher:
        return None
    folder = Path(config.teacher)
    where = f"--teacher {folder}"
    description = _description(where, folder)
    options = description["config"]
    classes, channels = list(dataset.classes), dataset.train.pixels.shape[1]
    mean, std = description["mean"], description["std"]
    if description["classes"] != classes:
        raise UsageError(
            f"{where} has other classes: {_shown(description['classes'])}, and this run "
            f"{_shown(classes)}"
        )
    if len(mean) != channels:
        raise UsageError(f"{where} takes images of {len(mean)} channels, these have {channels}")
    if _same_data(description, config) and not _same_split(options, config):
        split = data_seed(options["split_seed"], options["seed"])
        raise UsageError(
            f"{where} was trained on images that this run holds out for validation: give both "
            f"the same --split-seed ({split}) and --val-size ({options['val_size']:g})"
        )
    network = models.restore(folder, description, where)
    identity = {"name": description["name"], "weights_sha256": fingerprint(folder / WEIGHTS)}
    student = (dataset.mean, dataset.std)
    return Teacher(network, (mean, std), student, config.temperature, accelerator, identity)


def _description(where: str, folder: Path) -> dict[str, Any]:
    """Read config.json of a finished run."""
    try:
        description = read_json(folder / CONFIG)
        summary = read_json(folder / SUMMARY)
    except UsageError as refusal:
        raise UsageError(f"--teacher: {refusal}") from refusal
    if description is None or summary is None:
        raise UsageError(
            f"{where} is no folder of a finished run: it needs {CONFIG}, {SUMMARY} and {WEIGHTS}"
        )
    status = summary.get("status")
    if {"name", "config", "classes", "mean", "std"} - set(description) or status != "finished":
        raise UsageError(f"{where} is no finished run: its status is {status!r}")
    return description


def _same_data(description: dict[str, Any], config: RunConfig) -> bool:
    """Whether teacher and student train on the same data set, as far as config.json tells."""
    options = description["config"]
    if options["dataset"] != config.dataset:
        return False
    if images := description.get("images"):
        return images in config.images
    elsewhere = Path(options["data_dir"]).resolve() != config.data_dir.resolve()
    return not (config.dataset == "folder" and elsewhere)


def _same_split(options: dict[str, Any], config: RunConfig) -> bool:
    theirs = data_seed(options["split_seed"], options["seed"])
    return bool(theirs == config.data_seed and options["val_size"] == config.val_size)


def _shown(classes: list[str]) -> str:
    names = ", ".join(classes[:3])
    return f"{len(classes)} ({names}{', ...' if len(classes) > 3 else ''})"
