"""Log runs to Weights & Biases, which must never stop or delay a run, nor prompt the user.

Each run has one W&B run. Its rows are the epochs: epoch e is step e - 1. A resumed run logs all
its epochs again. The W&B client drops rows that the server already has. An offline folder then
holds the whole run, so earlier offline folders are removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from experiments.config import RunConfig
from experiments.errors import one_line

_PROJECT = "resnet-losses"  # default if neither --project nor the W&B settings name one
# Environment variables by which W&B names and places a run.
_NAMING = [
    f"WANDB_{name}"
    for name in (
        *("PROJECT", "ENTITY", "NAME", "RUN_GROUP", "TAGS", "NOTES", "DIR", "MODE"),
        *("RUN_ID", "RESUME", "RESUME_FROM", "FORK_FROM", "JOB_TYPE"),
    )
]
_PATIENCE = 10.0  # seconds to wait for a server that does not answer
_LINGER = 10.0  # seconds that the W&B service may outlive the run


def start(config: RunConfig, folder: Path, described: Mapping[str, Any]) -> Tracker:
    """Begin or continue the W&B run of a run folder.

    ``auto`` follows $WANDB_MODE or the W&B settings file. Without these, the run is online if an
    API key is configured, and offline otherwise. W&B never prompts for a key. If W&B fails, the
    run is logged offline, with one warning. A server that does not answer fails after ten seconds.
    Names that W&B refuses are replaced by the defaults.

    Args:
        config: options of the run. They are flat in the W&B config, as sweeps need them.
        folder: folder of the run.
        described: the rest of config.json, as one nested entry of the W&B config. A run can thus
            be read from W&B as from its folder.
    """
    asked: str = os.environ.get("WANDB_MODE", "") if config.wandb == "auto" else config.wandb
    if asked == "disabled":  # do not even import wandb
        return Tracker(None)
    reason = ""
    for mode, names in ((asked, True), ("offline", True), ("offline", False)):
        try:
            run = _begin(config, folder, described, mode, names)
        except Exception as error:  # no failure of W&B may stop training
            reason = reason or one_line(error)
            _forget()
            continue
        if reason:
            project = "" if names else f", in the project {run.project}"
            place = Path(run.dir).parents[1]
            print(f"W&B does not work ({reason}); logging offline to {place}{project}", flush=True)
        return Tracker(run, folder)
    print(f"W&B does not work ({reason}); going on without", flush=True)
    return Tracker(None)


def in_sweep() -> bool:
    """Whether the agent of a W&B sweep started this process and waits for its metrics."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def _forget() -> None:
    """Discard a failed attempt, which would keep the run's id in use."""
    with contextlib.suppress(Exception):
        import wandb

        wandb.teardown()


def _kill_service() -> None:
    """Kill the W&B service. The client waits for it without a time limit."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if child.name().startswith("wandb-core"):
                child.kill()


def _end_service_with_this_process() -> None:
    """Kill the W&B service some time after the run: the client can hang on it at exit."""

    def end() -> None:
        threading.main_thread().join()
        time.sleep(_LINGER)
        _kill_service()

    threading.Thread(target=end, daemon=True).start()


def _has_key() -> bool:
    """Whether an API key is configured. Asks neither the user nor a server."""
    import wandb

    try:
        return wandb.login(prompt=False, verify=False)
    except wandb.errors.Error:
        return True  # a malformed key: going online reports it


@contextlib.contextmanager
def _without(names: Iterable[str]) -> Iterator[None]:
    """Hide environment variables in the context."""
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _begin(
    config: RunConfig, folder: Path, described: Mapping[str, Any], mode: str, names: bool
) -> Any:  # noqa: ANN401 (wandb imports late)
    """Begin a W&B run; None if W&B is disabled.

    Args:
        config: options of the run.
        folder: folder of the run.
        described: as in `start`.
        mode: mode of W&B; "" follows the settings of W&B.
        names: False uses the default names, whatever options and environment say.
    """
    texts = [folder.resolve(), *config.to_dict().values()]
    if any("\udc80" <= character <= "\udcff" for character in " ".join(map(str, texts))):
        raise ValueError("the locale has no name for a path or an option: set PYTHONUTF8=1")
    if not names:
        config = replace(config, project="", group="", tags="")
    with _without([] if names else _NAMING):
        import wandb

        # In silent mode, the client neither prompts for a key nor verifies it with a server.
        settings = wandb.setup(wandb.Settings(silent=True)).settings
        if not mode:
            online = settings.mode == "online"  # which is also the default
            mode = ("online" if _has_key() else "offline") if online else settings.mode
        return None if mode == "disabled" else _init(config, folder, described, mode, settings)


def _init(
    config: RunConfig,
    folder: Path,
    described: Mapping[str, Any],
    mode: Any,  # noqa: ANN401 (wandb imports late)
    settings: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    import wandb

    # Offline runs must not use the network, not even for error reports.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    without_seed = {k: v for k, v in config.identity().items() if k != "seed"}
    group = config.group or settings.run_group
    tags = [tag for tag in config.tags.split(",") if tag]
    run = wandb.init(
        project=config.project or settings.project or _PROJECT,
        group=(group or f"{config.study}/{config.loss}/{_digest(without_seed)}")[:128],
        name=settings.run_name or f"{config.loss}-s{config.seed}",
        id=f"{described.get('hash', config.hash)}-{described.get('instance')}",
        job_type="train",
        tags=tags or None,  # None: the client reads $WANDB_TAGS
        config=config.to_dict() | {"resolved": dict(described)},
        dir=_place(folder),
        mode=mode,
        resume=None if mode == "offline" else "allow",
        reinit="finish_previous",  # else the metrics of the next run could go to a failed one
        settings=wandb.Settings(
            init_timeout=_PATIENCE,
            finish_timeout=_PATIENCE + 5,  # the W&B service keeps to it unless it hangs
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


def _place(folder: Path) -> Path:
    """The folder in which W&B makes its own: $WANDB_DIR, or the run's folder."""
    asked = os.environ.get("WANDB_DIR")
    # If WANDB_DIR is unset, the agent of a sweep sets it to its working directory.
    if not asked or (in_sweep() and Path(asked) == Path.cwd()):
        return folder
    place = Path(asked).expanduser()
    with contextlib.suppress(OSError):
        place.mkdir(parents=True, exist_ok=True)
    if os.access(place, os.W_OK | os.X_OK):
        return place
    print(f"WANDB_DIR={asked} cannot be written; W&B's files go to {folder}", flush=True)
    return folder


