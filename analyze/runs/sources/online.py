"""Projects on a W&B server, read by W&B's own client."""

import gc
import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from analyze.errors import UsageError
from analyze.runs.format import PREDICTIONS
from analyze.runs.sources.cache import cache_entry, cached
from analyze.runs.sources.parallel import each
from analyze.runs.sources.tracked import Tracked
from analyze.runs.sources.wandb_client import connect, in_one_line

_PREFIX = "wandb:"
_AT_ONCE = 8  # runs that are downloaded together
_PAGE = 200  # runs in one answer


def is_name(path: str) -> bool:
    """Whether a path names a W&B project, not a folder."""
    return path.startswith(_PREFIX)


def fetch(name: str) -> list[Path]:
    """A run folder, in the cache, for each training run of a W&B project.

    What has not changed since it was downloaded is not downloaded again.

    Args:
        name: `wandb:ENTITY/PROJECT`, all its training runs; `wandb:ENTITY/PROJECT/GROUP`, those
            whose group is GROUP or begins with `GROUP/` (a study's runs have groups that begin
            with its name); `wandb:PROJECT`, of the user's default entity.

    Raises:
        UsageError: Another form, no API key, a server that does not answer, no such project, no
            training run in it, or a download that failed.
    """
    folders = _fetch(name, *_parse(name))
    # What the client holds is released now: at the end of the process its service may miss that
    # it is told to end, right after that, and the process would wait for it.
    gc.collect()
    return folders


def _fetch(name: str, entity: str, project: str, group: str) -> list[Path]:
    with in_one_line(name):
        api = connect()
        entity = entity or api.default_entity
        runs = [
            run
            for run in api.runs(f"{entity}/{project}", per_page=_PAGE)
            if run.job_type == "train" and _belongs(run.group, group)
        ]
    if not runs:
        raise UsageError(f"{name}: no training run in it (of job type train)")
    download = partial(_as_run_folder, api.settings["base_url"])
    return list(each(download, runs, f"downloading {name}", at_once=_AT_ONCE))


def _parse(name: str) -> tuple[str, str, str]:
    """Entity, project and group; "" for what is not named."""
    parts = name.removeprefix(_PREFIX).split("/", 2)
    if not all(parts):
        raise UsageError(f"{name}: expected wandb:ENTITY/PROJECT, or wandb:ENTITY/PROJECT/GROUP")
    if len(parts) == 1:
        return "", parts[0], ""
    return parts[0], parts[1], parts[2] if len(parts) == 3 else ""


def _belongs(group: str | None, wanted: str) -> bool:
    """Whether a run's group is the wanted one or within it.

    Example:
        >>> [_belongs(group, "losses") for group in ("losses", "losses/ce/1f0c", "losses2", None)]
        [True, True, False, False]
    """
    return not wanted or f"{group or ''}/".startswith(f"{wanted.rstrip('/')}/")


def _as_run_folder(server: str, run: Any) -> Path:  # noqa: ANN401
    """The cached run folder of one run."""
    seen = json.dumps([run.state, run.heartbeat_at, run.history_line_count])
    state = hashlib.sha256(seen.encode()).hexdigest()[:16]

    def write(parent: Path) -> Path:
        tracked = Tracked(
            run="/".join((run.entity, run.project, run.id)),
            title=f"{run.name}-{run.id}",
            config=run.config,
            history=run.scan_history(use_cache=False),
            summary=run.summary_metrics,
            state=run.state,
        )
        folder = tracked.write(parent)
        _download_predictions(run, folder)
        return folder

    with in_one_line(f"{run.entity}/{run.project}/{run.id}"):
        return cached(cache_entry(server, run.entity, run.project, run.id, state), write)


def _download_predictions(run: Any, folder: Path) -> None:  # noqa: ANN401
    """The predictions: of the last artifact, or the run's file, or none."""
    artifacts = [one for one in run.logged_artifacts() if one.type == "predictions"]
    if artifacts:
        newest = max(artifacts, key=lambda one: int(one.version.removeprefix("v")))
        newest.get_entry(PREDICTIONS).download(root=str(folder), skip_cache=True)
        return
    # An offline run that was moved before it was synced has no artifact: its files were not where
    # the log says. What lies in its own folder was uploaded with it.
    for file in run.files([PREDICTIONS]):
        file.download(root=str(folder), replace=True).close()
