"""The run folder: the self-contained record of a run, and the source of truth about it.

config.json        the options as resolved, the code's commit, versions, hardware
metrics.jsonl      a line per epoch
predictions.npz    logits, targets and indices of the validation and test images
checkpoints/       the newest two
model.safetensors  the final weights
summary.json       written last: its presence means that the run is finished
log.txt            what the run printed, where a study trained it
failure.json       why it failed, by the study
.lock              held by the process that trains it
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from analyze.errors import UsageError

CONFIG, METRICS, SUMMARY = "config.json", "metrics.jsonl", "summary.json"
PREDICTIONS, WEIGHTS, CHECKPOINTS = "predictions.npz", "model.safetensors", "checkpoints"
LOG, FAILURE, LOCK = "log.txt", "failure.json", ".lock"


def load_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        OSError: It cannot be read.
        ValueError: It holds none.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError("must hold one JSON object")
    return content


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none, or the file is damaged.

    Raises:
        UsageError: It cannot be read, so that nothing is known of it.
    """
    try:
        return load_json(path)
    except (FileNotFoundError, ValueError):
        return None
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror}): make it readable") from error


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The epochs in metrics.jsonl, without lines that a kill cut short; [] where there is none.

    Raises:
        UsageError: It cannot be read.
    """
    epochs = []
    try:
        lines = _lines(folder)
    except OSError as error:
        reason = f"cannot read {folder / METRICS} ({error.strerror}): make it readable"
        raise UsageError(reason) from error
    for line in lines:
        try:
            epoch = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(epoch, dict):
            epochs.append(epoch)
    return epochs


def count_epochs(folder: Path) -> int:
    """How many epochs metrics.jsonl tells of; 0 where it cannot be read. For display only."""
    try:
        return sum(line.endswith(b"\n") for line in _lines(folder))
    except OSError:
        return 0


def _lines(folder: Path) -> list[bytes]:
    try:
        return (folder / METRICS).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []


def to_json(content: Mapping[str, Any]) -> str:
    """The text of a JSON file."""
    return json.dumps(finite(content), indent=2) + "\n"


def to_lines(epochs: Iterable[Mapping[str, Any]]) -> str:
    """The text of metrics.jsonl."""
    return "".join(json.dumps(finite(epoch)) + "\n" for epoch in epochs)


def finite(value: Any) -> Any:  # noqa: ANN401
    """The value as JSON has it: null for NaN and infinities, at any depth."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(to_json(content), encoding="utf-8")


def write_history(folder: Path, epochs: Iterable[Mapping[str, Any]]) -> None:
    """Writes metrics.jsonl anew; see `replacing`."""
    with replacing(folder / METRICS) as temporary:
        temporary.write_text(to_lines(epochs), encoding="utf-8")


def append_epoch(folder: Path, epoch: Mapping[str, Any]) -> None:
    """Adds a line to metrics.jsonl, and waits until it is on the disk."""
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(to_lines([epoch]))
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, whose file takes the other's place at the end.

    The file is complete or absent at any moment, and on the disk when the block has ended.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    yield temporary
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
