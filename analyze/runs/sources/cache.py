"""The user's cache: run folders that were made of what W&B knows."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from analyze.errors import UsageError


def cache_entry(*keys: str) -> Path:
    """Where something is kept: a folder below the user's cache, or below $XDG_CACHE_HOME."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    names = [quote(key, safe="").replace(".", "%2E") for key in keys]  # none is "..", or a path
    return home.joinpath("resnet-losses", *names)


def cached(entry: Path, write: Callable[[Path], Path]) -> Path:
    """The run folder of a cache entry, which is complete or absent.

    Args:
        entry: Of `cache_entry`; the last key says in which state the run was seen. A run has one
            entry: those beside it, of earlier states, are removed.
        write: Makes the run folder in the folder that it is given, where there is none yet.

    Raises:
        UsageError: The cache cannot be written.
    """
    try:
        if not entry.is_dir():
            entry.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".", dir=entry.parent) as temporary:
                write(Path(temporary, entry.name))
                _publish(Path(temporary, entry.name), entry)
        (folder,) = entry.iterdir()
    except OSError as error:
        raise UsageError(
            f"{error.filename or entry} cannot be written ({error.strerror}): "
            "name another folder for the cache with XDG_CACHE_HOME"
        ) from error
    return folder


def _publish(written: Path, entry: Path) -> None:
    try:
        written.rename(entry)
    except OSError:
        if not entry.is_dir():  # another process was quicker
            raise
    for other in entry.parent.iterdir():
        if other != entry and not other.name.startswith("."):
            shutil.rmtree(other, ignore_errors=True)
