"""The loss that a run asks for, and whether it can do what the run asks of it."""

from __future__ import annotations

import torch
from torch import Tensor

import clsloss
from analyze.errors import UsageError
from clsloss.spec import check as check_spec
from experiments.config import RunConfig
from experiments.data.datasets import Data
from experiments.randomness import Stream, seed


def check(config: RunConfig) -> None:
    """Refuse, before data are read, what the options alone show to be wrong.

    Someone else's loss is imported and not called: it may be made for the number of classes.

    Raises:
        UsageError: on a spec that names no loss, or a loss that cannot do what the options ask.
    """
    try:
        criterion = check_spec(config.loss)
    except (ValueError, TypeError) as error:
        raise UsageError(f"--loss {config.loss}: {error}", "loss") from error
    if criterion:
        _check_fit(criterion, config, None)


def create(config: RunConfig, dataset: Data | None = None) -> clsloss.Loss:
    """The loss of a run.

    Args:
        config: its options.
        dataset: its images, for class weights, targets and the number of classes.

    Raises:
        UsageError: as `check`, and on targets that the loss cannot take.
        clsloss.ClassesNeeded: without a dataset, for a loss that may be made for its classes.
    """
    weight, classes = (dataset.class_weights, len(dataset.classes)) if dataset else (None, None)
    try:
        # A loss may draw initial values of its own: by the seed alone, in every process, and
        # again where the run is resumed.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed(config.seed, Stream.CRITERION))
            criterion = clsloss.create(config.loss, weight, classes=classes)
    except clsloss.ClassesNeeded:
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(f"--loss {config.loss}: {error}", "loss") from error
    _check_fit(criterion, config, dataset.train.targets if dataset else None)
    return criterion


def _check_fit(criterion: clsloss.Loss, config: RunConfig, targets: Tensor | None) -> None:
    """Refuse what the loss cannot do, and targets that it cannot take.

    Args:
        criterion: the loss.
        config: of the run.
        targets: of the training images, or None where they are not known yet.

    Raises:
        UsageError: naming the option that asks for it, and the reason.
    """
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
