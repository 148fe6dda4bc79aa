"""``python -m experiments evaluate``: the logits of finished runs on other images."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyze.errors import UsageError, writing
from analyze.runs.format import CONFIG, EVALUATIONS, SUMMARY, WEIGHTS, read_json
from experiments.catalogue import DATASETS
from experiments.config import RunConfig
from experiments.data import datasets
from experiments.data.datasets import Data, Source
from experiments.evaluation import others
from experiments.evaluation.others import Others, What
from experiments.machine import hardware, locks
from experiments.machine.fingerprint import fingerprint
from experiments.machine.progress import Progress
from experiments.training import criterion, models

Floats = NDArray[np.float32]

_BATCH = 500
_SIDES = {"digits": 8, "cifar10": 32, "cifar100": 32}  # of data sets that are not the user's own


def find_runs(paths: Sequence[str]) -> list[Path]:
    """The folders of finished runs at or below the paths.

    Raises:
        UsageError: if a path has none.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        below = sorted(summary.parent for summary in path.rglob(SUMMARY))
        finished = [folder for folder in below if _status(folder) == "finished"]
        if not finished:
            raise UsageError(f"{path}: no finished run in it")
        found |= dict.fromkeys(finished)
    return list(found)


def _place(folder: Path, what: What) -> Path:
    """The file of a run's logits on these images."""
    return folder / EVALUATIONS / f"{what.kind}-{what.name}.npz"


def _status(folder: Path) -> object:
    return (read_json(folder / SUMMARY) or {}).get("status")


def evaluate(folders: Sequence[Path], whats: Sequence[What], data_dir: Path) -> None:
    """Write the logits of every run on all of these images, except where they are written.

    Several processes may share the work: each run is evaluated by the one that locks it.

    Raises:
        UsageError: if a run does not fit the images, or a file cannot be read or written.
    """
    names = Counter(_place(Path(), what).name for what in whats)
    if len(names) < len(whats):
        twice = names.most_common(1)[0][0]
        raise UsageError(f"--on: two of these would be written to {twice}: rename a folder")
    hardware.keep_freed_memory()
    hardware.use_threads(0, 1)
    with Progress("evaluating", len(whats) * len(folders)) as progress:
        weights = {folder: fingerprint(_weights(folder)) for folder in folders}
        published = lru_cache(2)(datasets.published)
        for what in whats:
            # All runs on some images, then the next: the images are made once, and one set at a
            # time is in memory.
            images = _Made(what, data_dir, published)
            for folder in folders:
                with locks.alone(folder / EVALUATIONS / ".lock"):
                    described = _described(folder)
                    found = images.of(folder, described)
                    read = _own_reading(described) if found.targets is not None else None
                    key = f"{found.sha256()} {weights[folder]}"
                    key += f" {described['reading']}" if read else ""
                    if not _is_there(_place(folder, what), key):
                        network = models.restore(folder, described, str(folder))
                        arrays = _predicted(network, found, described)
                        if read:
                            arrays["log_probs"] = read(arrays["logits"])
                        arrays |= {"what": np.array(what.text), "key": np.array(key)}
                        _write(_place(folder, what), arrays)
                progress.advance(1)


