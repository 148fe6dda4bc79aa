"""Where runs come from: run folders, offline W&B folders, projects on a W&B server.

Every source ends in run folders, those of W&B in ones that are made of what W&B knows, in the
user's cache; from there on there is one way to read a run, so the numbers are the same.
"""

from collections.abc import Iterable
from pathlib import Path

from analyze.errors import UsageError
from analyze.runs.run import LeftOut, find_run_folders, is_run_folder
from analyze.runs.sources import offline, online


def resolve(paths: Iterable[str | Path]) -> tuple[list[Path], list[LeftOut]]:
    """The run folders that the paths name, and the W&B folders that cannot be read.

    Args:
        paths: Run folders; offline W&B folders (`offline-run-...`), wherever they were copied
            to; folders with such below them; `wandb:ENTITY/PROJECT[/GROUP]`. What lies in a run
            folder belongs to it: its `wandb` folder is no run of its own.

    Raises:
        UsageError: A path that does not exist or has no run, or a W&B project that cannot be
            read.
    """
    paths = list(paths)
    names = [p for p in paths if isinstance(p, str) and online.is_name(p)]
    local = find_run_folders(
        (_at_home(Path(p)) for p in paths if p not in names), offline.is_wandb_folder
    )
    folders = [folder for folder in local if is_run_folder(folder)]
    inside = {folder.resolve() for folder in folders}
    alone = [f for f in local if f not in folders and not inside & set(f.resolve().parents)]
    made, left_out = offline.as_run_folders(alone)
    fetched = [folder for name in names for folder in online.fetch(name)]
    return list(dict.fromkeys(folders + made + fetched)), left_out


def _at_home(path: Path) -> Path:
    """The path, with the home folder for a ~ that no shell has replaced."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UsageError(f"{path}: there is no such home folder") from error
