"""The same numbers to Weights & Biases, which never stops, delays or questions a run.

A run has one W&B run, whose rows are its epochs: epoch e is step e - 1. Whenever a run goes on,
all its epochs are told again. W&B's client drops those that the server has; an offline folder
holds the whole run, and the earlier ones are removed.
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

_PROJECT = "resnet-losses"  # where neither --project nor W&B's own settings name one
# What names and places a run in W&B's settings, as the environment gives it.
_NAMING = [
    f"WANDB_{name}"
    for name in (
        *("PROJECT", "ENTITY", "NAME", "RUN_GROUP", "TAGS", "NOTES", "DIR", "MODE"),
        *("RUN_ID", "RESUME", "RESUME_FROM", "FORK_FROM", "JOB_TYPE"),
    )
]
_PATIENCE = 10.0  # seconds, for a server that does not answer
_LINGER = 10.0  # seconds that W&B's own process may take to end after the run's


def start(config: RunConfig, folder: Path, described: Mapping[str, Any]) -> Tracker:
    """Begin or continue the W&B run of a run folder.

    ``auto`` is what $WANDB_MODE or W&B's settings file say; else online where an API key is
    configured, and offline without. W&B never asks for one. Where it does not work as asked, the
    run is logged offline, with one warning: after ten seconds, if a server does not answer; under
    the default names, if W&B does not take those that are given.

    Args:
        config: of the run. In W&B's config its options are flat, as sweeps need them.
        folder: of the run.
        described: what config.json says beside the options: one nested entry of W&B's config, so
            that a run can be read from W&B as from its folder.
    """
    asked: str = os.environ.get("WANDB_MODE", "") if config.wandb == "auto" else config.wandb
    if asked == "disabled":  # without so much as an import
        return Tracker(None)
    reason = ""
    for mode, names in ((asked, True), ("offline", True), ("offline", False)):
        try:
            run = _begin(config, folder, described, mode, names)
        except Exception as error:  # whatever is wrong with W&B is no reason not to train
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
    """Whether an agent of a W&B sweep has started this process, and waits for its metrics."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def _forget() -> None:
    """Forget an attempt, which keeps the run's id in use."""
    with contextlib.suppress(Exception):
        import wandb

        wandb.teardown()


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

    try:
        return wandb.login(prompt=False, verify=False)
    except wandb.errors.Error:
        return True  # no key of the right form: going online says so


@contextlib.contextmanager
def _without(names: Iterable[str]) -> Iterator[None]:
    """The environment without these variables."""
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _begin(
    config: RunConfig, folder: Path, described: Mapping[str, Any], mode: str, names: bool
) -> Any:  # noqa: ANN401 (wandb imports late)
    """A new W&B run, or None where W&B is disabled.

    Args:
        config: of the run.
        folder: of the run.
        described: as in `start`.
        mode: W&B's; "" finds out.
        names: False: the default names, whatever the options and the environment say.
    """
    texts = [folder.resolve(), *config.to_dict().values()]
    if any("\udc80" <= character <= "\udcff" for character in " ".join(map(str, texts))):
        raise ValueError("the locale has no name for a path or an option: set PYTHONUTF8=1")
    if not names:
        config = replace(config, project="", group="", tags="")
    with _without([] if names else _NAMING):
        import wandb

        # Silent, W&B's client asks for no key, and asks no server whose key it is.
        settings = wandb.setup(wandb.Settings(silent=True)).settings
        if not mode:
            online = settings.mode == "online"  # which is the default, too
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

    # Offline runs have no business with the network, error reports included.
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
        tags=tags or None,  # None: W&B's client looks at $WANDB_TAGS
        config=config.to_dict() | {"resolved": dict(described)},
        dir=_place(folder),
        mode=mode,
        resume=None if mode == "offline" else "allow",
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


def _place(folder: Path) -> Path:
    """Where W&B's client makes its folder: $WANDB_DIR, or the run's."""
    asked = os.environ.get("WANDB_DIR")
    # A sweep's agent sets it to where it was started, if nobody else has.
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
    """A W&B run, or nothing at all where W&B is disabled.

    Args:
        run: W&B's, or None.
        folder: of the run.
    """

    def __init__(self, run: Any, folder: Path = Path()) -> None:  # noqa: ANN401 (wandb imports late)
        self._run, self._folder = run, folder

    def log(self, metrics: Mapping[str, Any]) -> None:
        """The metrics of an epoch, under their flat names; W&B drops an epoch that it has."""
        with self._never_in_the_way():
            if self._run:
                self._run.log(dict(metrics), step=int(metrics["epoch"]) - 1, commit=True)

    def retell(self, epochs: Iterable[Mapping[str, Any]]) -> None:
        """The epochs of a run that goes on; what earlier W&B folders of it said is in this one."""
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
            print(f"W&B does not work ({one_line(error)}); going on without", flush=True)
            self._run = None
        finally:
            limit.cancel()
