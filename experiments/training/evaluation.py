"""Predictions of a network, and what they are worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyze.metrics import calibration
from experiments.data.datasets import Data, Images
from experiments.data.pipeline import Pipeline
from experiments.machine import distributed
from experiments.training.learner import Learner

# Images at once; and, since a training step has room for its share of a batch and for all that
# the backward pass needs, how many such shares.
_AT_ONCE, _SHARES = 500, 4


def pipeline(images: Images, dataset: Data, learner: Learner) -> Pipeline:
    """Images as they are, ready for `predict`."""
    return Pipeline(images, dataset.mean, dataset.std, learner.accelerator.device)


@torch.no_grad()
def predict(learner: Learner, images: Pipeline) -> NDArray[np.float32]:
    """Logits of all images of a split, in its order: float32, (N, C).

    Every image is computed once, by one process, with the main process's BatchNorm.
    """
    learner.share_batchnorm()
    learner.model.eval()
    mine = distributed.share(learner.accelerator, images.positions)
    batches = torch.split(mine, min(_AT_ONCE, _SHARES * learner.share_size))
    parts: list[Tensor] = [learner.network(images.clean(batch)).float() for batch in batches]
    rows = distributed.gathered(learner.accelerator, torch.cat(parts), len(images))
    logits: NDArray[np.float32] = rows.cpu().numpy()
    return logits


def validate(logits: NDArray[np.float32], images: Images) -> dict[str, float]:
    """The metrics of an epoch; none where the network has diverged.

    ``nll_ts`` is at the temperature that is best for these logits themselves: the part of NLL
    that no temperature takes away (refinement); the rest is calibration.
    """
    if not np.isfinite(logits).all():
        return {}
    targets = images.targets.numpy()
    values = calibration.metrics(logits, targets, names=("accuracy", "nll", "ece"))
    best = calibration.fit_temperature(logits, targets).value
    (values["nll_ts"],) = calibration.metrics(
        logits, targets, names=["nll"], temperature=best
    ).values()
    return {f"val/{name}": value for name, value in values.items()}


def predictions(name: str, images: Images, logits: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Logits with their labels and indices, as predictions.npz has them."""
    return {
        f"{name}_logits": logits,
        f"{name}_targets": images.targets.numpy(),
        f"{name}_index": images.index.numpy(),
    }


def score(arrays: dict[str, NDArray[Any]], dataset: Data) -> dict[str, Any]:
    """All metrics of a finished run, before and after the temperature fitted on validation."""
    names = ("val_logits", "val_targets", "test_logits", "test_targets")
    scores = calibration.evaluate(*(arrays[name] for name in names))
    human = dataset.test_probabilities
    if human is not None:
        logits = arrays["test_logits"].astype(np.float64)
        for suffix, temperature in (("", 1.0), ("_ts", scores["temperature"])):
            agreement = calibration.human_agreement(logits / temperature, human.numpy())
            scores |= {f"test/{name}{suffix}": value for name, value in agreement.items()}
    return scores
