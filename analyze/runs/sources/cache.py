"""The user's cache of run folders that were rebuilt from W&B."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from analyze.errors import UsageError


def cache_entry(*keys: str) -> Path:
    """The folder of a cache entry, below $XDG_CACHE_HOME or the default cache of the user."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    names = [
        quote(key, safe="").replace(".", "%2E") for key in keys
    ]  # no key can be ".." or contain a slash
    return home.joinpath("resnet-losses", *names)


def cached(entry: Path, write: Callable[[Path], Path]) -> Path:
    """The run folder of a cache entry. An entry is either complete or absent.

    Args:
        entry: From `cache_entry`. The last key identifies the state of the run. A run has one
            entry: writing one removes its siblings, which hold earlier states.
        write: Makes the run folder in the given folder. It is called if there is no entry yet.

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
            "set XDG_CACHE_HOME to another folder"
        ) from error
    return folder


def _publish(written: Path, entry: Path) -> None:
    try:
        written.rename(entry)
    except OSError:
        if not entry.is_dir():  # if it is, another process was faster
            raise
    for other in entry.parent.iterdir():
        if other != entry and not other.name.startswith("."):
            shutil.rmtree(other, ignore_errors=True)
