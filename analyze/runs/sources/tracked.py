"""Rebuilds the run folder of a run from its record on Weights & Biases."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from analyze.runs.format import CONFIG, SUMMARY, finite, write_history, write_json

RESOLVED = "resolved"  # the key in W&B's config that holds the rest of config.json
FINISHED = "finished"
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")  # as W&B spells them in JSON


@dataclass(frozen=True)
class Tracked:
    """The record of a run on W&B.

    Attributes:
        run: Its address: ENTITY/PROJECT/ID, or the offline folder.
        title: Its name on W&B.
        config: Its options and, under `resolved`, the rest of config.json.
        history: The logged rows. A resumed run may have an epoch more than once.
        summary: The final metrics, and the last values logged.
        state: `finished`, or another state of W&B: running, crashed, failed, killed.
    """

    run: str
    title: str
    config: Mapping[str, Any]
    history: Iterable[Mapping[str, Any]]
    summary: Mapping[str, Any]
    state: str

    @property
    def name(self) -> str:
        """The name of the original run folder."""
        name = PurePosixPath(str(self._resolved.get("name") or self.title)).name
        return "_" if name in ("", "..") else name

    @property
    def _resolved(self) -> Mapping[str, Any]:
        resolved = self.config.get(RESOLVED)
        return resolved if isinstance(resolved, Mapping) else {}

    def write(self, parent: Path) -> Path:
        """Writes the run folder without predictions, and returns it."""
        options = {k: v for k, v in _logged_values(self.config).items() if k != RESOLVED}
        tracked = {"run": self.run, "state": self.state}
        folder = parent / self.name
        folder.mkdir(parents=True)
        described = {"config": options, **self._resolved, "wandb": tracked}
        write_json(folder / CONFIG, described)
        write_history(folder, as_trained(self.history))
        # A summary without a status belongs to an interrupted run.
        if self.state == FINISHED and "status" in self.summary:
            write_json(folder / SUMMARY, _logged_values(self.summary))
        return folder


def as_trained(history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The epochs of a history, each once: epochs trained again after a resume replace the first.

    Example:
        >>> as_trained([{"epoch": 1, "_step": 0}, {"epoch": 2}, {"epoch": 2, "lr": "NaN"}])
        [{'epoch': 1}, {'epoch': 2, 'lr': None}]
    """
    epochs: list[dict[str, Any]] = []
    for row in map(_logged_values, history):
        if isinstance(epoch := row.get("epoch"), int | float):
            epochs = [earlier for earlier in epochs if earlier["epoch"] < epoch]
            epochs.append(row)
    return epochs


def _logged_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The logged values without W&B's own fields, with None for non-finite ones, as in JSON."""
    logged = {name: value for name, value in values.items() if not name.startswith("_")}
    return {
        name: None if value in _NOT_FINITE else finite(value) for name, value in logged.items()
    }
