"""The sources of runs: run folders, offline W&B folders, projects on a W&B server.

Every source yields run folders. Those of W&B are rebuilt from its records in the user's cache.
All runs are then read in the same way, so the numbers do not depend on the source.
"""

from collections.abc import Iterable
from pathlib import Path

from analyze.errors import UsageError
from analyze.runs.run import LeftOut, find_run_folders, is_run_folder
from analyze.runs.sources import offline, online


def resolve(paths: Iterable[str | Path]) -> tuple[list[Path], list[LeftOut]]:
    """The run folders that the paths name, and the W&B folders that cannot be read.

    Args:
        paths: Run folders, offline W&B folders (`offline-run-...`), folders that contain either,
            or `wandb:ENTITY/PROJECT[/GROUP]`. A `wandb` folder inside a run folder belongs to
            that run and is not a run of its own.

    Raises:
        UsageError: A path does not exist or has no run, or a W&B project cannot be read.
    """
    paths = list(paths)
    names = [p for p in paths if isinstance(p, str) and online.is_name(p)]
    local = find_run_folders(
        (_expanded(Path(p)) for p in paths if p not in names), offline.is_wandb_folder
    )
    folders = [folder for folder in local if is_run_folder(folder)]
    inside = {folder.resolve() for folder in folders}
    standalone = [f for f in local if f not in folders and not inside & set(f.resolve().parents)]
    converted, left_out = offline.as_run_folders(standalone)
    fetched = [folder for name in names for folder in online.fetch(name)]
    return list(dict.fromkeys(folders + converted + fetched)), left_out


def _expanded(path: Path) -> Path:
    """The path with a leading ~ expanded, in case the shell has not done so."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UsageError(f"{path}: there is no such home folder") from error
