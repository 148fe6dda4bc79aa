"""Reads projects on a W&B server with W&B's own client."""

import gc
import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from analyze.errors import UsageError
from analyze.runs.format import PREDICTIONS
from analyze.runs.sources.cache import cache_entry, cached
from analyze.runs.sources.parallel import map_threads
from analyze.runs.sources.tracked import Tracked
from analyze.runs.sources.wandb_client import as_usage_errors, connect

_PREFIX = "wandb:"
_AT_ONCE = 8  # runs downloaded in parallel
_PAGE = 200  # runs per request


def is_name(path: str) -> bool:
    """Whether a path names a W&B project rather than a folder."""
    return path.startswith(_PREFIX)


def fetch(name: str) -> list[Path]:
    """A cached run folder for each training run of a W&B project.

    Only runs that have changed since the last download are downloaded.

    Args:
        name: `wandb:ENTITY/PROJECT` for all training runs; `wandb:ENTITY/PROJECT/GROUP` for those
            whose group is GROUP or begins with `GROUP/`, as do the groups of a study named
            GROUP; `wandb:PROJECT` for a project of the user's default entity.

    Raises:
        UsageError: The name has another form, no API key is configured, the server does not
            answer, the project does not exist or has no training run, or a download failed.
    """
    folders = _fetch(name, *_parse(name))
    # Release the client now. If it is released only when the process ends, its service may miss
    # the signal to stop, and the process would hang.
    gc.collect()
    return folders


def _fetch(name: str, entity: str, project: str, group: str) -> list[Path]:
    with as_usage_errors(name):
        api = connect()
        entity = entity or api.default_entity
        runs = [
            run
            for run in api.runs(f"{entity}/{project}", per_page=_PAGE)
            if run.job_type == "train" and _belongs(run.group, group)
        ]
    if not runs:
        raise UsageError(f"{name}: no training run in it (a run of job type train)")
    download = partial(_as_run_folder, api.settings["base_url"])
    return list(map_threads(download, runs, f"downloading {name}", at_once=_AT_ONCE))


def _parse(name: str) -> tuple[str, str, str]:
    """Entity, project and group; "" for those not given."""
    parts = name.removeprefix(_PREFIX).split("/", 2)
    if not all(parts):
        raise UsageError(f"{name}: expected wandb:ENTITY/PROJECT, or wandb:ENTITY/PROJECT/GROUP")
    if len(parts) == 1:
        return "", parts[0], ""
    return parts[0], parts[1], parts[2] if len(parts) == 3 else ""


def _belongs(group: str | None, wanted: str) -> bool:
    """Whether the group of a run is `wanted` or lies within it.

    Example:
        >>> [_belongs(group, "losses") for group in ("losses", "losses/ce/1f0c", "losses2", None)]
        [True, True, False, False]
    """
    return not wanted or f"{group or ''}/".startswith(f"{wanted.rstrip('/')}/")


def _as_run_folder(server: str, run: Any) -> Path:  # noqa: ANN401
    """The cached run folder of one run."""
    state_fields = json.dumps([run.state, run.heartbeat_at, run.history_line_count])
    state = hashlib.sha256(state_fields.encode()).hexdigest()[:16]

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

    with as_usage_errors(f"{run.entity}/{run.project}/{run.id}"):
        return cached(cache_entry(server, run.entity, run.project, run.id, state), write)


def _download_predictions(run: Any, folder: Path) -> None:  # noqa: ANN401
    """Downloads the predictions from the latest artifact, else from the files of the run."""
    artifacts = [entry for entry in run.logged_artifacts() if entry.type == "predictions"]
    if artifacts:
        newest = max(artifacts, key=lambda artifact: int(artifact.version.removeprefix("v")))
        newest.get_entry(PREDICTIONS).download(root=str(folder), skip_cache=True)
        return
    # An offline run that was moved before it was synced has no artifact: its files were no longer
    # where the log says. The files in its own folder were uploaded with it.
    for file in run.files([PREDICTIONS]):
        file.download(root=str(folder), replace=True).close()