class _Made:
    """The images of one kind, made once for all runs that take the same.

    Args:
        what: which images.
        data_dir: folder to which images are downloaded.
        published: gives the data set of a run.
    """

    def __init__(
        self,
        what: What,
        data_dir: Path,
        published: Callable[[RunConfig], tuple[Source, Tensor]],
    ) -> None:
        self.what, self.data_dir, self.published = what, data_dir, published
        self._made: dict[tuple[Any, ...], Others] = {}

    def of(self, folder: Path, described: dict[str, Any]) -> Others:
        """The images for a run, given the content of its config.json."""
        side, what = _side(folder, described), self.what
        of_data_set = what.kind == "corruption" or what.argument == others.HELD_OUT
        config = _data_options(described, side) if of_data_set else None
        key = (side, len(described["mean"]), tuple(described["classes"]), config)
        if key not in self._made:
            self._made[key] = self._make(folder, described, key)
        return self._made[key]

    def _make(self, folder: Path, described: dict[str, Any], key: tuple[Any, ...]) -> Others:
        side, channels, classes, config = key
        what, options = self.what, described["config"]
        if config is None:
            if what.argument == options["dataset"]:
                raise UsageError(f"--on {what.text}: {folder} has these images' classes itself")
            return others.load(what, side, channels, classes, self.data_dir)
        source, held_out = self.published(config)
        if what.kind == "corruption":
            test = source.test
            parts = (tensor.numpy() for tensor in (test.pixels, test.targets, test.index))
            return others.corrupted(what, Others(*parts))
        if not len(held_out):
            raise UsageError(f"--on {what.text}: {folder} was trained with all classes")
        return Others(held_out.numpy(), None, np.arange(len(held_out)))


def _data_options(described: dict[str, Any], side: int) -> RunConfig:
    """Those options of a run that say which test images it has."""
    options = described["config"]
    names = ("dataset", "data_dir", "hold_out_classes")
    chosen = {name: options[name] for name in names if name in options}
    if DATASETS[options["dataset"]].own:
        chosen["image_size"] = side
    return RunConfig.from_options(chosen)


def _own_reading(described: dict[str, Any]) -> Callable[[Floats], Floats] | None:
    """Reads logits as the loss of a run does; None if that is by softmax or not at all."""
    if described.get("reading") in ("softmax", None):
        return None
    config = RunConfig.from_options(described["config"])
    loss = criterion.create(config, _data(replace(config, loss="ce")))
    if any(True for _ in loss.parameters()):
        return None  # what such a loss has learnt is not kept

    def read(logits: Floats) -> Floats:
        rows = loss.log_probs(torch.from_numpy(logits))
        assert rows is not None
        return rows.float().numpy()

    return read


@lru_cache(2)
def _data(config: RunConfig) -> Data:
    return datasets.load(config)


def _weights(folder: Path) -> Path:
    if not (folder / WEIGHTS).is_file():
        raise UsageError(f"{folder}: no {WEIGHTS}, so it cannot be evaluated")
    return folder / WEIGHTS


def _described(folder: Path) -> dict[str, Any]:
    described = read_json(folder / CONFIG)
    if described is None or not {"config", "classes", "mean", "std"} <= set(described):
        raise UsageError(f"{folder}: its {CONFIG} does not describe a run of this program")
    return described


def _side(folder: Path, described: dict[str, Any]) -> int:
    options = described["config"]
    side = _SIDES.get(options["dataset"], options.get("image_size"))
    if not isinstance(side, int):
        raise UsageError(f"{folder}: its {CONFIG} does not say how large its images are")
    return side


@torch.no_grad()
def _predicted(
    network: torch.nn.Module, images: Others, described: dict[str, Any]
) -> dict[str, NDArray[Any]]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    mean, std = (
        torch.tensor(described[name], device=device).view(1, -1, 1, 1) * 255
        for name in ("mean", "std")
    )
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(described.get("precision", "no"))
    outputs = []
    for batch in torch.split(torch.from_numpy(images.pixels), _BATCH):
        with torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
            inputs = (batch.to(device).float() - mean) / std
            outputs.append(
                network(inputs.contiguous(memory_format=torch.channels_last)).float().cpu()
            )
    logits = torch.cat(outputs).numpy()
    arrays = {"logits": logits, "index": images.index}
    return arrays if images.targets is None else arrays | {"targets": images.targets}


def _is_there(place: Path, key: str) -> bool:
    try:
        with np.load(place, allow_pickle=False) as archive:
            return str(archive["key"]) == key
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False


def _write(place: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f".{place.name}.{os.getpid()}")
        with partial.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        partial.replace(place)
