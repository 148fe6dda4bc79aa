"""A run as Weights & Biases knows it, written down as the run folder that it was."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from analyze.runs.format import CONFIG, SUMMARY, finite, write_history, write_json

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
        write_json(folder / CONFIG, described)
        write_history(folder, as_trained(self.history))
        # A summary without a status is of a run that was stopped, to be continued.
        if self.state == FINISHED and "status" in self.summary:
            write_json(folder / SUMMARY, _ours(self.summary))
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
    said = {name: value for name, value in values.items() if not name.startswith("_")}
    return {name: None if value in _NOT_FINITE else finite(value) for name, value in said.items()}
