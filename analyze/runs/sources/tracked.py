"""A run as Weights & Biases knows it, written down as the run folder that it was."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

PREDICTIONS = "predictions.npz"
RESOLVED = "resolved"  # beside the options in W&B's config: the rest of config.json
FINISHED = "finished"
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")  # as W&B spells them in JSON


@dataclass(frozen=True)
class Tracked:
    """What W&B knows of a run.

    Attributes:
        run: Where it is to be found: ENTITY/PROJECT/ID, or the offline folder.
        title: What W&B calls it.
        config: Its options, and under `resolved` what else config.json says.
        history: What was logged, row by row; a run that was resumed has epochs more than once.
        summary: The final metrics, and the last of the logged ones.
        state: `finished`, or what W&B calls it instead: running, crashed, failed, killed.
    """

    run: str
    title: str
    config: Mapping[str, Any]
    history: Iterable[Mapping[str, Any]]
    summary: Mapping[str, Any]
    state: str

    @property
    def name(self) -> str:
        """The name of the run's folder, where it was trained."""
        name = PurePosixPath(str(self._resolved.get("name") or self.title)).name
        return "_" if name in ("", "..") else name

    @property
    def _resolved(self) -> Mapping[str, Any]:
        resolved = self.config.get(RESOLVED)
        return resolved if isinstance(resolved, Mapping) else {}

    def write(self, parent: Path) -> Path:
        """Makes the run's folder, but for the predictions; returns it."""
        options = {k: v for k, v in _ours(self.config).items() if k != RESOLVED}
        tracked = {"run": self.run, "state": self.state}
        folder = parent / self.name
        folder.mkdir(parents=True)
        described = {"config": options, **self._resolved, "wandb": tracked}
        (folder / "config.json").write_text(json.dumps(described, indent=2), encoding="utf-8")
        lines = [json.dumps(row) + "\n" for row in as_trained(self.history)]
        (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
        # A summary without a status is of a run that was stopped, to be continued.
        if self.state == FINISHED and "status" in self.summary:
            summary = json.dumps(_ours(self.summary), indent=2)
            (folder / "summary.json").write_text(summary, encoding="utf-8")
        return folder


def as_trained(history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The epochs of a history, each once: what a resumed run trained again replaces the first.

    Example:
        >>> as_trained([{"epoch": 1, "_step": 0}, {"epoch": 2}, {"epoch": 2, "lr": "NaN"}])
        [{'epoch': 1}, {'epoch': 2, 'lr': None}]
    """
    epochs: list[dict[str, Any]] = []
    for row in map(_ours, history):
        if isinstance(epoch := row.get("epoch"), int | float):
            epochs = [earlier for earlier in epochs if earlier["epoch"] < epoch]
            epochs.append(row)
    return epochs


def _ours(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a run said, without what W&B added to it; null for what is not finite, as in JSON."""
    return {name: _finite(value) for name, value in values.items() if not name.startswith("_")}


def _finite(value: object) -> object:
    lost = value in _NOT_FINITE if isinstance(value, str) else _is_infinite(value)
    return None if lost else value


def _is_infinite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
