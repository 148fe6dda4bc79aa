"""Run folders as the trainer leaves them, made up: for tests of what reads them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyze.metrics.calibration import evaluate

CONFIG: dict[str, Any] = {
    "loss": "ce",
    "model": "resnet20",
    "dataset": "cifar10",
    "data_dir": "data",
    "epochs": 2,
    "batch_size": 128,
    "lr": 0.1,
    "seed": 0,
    "split_seed": 0,
    "mixed_precision": "auto",
    "output": "runs",
    "study": "single",
    "name": "",
    "wandb": "disabled",
}


def logits_and_targets(
    rng: np.random.Generator, n: int, classes: int, *, signal: float = 3.0, scale: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores (n, classes) with noise 1 and `signal` on the target, times `scale`."""
    targets = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), targets] += signal
    return (scale * logits).astype(np.float32), targets


def predictions(
    seed: int, *, n: int = 400, classes: int = 10, signal: float = 3.0, scale: float = 1.0
) -> dict[str, NDArray[Any]]:
    """The arrays of predictions.npz: one test set for all seeds, other noise for each."""
    arrays: dict[str, NDArray[Any]] = {}
    for split, first in (("val", 0), ("test", 1)):
        shared = np.random.default_rng([first, n, classes])
        logits, targets = logits_and_targets(shared, n, classes, signal=signal)
        logits += np.random.default_rng([seed, first]).normal(scale=0.5, size=logits.shape)
        arrays |= {
            f"{split}_logits": (scale * logits).astype(np.float32),
            f"{split}_targets": targets,
            f"{split}_index": np.arange(n),
        }
    return arrays


def write_run(
    parent: Path,
    arrays: dict[str, NDArray[Any]] | None = None,
    *,
    status: str | None = "finished",
    input_kind: str = "logits",
    reading: str | None = None,
    **options: Any,
) -> Path:
    """Writes one run folder below `parent`; no summary.json where `status` is None."""
    config = CONFIG | options
    identity = json.dumps({k: v for k, v in config.items() if k != "output"}, sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    loss = config["loss"].replace(":", "-").replace("=", "_")
    folder = parent / f"{config['model']}-{loss}-s{config['seed']}-{digest}"
    folder.mkdir(parents=True)
    described = {
        "config": config,
        "hash": digest,
        "name": folder.name,
        "input_kind": input_kind,
        "precision": "no",
        "processes": 1,
        **({"reading": reading} if reading else {}),
        "commit": "0" * 40,
        "versions": {},
        "hardware": {},
    }
    (folder / "config.json").write_text(json.dumps(described))
    epochs = [
        {"epoch": e, "step": 10 * e, "train/loss": 1.0 / e, "val/accuracy": 0.5, "val/nll": None}
        for e in range(1, config["epochs"] + 1)
    ]
    lines = "".join(json.dumps(epoch) + "\n" for epoch in epochs)
    (folder / "metrics.jsonl").write_text(lines)
    if status is None:
        return folder
    summary: dict[str, Any] = {"status": status, "loss": config["loss"], "seconds": 12.5}
    if status == "diverged":
        summary |= {"diverged_step": 17}
    elif arrays is not None:
        np.savez(folder / "predictions.npz", **arrays)
        splits = [arrays[f"{s}_{kind}"] for s in ("val", "test") for kind in ("logits", "targets")]
        summary |= evaluate(*splits, arrays.get("test_log_probs"))
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def write_study(
    parent: Path, losses: dict[str, dict[str, float]], seeds: Iterable[int], **options: Any
) -> list[Path]:
    """A run for each loss and seed; `losses` maps a spec to arguments of `predictions`."""
    return [
        write_run(
            parent,
            predictions(seed, **arguments),  # type: ignore[arg-type]
            loss=loss,
            seed=seed,
            input_kind="scores" if loss.startswith("hinge") else "logits",
            **options,
        )
        for loss, arguments in losses.items()
        for seed in seeds
    ]