def _digest(value: object) -> str:
    import hashlib
    import json

    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


class Tracker:
    """A W&B run, or nothing if W&B is disabled.

    Args:
        run: the run object of wandb, or None.
        folder: folder of the run.
    """

    def __init__(self, run: Any, folder: Path = Path()) -> None:  # noqa: ANN401 (wandb imports late)
        self._run, self._folder = run, folder

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Log the metrics of an epoch under their flat names. W&B drops epochs that it has."""
        with self._never_in_the_way():
            if self._run:
                self._run.log(dict(metrics), step=int(metrics["epoch"]) - 1, commit=True)

    def retell(self, epochs: Iterable[Mapping[str, Any]]) -> None:
        """Log the earlier epochs of a resumed run, and remove its earlier offline folders."""
        for metrics in epochs:
            self.log({k: float("nan") if v is None else v for k, v in metrics.items()})
        with self._never_in_the_way():
            if self._run:
                mine = Path(self._run.dir).parent
                for place in {mine.parent, self._folder.resolve() / mine.parent.name}:
                    for other in place.glob(f"*run-*-{self._run.id}*"):
                        if other != mine:
                            shutil.rmtree(other, ignore_errors=True)

    def finish(self, summary: Mapping[str, Any], predictions: Path) -> None:
        """Log summary and predictions and end the run, within about twenty seconds."""
        with self._never_in_the_way():
            if self._run:
                import wandb

                self._run.summary.update(dict(summary))
                if predictions.exists():
                    self._keep(predictions)
                    artifact = wandb.Artifact(f"predictions-{self._run.id}", type="predictions")
                    # "immutable" avoids a copy. It is safe: the file is replaced, never edited.
                    artifact.add_file(str(predictions), policy="immutable", skip_cache=True)
                    self._run.log_artifact(artifact)
        self.stop()

    def _keep(self, predictions: Path) -> None:
        """Link the predictions into the W&B folder, so that the folder can be moved.

        An artifact only refers to files outside the W&B folder. A file of the run lies inside it,
        and ``wandb sync`` uploads it from there.
        """
        kept = Path(self._run.dir) / predictions.name
        kept.unlink(missing_ok=True)
        try:
            kept.hardlink_to(predictions)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(predictions, kept)
        if self._run.offline:
            self._run.save(str(kept), base_path=self._run.dir, policy="end")

    def stop(self) -> None:
        """End the W&B run for now. A resumed run continues it under the same id."""
        with self._never_in_the_way():
            if self._run:
                self._run.finish()

    @contextlib.contextmanager
    def _never_in_the_way(self) -> Iterator[None]:
        """If the client fails or hangs, print one warning and go on without W&B."""
        limit = threading.Timer(_PATIENCE + 5 + _LINGER, _kill_service)
        limit.daemon = True
        limit.start()
        try:
            yield
        except Exception as error:
            print(f"W&B does not work ({one_line(error)}); going on without", flush=True)
            self._run = None
        finally:
            limit.cancel()
