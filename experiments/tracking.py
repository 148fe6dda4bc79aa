"""The same numbers to Weights & Biases, which never stops, delays or questions a run."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from experiments.config import RunConfig
from experiments.errors import first_line

_PATIENCE = 10.0  # seconds, for a server that does not answer
_LINGER = 10.0  # seconds that W&B's own process may take to end after the run's


def start(config: RunConfig, folder: Path, resolved: Mapping[str, Any]) -> Tracker:
    """Begin or continue the W&B run of a run folder.

    ``auto`` is online where an API key is configured, else offline; a server that cannot be
    reached costs ten seconds and one warning, and the run goes on offline.

    Args:
        config: of the run. In W&B's config its options are flat, as sweeps need them.
        folder: of the run.
        resolved: what config.json says beside the options: one nested entry of W&B's config, so
            that a run can be read from W&B as from its folder.
    """
    mode: str = config.wandb
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
    if mode == "disabled":
        return Tracker(None)
    try:
        return Tracker(_init(config, folder, mode, resolved))
    except Exception as error:  # whatever is wrong with W&B is no reason not to train
        warn = f"W&B does not work ({first_line(error)})"
    try:
        import wandb

        wandb.teardown()  # forget the attempt, which keeps the run's id in use
        tracker = Tracker(_init(config, folder, "offline", resolved))
        print(f"{warn}; logging offline to {folder / 'wandb'}", flush=True)
        return tracker
    except Exception:
        print(f"{warn}; going on without", flush=True)
        return Tracker(None)


def _kill_service() -> None:
    """What W&B's client waits for without a limit; it goes on when that is gone."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if child.name().startswith("wandb-core"):
                child.kill()


def _end_service_with_this_process() -> None:
    """W&B's client waits for its service at exit, where one has been seen to hang."""

    def end() -> None:
        threading.main_thread().join()
        time.sleep(_LINGER)
        _kill_service()

    threading.Thread(target=end, daemon=True).start()


def _has_key() -> bool:
    """Whether an API key is configured, wherever W&B looks for one; asks nobody, nor a server."""
    import wandb

    wandb.setup(wandb.Settings(silent=True))  # else it asks the server whose key it is
    try:
        return wandb.login(prompt=False, verify=False)
    except wandb.errors.Error:
        return True  # no key of the right form: going online says so


def _init(
    config: RunConfig,
    folder: Path,
    mode: Any,  # noqa: ANN401 (wandb imports late)
    resolved: Mapping[str, Any],
) -> Any:  # noqa: ANN401
    import wandb

    # Offline runs have no business with the network, error reports included.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    without_seed = {k: v for k, v in config.identity().items() if k != "seed"}
    group = config.group or f"{config.study}/{config.loss}/{_digest(without_seed)}"
    run = wandb.init(
        project=config.project,
        group=group[:128],
        name=f"{config.loss}-s{config.seed}",
        id=f"{config.hash}-{_digest(config.study + '/' + config.run_name)}",
        job_type="train",
        tags=[tag for tag in config.tags.split(",") if tag] or None,
        config=config.to_dict() | {"resolved": dict(resolved)},
        dir=folder,
        mode=mode,
        resume="allow" if mode == "online" else None,
        reinit="finish_previous",  # else a run that W&B failed would get the next one's metrics
        settings=wandb.Settings(
            init_timeout=_PATIENCE,
            finish_timeout=_PATIENCE + 5,  # kept by W&B's service, if that does not hang
            silent=True,
            console="off",
            disable_git=True,
            x_disable_stats=True,
        ),
    )
    _end_service_with_this_process()
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
        """Summary and predictions, and the end; waits about twenty seconds at most."""
        with self._never_in_the_way():
            if self._run:
                import wandb

                self._run.summary.update(dict(summary))
                if predictions.exists():
                    self._keep(predictions)
                    artifact = wandb.Artifact(f"predictions-{self._run.id}", type="predictions")
                    # "immutable", and so not copied: the run folder only ever replaces the file
                    artifact.add_file(str(predictions), policy="immutable", skip_cache=True)
                    self._run.log_artifact(artifact)
        self.stop()

    def _keep(self, predictions: Path) -> None:
        """The predictions in W&B's folder too, at no cost, so that it can be moved elsewhere.

        An artifact's files stay where they were. A file of the run lies in W&B's folder, and is
        uploaded from there by ``wandb sync``.
        """
        kept = Path(self._run.dir) / predictions.name
        kept.unlink(missing_ok=True)
        try:
            kept.hardlink_to(predictions)
        except OSError:  # another file system, or one without links
            shutil.copyfile(predictions, kept)
        if self._run.offline:
            self._run.save(str(kept), base_path=self._run.dir, policy="end")

    def stop(self) -> None:
        """The end, for now: a run that was stopped is continued under the same id."""
        with self._never_in_the_way():
            if self._run:
                self._run.finish()

    @contextlib.contextmanager
    def _never_in_the_way(self) -> Iterator[None]:
        """One warning, and no more W&B in this run, where its client fails or waits for ever."""
        limit = threading.Timer(_PATIENCE + 5 + _LINGER, _kill_service)
        limit.daemon = True
        limit.start()
        try:
            yield
        except Exception as error:
            print(f"W&B does not work ({first_line(error)}); going on without", flush=True)
            self._run = None
        finally:
            limit.cancel()
