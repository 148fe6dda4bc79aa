"""Predict a split and score the predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from analyze.metrics import calibration
from experiments.data.datasets import Data, Images
from experiments.data.pipeline import Pipeline
from experiments.machine import distributed
from experiments.training.learner import Learner

# Evaluate at most 500 images at once, and at most four times as many as a training step does.
# Training also stores the activations for the backward pass, so four times as many fit.
_MAX_IMAGES, _MAX_SLICES = 500, 4


def pipeline(images: Images, dataset: Data, learner: Learner) -> Pipeline:
    """A pipeline without augmentation, for `predict`."""
    return Pipeline(images, dataset.mean, dataset.std, learner.accelerator.device)


@torch.no_grad()
def predict(
    learner: Learner, images: Pipeline, network: nn.Module | None = None
) -> NDArray[np.float32]:
    """Logits of all images of a split, in its order: float32, (N, C).

    Each image is evaluated once, by one process, with the BatchNorm statistics of the main
    process.

    Args:
        learner: the learner.
        images: the split.
        network: which of its networks; by default the one to evaluate.
    """
    learner.share_batchnorm()
    network = (network or learner.evaluated).eval()
    mine = distributed.rank_slice(learner.accelerator, images.positions)
    batches = torch.split(mine, min(_MAX_IMAGES, _MAX_SLICES * learner.slice_size))
    outputs: list[Tensor] = [network(images.clean(batch)).float() for batch in batches]
    rows = distributed.gathered(learner.accelerator, torch.cat(outputs), len(images))
    logits: NDArray[np.float32] = rows.cpu().numpy()
    return logits


def validate(logits: NDArray[np.float32], images: Images) -> dict[str, float]:
    """The validation metrics of an epoch; empty if the network has diverged.

    ``nll_ts`` is the NLL at the temperature fitted to these same logits. It estimates the
    refinement part of the NLL; what the temperature removes is calibration error.
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


def of_last_weights(
    learner: Learner, dataset: Data, images: dict[str, Pipeline]
) -> dict[str, float]:
    """With ``--ema``, the metrics of the weights after the last step; else {}."""
    if not learner.average:
        return {}
    splits = {"val": dataset.val, "test": dataset.test}
    found: dict[str, float] = {}
    for name, pipeline in images.items():
        values = validate(predict(learner, pipeline, learner.network), splits[name])
        found |= {key.replace("val/", f"last/{name}/"): value for key, value in values.items()}
    return found


def predictions(name: str, images: Images, logits: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """The logits, targets and indices of a split, as predictions.npz stores them."""
    return {
        f"{name}_logits": logits,
        f"{name}_targets": images.targets.numpy(),
        f"{name}_index": images.index.numpy(),
    }


def own_readings(
    learner: Learner, predicted: dict[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    """The log-probabilities that the loss reads from the logits, as predictions.npz stores them.

    Empty if the loss reads its outputs by softmax or not at all. Values that are not finite are
    left out with a warning: a run is not lost by a faulty ``log_probs``.
    """
    arrays = {}
    for name, logits in predicted.items():
        rows = learner.own_log_probs(logits)
        if rows is None:
            return {}
        if rows.shape != logits.shape or not np.isfinite(rows).all():
            reading = learner.criterion.reading
            print(f"log_probs ({reading}) is not finite for the {name} images: it is left out")
            return {}
        arrays[f"{name}_log_probs"] = rows
    return arrays


def score(arrays: dict[str, NDArray[Any]], dataset: Data) -> dict[str, Any]:
    """All metrics of a finished run: at T = 1, at the fitted T, and as the loss reads them."""
    val, test = ((arrays[f"{name}_logits"], arrays[f"{name}_targets"]) for name in ("val", "test"))
    own = arrays.get("test_log_probs")
    scores = calibration.evaluate(*val, *test, own)
    human = dataset.test_probabilities
    if human is not None:
        logits = arrays["test_logits"].astype(np.float64)
        readings = {"": logits, "_ts": logits / scores["temperature"], "_own": own}
        for suffix, rows in readings.items():
            if rows is not None:
                agreement = calibration.human_agreement(rows, human.numpy())
                scores |= {f"test/{name}{suffix}": value for name, value in agreement.items()}
    return scores
