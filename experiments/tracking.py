"""The same numbers to Weights & Biases, which never stops, delays or questions a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.config import RunConfig

_PATIENCE = 10.0  # seconds, for a server that does not answer


def start(config: RunConfig, folder: Path) -> Tracker:
    """Begin or continue the W&B run of a run folder.

    ``auto`` is online where an API key is configured, else offline; a server that cannot be
    reached costs ten seconds and one warning, and the run goes on offline.
    """
    mode: str = config.wandb
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
    if mode == "disabled":
        return Tracker(None)
    try:
        return Tracker(_init(config, folder, mode))
    except Exception as error:  # whatever is wrong with W&B is no reason not to train
        warn = f"W&B does not work ({_first_line(error)})"
    try:
        import wandb

        wandb.teardown()  # forget the attempt, which keeps the run's id in use
        tracker = Tracker(_init(config, folder, "offline"))
        print(f"{warn}; logging offline to {folder / 'wandb'}", flush=True)
        return tracker
    except Exception:
        print(f"{warn}; going on without", flush=True)
        return Tracker(None)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _has_key() -> bool:
    """Whether an API key is configured, by environment or netrc; asks nobody."""
    from requests.utils import get_netrc_auth

    base_url = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    return bool(os.environ.get("WANDB_API_KEY") or get_netrc_auth(base_url))


def _init(config: RunConfig, folder: Path, mode: Any) -> Any:  # noqa: ANN401 (wandb imports late)
    import wandb

    # Offline runs have no business with the network, error reports included.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    options = config.to_dict()
    without_seed = {k: v for k, v in config.identity().items() if k != "seed"}
    group = config.group or f"{config.study}/{config.loss}/{_digest(without_seed)}"
    run = wandb.init(
        project=config.project,
        group=group[:128],
        name=f"{config.loss}-s{config.seed}",
        id=f"{config.hash}-{_digest(config.study + '/' + config.run_name)}",
        job_type="train",
        tags=[tag for tag in config.tags.split(",") if tag] or None,
        config=options,
        dir=folder,
        mode=mode,
        resume="allow" if mode == "online" else None,
        settings=wandb.Settings(
            init_timeout=_PATIENCE,
            finish_timeout=_PATIENCE + 5,
            silent=True,
            console="off",
            disable_git=True,
            x_disable_stats=True,
        ),
    )
    for metric in ("train/*", "val/*", "lr", "images_per_second", "seconds"):
        run.define_metric(metric, step_metric="epoch")
    return run


def _digest(value: object) -> str:
    import hashlib
    import json

    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


class Tracker:
    """A W&B run, or nothing at all where W&B is disabled."""

    def __init__(self, run: Any) -> None:  # noqa: ANN401 (wandb imports late)
        self._run = run

    def log(self, metrics: Mapping[str, Any]) -> None:
        """The metrics of an epoch, under their flat names."""
        with self._never_in_the_way():
            if self._run:
                self._run.log(dict(metrics))

    def finish(self, summary: Mapping[str, Any], predictions: Path) -> None:
        """Summary and predictions, and the end; waits fifteen seconds at most for the server."""
        with self._never_in_the_way():
            if self._run:
                import wandb

                self._run.summary.update(dict(summary))
                if predictions.exists():
                    artifact = wandb.Artifact(f"predictions-{self._run.id}", type="predictions")
                    artifact.add_file(str(predictions))
                    self._run.log_artifact(artifact)
        self.stop()

    def stop(self) -> None:
        """The end, for now: a run that was stopped is continued under the same id."""
        with self._never_in_the_way():
            if self._run:
                self._run.finish()

    @contextlib.contextmanager
    def _never_in_the_way(self) -> Iterator[None]:
        """One warning, and no more W&B in this run, where its client fails."""
        try:
            yield
        except Exception as error:
            print(f"W&B does not work ({_first_line(error)}); going on without", flush=True)
            self._run = None
