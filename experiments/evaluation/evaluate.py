"""``python -m experiments evaluate``: the logits of finished runs on other images."""

from __future__ import annotations

import os
import pkgutil
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from analyze.errors import UsageError, writing
from analyze.runs.format import CONFIG, EVALUATIONS, SUMMARY, WEIGHTS, read_json
from experiments.catalogue import DATASETS
from experiments.config import RunConfig
from experiments.evaluation import others
from experiments.evaluation.others import Others, What
from experiments.machine import hardware, locks
from experiments.machine.fingerprint import fingerprint
from experiments.machine.progress import Progress
from experiments.training import models

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
        test = cache(_test_images)
        for what in whats:
            # All runs on some images, then the next: the images are made once, and one set at a
            # time is in memory.
            images = _Made(what, data_dir, test)
            for folder in folders:
                with locks.alone(folder / EVALUATIONS / ".lock"):
                    described = _described(folder)
                    found = images.of(folder, described)
                    key = f"{found.sha256()} {weights[folder]}"
                    if not _is_there(_place(folder, what), key):
                        network = models.restore(folder, described, str(folder))
                        arrays = _predicted(network, found, described)
                        arrays |= {"what": np.array(what.text), "key": np.array(key)}
                        _write(_place(folder, what), arrays)
                progress.advance(1)


class _Made:
    """The images of one kind, made once for all runs that take the same.

    Args:
        what: which images.
        data_dir: folder to which images are downloaded.
        test: gives the test images of a data set.
    """

    def __init__(
        self, what: What, data_dir: Path, test: Callable[[str, Path, int], Others]
    ) -> None:
        self.what, self.data_dir, self.test = what, data_dir, test
        self._made: dict[tuple[Any, ...], Others] = {}

    def of(self, folder: Path, described: dict[str, Any]) -> Others:
        """The images for a run, given the content of its config.json."""
        options, side = described["config"], _side(folder, described)
        key: tuple[Any, ...] = (side, len(described["mean"]), tuple(described["classes"]))
        if self.what.kind == "corruption":
            source = (options["dataset"], Path(options.get("data_dir", "data")), side)
            key = (*key, *source)
            if key not in self._made:
                self._made[key] = others.corrupted(self.what, self.test(*source))
        elif key not in self._made:
            side, channels, classes = key
            self._made[key] = others.load(self.what, side, channels, classes, self.data_dir)
        return self._made[key]


def _test_images(dataset: str, data_dir: Path, side: int) -> Others:
    """The test images of a data set, in its order."""
    options: dict[str, Any] = {"dataset": dataset, "data_dir": data_dir}
    if DATASETS[dataset].own:
        options["image_size"] = side
    source = pkgutil.resolve_name(DATASETS[dataset].load)(RunConfig.from_options(options))
    images = source.test
    return Others(images.pixels.numpy(), images.targets.numpy(), images.index.numpy())


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
