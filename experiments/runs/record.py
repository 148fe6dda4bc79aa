"""Write a run folder. `analyze.runs.format` lists its files."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from analyze.errors import UsageError
from analyze.runs import format as files
from experiments.config import RunConfig
from experiments.machine import locks
from experiments.options import neutral_values
from experiments.runs import checkpoint, loss_source, provenance, tensors, tracking

# Entries of config.json on the data, which must be the same when a run resumes.
_DATA = ("images_sha256", "sizes", "classes", "mean", "std", "labels", "class_weights", "teacher")
# A folder with one of these is a run's folder. A run, or a study for it, writes them first.
_TRACES = {files.CONFIG, files.LOG, files.FAILURE}


class Record:
    """A run folder that this process alone writes to.

    Args:
        config: options of the run.
        lock: lock on the folder, if the caller holds it already.

    Raises:
        UsageError: if the folder cannot be written, if another process trains this run, or if the
            folder holds a run with other options.
    """

    def __init__(self, config: RunConfig, lock: IO[str] | None = None) -> None:
        self.config, self.folder = config, config.folder
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = None if lock else locks.acquire(self.folder)
        except OSError as error:
            raise UsageError(
                f"cannot write the run folder {self.folder} ({error.strerror}): "
                "name another with --output"
            ) from error
        self._tracker: tracking.Tracker | None = None
        try:
            if config.fresh:
                self._clear()
            checkpoint.clean(self.checkpoints)
            self._check_whole()
            self._check_same_run()
            self._check_same_loss()
        except OSError as error:
            self.close()
            place, reason = error.filename or self.folder, error.strerror
            raise UsageError(
                f"cannot use {place} ({reason}): make it readable and writable, or give this run "
                "another --name"
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the folder, unless the caller holds its lock."""
        if self._lock:
            self._lock.close()

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / files.CHECKPOINTS

    def summary(self) -> dict[str, Any] | None:
        """The summary of a run that has ended, else None."""
        return files.read_json(self.folder / files.SUMMARY)

    def _clear(self) -> None:
        entries = [path for path in self.folder.iterdir() if path.name != files.LOCK]
        if entries and not _TRACES & {path.name for path in entries}:
            raise UsageError(
                f"{self.folder} is not empty and holds no run, so --fresh does not delete it: "
                "name another with --name or --output"
            )
        # Delete the traces last, so that a --fresh that is killed can be repeated.
        for path in sorted(entries, key=lambda path: path.name in _TRACES):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _check_whole(self) -> None:
        """Refuse a damaged folder: treating it as a new run would lose its work."""
        begun, config = checkpoint.exists(self.checkpoints), self.folder / files.CONFIG
        # With checkpoints, the summary can be written again from the last one.
        needed = [config] if begun else [config, self.folder / files.SUMMARY]
        for path in needed:
            if files.read_json(path) is None and path.exists():
                raise UsageError(f"{path} is damaged: restore it, or start anew with --fresh")
        if begun and not config.exists():
            raise UsageError(
                f"{self.folder} has checkpoints, and no config.json that says of what: restore "
                "it, or give this run another --name"
            )

    def _check_same_run(self) -> None:
        recorded = files.read_json(self.folder / files.CONFIG)
        if recorded is None or recorded.get("hash") in self.config.hashes:
            return
        changes = self.config.differences(recorded)
        raise UsageError(
            f"{self.folder} holds a run with other options ({', '.join(changes)}): "
            "give this one another --name, or start anew with --fresh"
        )

    def _check_same_loss(self) -> None:
        """Refuse a custom loss that has been edited since the run was trained, even in part."""
        recorded = files.read_json(self.folder / files.CONFIG) or {}
        changed = loss_source.changed(self.config.loss, recorded)
        if changed and (self.summary() or checkpoint.exists(self.checkpoints)):
            raise UsageError(
                f"{self.folder} was trained with another version of {', '.join(changed)}: "
                "give this one another --name, or start anew with --fresh"
            )

    def _check_same_data(self, recorded: Mapping[str, Any], resolved: Mapping[str, Any]) -> None:
        """Refuse data that have changed under the same name since the last checkpoint."""
        now = json.loads(json.dumps(resolved))  # tuples become lists, as in config.json
        changed = [name for name in _DATA if name in recorded and recorded[name] != now.get(name)]
        if changed:
            raise UsageError(
                f"{self.folder} was begun with other data (changed: {', '.join(changed)}): "
                "give it those again, or start anew with --fresh"
            )

    def begin(
        self, resolved: Mapping[str, Any], state: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Write config.json and start logging to W&B.

        Args:
            resolved: what the options resolve to: device, precision, processes, sizes, ...
            state: state of the checkpoint that the run continues from. Later metrics are dropped.

        Returns:
            Differences from the original environment that break bit-for-bit reproducibility.

        Raises:
            UsageError: if the run began with other data under the same options, or if metrics of
                trained epochs are missing.
        """
        if state and state["hash"] not in self.config.hashes:
            raise UsageError(f"{self.checkpoints} is of a run with other options: use --fresh")
        begun = files.read_json(self.folder / files.CONFIG) if state else None
        self._check_same_data(begun or {}, resolved)
        epochs = self._rewind(state["epoch"] if state else 0)
        described = {
            "name": self.config.run_name,
            **self._identity(),
            **resolved,
            "loss_sources": loss_source.fingerprints(self.config.loss) or None,
            "commit": provenance.commit(),
            "versions": provenance.versions(),
        }
        begun = begun or described
        before, now = _circumstances(begun), _circumstances(described)
        changes = [f"{key} {before[key]} -> {now[key]}" for key in now if before[key] != now[key]]
        described["changes"] = [*begun.get("changes", []), *changes]
        files.write_json(
            self.folder / files.CONFIG, {"config": self.config.to_dict(), **described}
        )
        self._tracker = tracking.start(self.config, self.folder, described)
        self._tracker.retell(epochs)
        return changes

    def _identity(self) -> dict[str, Any]:
        """What identifies this training run; a resumed run keeps it.

        ``instance`` tells two trainings with the same options apart. ``bookkeeping`` lists the
        options that do not affect what the run learns, for the comparison of runs.
        """
        recorded = files.read_json(self.folder / files.CONFIG) or {}
        bookkeeping = self.config.unlearned()
        return {
            "hash": recorded.get("hash", self.config.hash),
            "instance": str(recorded.get("instance") or secrets.token_hex(4)),
            "images": None if "data_dir" in bookkeeping else self.config.images[0],
            "bookkeeping": bookkeeping,
            "neutral": neutral_values() or None,
        }

    def _rewind(self, epoch: int) -> list[dict[str, Any]]:
        """Keep the metrics of the first ``epoch`` epochs. Later epochs are trained again.

        Returns:
            The metrics that are kept, one entry per epoch.

        Raises:
            UsageError: if some of them are missing or cannot be read.
        """
        recorded = self._epochs()
        missing = [str(number) for number in range(1, epoch + 1) if number not in recorded]
        if missing:
            raise UsageError(
                f"{self.folder / files.METRICS} lacks epochs that the checkpoint has trained "
                f"({', '.join(missing)}): restore it, or start anew with --fresh"
            )
        kept = [recorded[number] for number in range(1, epoch + 1)]
        if recorded:
            files.write_history(self.folder, kept)
        return kept

    def _epochs(self) -> dict[int, dict[str, Any]]:
        """The metrics in metrics.jsonl, by epoch."""
        history = files.read_history(self.folder)
        return {row["epoch"]: row for row in history if isinstance(row.get("epoch"), int)}

    def tell_sweep(self) -> None:
        """Log a run that has ended to W&B again, for a sweep that waits for its metrics."""
        described = files.read_json(self.folder / files.CONFIG)
        summary = self.summary()
        if described is None or summary is None or not tracking.in_sweep():
            return
        described.pop("config", None)
        try:
            epochs = self._epochs()
        except UsageError as error:  # unreadable metrics do not undo a finished run
            epochs = {}
            print(f"{error}: W&B is told the summary alone", flush=True)
        tracker = tracking.start(self.config, self.folder, described)
        tracker.retell(epochs.values())
        tracker.finish(summary, self.folder / files.PREDICTIONS)

    def epoch(self, metrics: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl, sync it, and log it to W&B."""
        files.append_epoch(self.folder, metrics)
        if self._tracker:
            self._tracker.log(metrics)

    def finish(
        self,
        summary: Mapping[str, Any],
        weights: Mapping[str, Mapping[str, Tensor]],
        predictions: Mapping[str, NDArray[Any]],
    ) -> None:
        """Write weights by file, predictions and finally summary.json; then end the W&B run."""
        # summary.json comes last: it marks the run as ended.
        for name, state in weights.items():
            with files.replacing(self.folder / name) as temporary:
                tensors.save(state, temporary)
        archive = self.folder / files.PREDICTIONS
        if predictions:
            with files.replacing(archive) as temporary, temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **predictions)
        files.write_json(self.folder / files.SUMMARY, summary)
        if self._tracker:
            self._tracker.finish(files.finite(summary), archive)

    def stop(self) -> None:
        """End the W&B run of a run that was stopped."""
        if self._tracker:
            self._tracker.stop()


def _circumstances(described: Mapping[str, Any]) -> dict[str, Any]:
    """The environment on which the bits of a result depend, besides options and data."""
    hardware, versions = described.get("hardware", {}), described.get("versions", {})
    names = ("device", "precision", "processes", "threads")
    return (
        {name: described.get(name) for name in names}
        | {name: hardware.get(name) for name in ("cpu", "gpu")}
        | {"torch": versions.get("torch")}
    )
