"""The run folder: a self-contained record, and the only source of truth about a run.

config.json        resolved options, commit of the code, versions, hardware
metrics.jsonl      one line per epoch
predictions.npz    logits, targets and indices of the validation and test images; also their
                   log-probabilities if the loss reads the logits otherwise than by softmax, as
                   "reading" in config.json says
checkpoints/       the latest two checkpoints
model.safetensors  the final weights; with --ema their moving average
last.safetensors   with --ema, the weights after the last step
summary.json       written last: its presence marks the run as finished
log.txt            the run's output, if a study started it
failure.json       why the run failed, written by the study
evaluations/       what `python -m experiments evaluate` found on other images
.lock              held by the training process
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
LAST_WEIGHTS = "last.safetensors"
LOG, FAILURE, LOCK = "log.txt", "failure.json", ".lock"
EVALUATIONS, SCORED_EVALUATIONS = "evaluations", "scored.json"
# The input kinds, in config.json, of losses whose outputs have no scale that a softmax could read.
SCALELESS = ("scores", "cosines")


def load_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds no JSON object.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError("must hold one JSON object")
    return content


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if the file is missing or damaged.

    Raises:
        UsageError: The file exists but cannot be read.
    """
    try:
        return load_json(path)
    except (FileNotFoundError, ValueError):
        return None
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror}): make it readable") from error


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The epochs in metrics.jsonl; [] if the file is missing.

    Lines that a killed process left incomplete are skipped.

    Raises:
        UsageError: The file cannot be read.
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
    """The number of epochs in metrics.jsonl, for display; 0 if it cannot be read."""
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
    """The value with None for NaN and infinities at any depth: JSON has neither."""
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
    """Rewrites metrics.jsonl; see `replacing`."""
    with replacing(folder / METRICS) as temporary:
        temporary.write_text(to_lines(epochs), encoding="utf-8")


def append_epoch(folder: Path, epoch: Mapping[str, Any]) -> None:
    """Appends a line to metrics.jsonl and waits until it is on disk."""
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(to_lines([epoch]))
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path; at the end of the block its file replaces `path` atomically.

    Readers see the old file or the complete new one. The new one is on disk after the block.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    yield temporary
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Waits until a file, or the entries of a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
