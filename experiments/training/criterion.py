"""Create a run's loss and check that it supports the run's options."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import clsloss
from analyze.errors import UsageError
from clsloss.spec import check as check_spec
from experiments.config import RunConfig
from experiments.data.datasets import Data
from experiments.data.labels import class_counts
from experiments.randomness import Stream, seed
from experiments.values import COSINE


def check(config: RunConfig) -> None:
    """Check the loss against the options, before any data are read.

    A custom loss is imported but not called, because it may need the number of classes.

    Raises:
        UsageError: if the spec names no loss, or the loss does not support the options.
    """
    try:
        criterion = check_spec(config.loss)
    except (ValueError, TypeError) as error:
        raise UsageError(f"--loss {config.loss}: {error}", "loss") from error
    if criterion:
        _check_fit(criterion, config, None)


def create(config: RunConfig, dataset: Data | None = None) -> clsloss.Loss:
    """Create the loss of a run.

    Args:
        config: options of the run.
        dataset: the images, for class weights, targets, and the number and sizes of the classes.

    Raises:
        UsageError: as in `check`, or if the loss does not accept the targets.
        clsloss.ClassesNeeded: if the loss needs the number of classes and there is no dataset.
    """
    known: dict[str, Any] = {}
    if dataset:
        counts = class_counts(dataset.train.targets, len(dataset.classes))
        known = {"weight": dataset.class_weights, "classes": len(dataset.classes)}
        known["class_counts"] = counts.float() if counts.any() else None
    try:
        # A loss may draw initial values. Seed them, so that they are the same in every process
        # and after a resume.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed(config.seed, Stream.CRITERION))
            criterion = clsloss.create(config.loss, **known)
        if config.class_weights_from and known.get("weight") is not None:
            criterion.set_weight(known["weight"])  # refused if the loss hides its weights
    except clsloss.ClassesNeeded:
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(f"--loss {config.loss}: {error}", "loss") from error
    _check_fit(criterion, config, dataset.train.targets if dataset else None)
    return criterion


def _check_fit(criterion: clsloss.Loss, config: RunConfig, targets: Tensor | None) -> None:
    """Check the loss against the options and, where they are known, the targets.

    Args:
        criterion: the loss.
        config: options of the run.
        targets: targets of the training images, or None if they are not known yet.

    Raises:
        UsageError: naming the option at fault and the reason.
    """
    if config.grad_accum > 1 and criterion.pairwise:
        raise UsageError(
            f"--grad-accum {config.grad_accum} cannot be exact for {config.loss}, a sum over all "
            "pairs of images of a batch: use --grad-accum 1",
            "grad_accum",
        )
    if criterion.input_kind == "cosines" and config.head != COSINE:
        raise UsageError(
            f"--loss {config.loss} takes cosines, which it scales itself: add --head cosine, "
            f"got --head {config.head}",
            "head",
        )
    if config.grad_accum > 1 and not criterion.additive and not criterion.per_batch:
        raise UsageError(
            f"--grad-accum {config.grad_accum} cannot be exact for {config.loss}, a ratio of sums "
            "over the whole batch: use --grad-accum 1",
            "grad_accum",
        )
    if config.teacher and not isinstance(criterion, clsloss.KLDivLoss):
        raise UsageError(
            f"--teacher gives probabilities to learn by --loss kl, got --loss {config.loss}",
            "teacher",
        )
    given = targets is not None and targets.is_floating_point()
    unlabelled = 0 if targets is None or given else int((targets < 0).sum())
    mixing = next((name for name in ("mixup", "cutmix") if getattr(config, name)), None)
    source = f"--{mixing} {getattr(config, mixing):g}" if mixing else "--train-labels"
    option = mixing or "train_labels"
    if (mixing or given) and not criterion.takes_probabilities:
        raise UsageError(
            f"{source} makes the targets probabilities, and {config.loss} takes class indices "
            "only: choose a loss such as ce, focal or kl",
            option,
        )
    if mixing and unlabelled:
        raise UsageError(
            f"{source} mixes labels, and {unlabelled} of the training images have none", option
        )
    if unlabelled and criterion.per_batch:
        raise UsageError(
            f"{config.loss} gives one number for a batch, which {unlabelled} unlabelled images "
            "cannot be left out of: it needs values per example",
            "loss",
        )
