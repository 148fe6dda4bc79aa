"""Which code a run is of: this package's commit, or its version, and those of the libraries."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import tomllib
from pathlib import Path

_PACKAGE = "resnet-losses"
_LIBRARIES = ("torch", "torchvision", "timm", "accelerate", "wandb", "numpy")
# By these a repository can be named that is not the one around this file: git sets them in hooks.
_ELSEWHERE = {
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
}


def commit() -> str | None:
    """The commit of the repository that this file is tracked in, with a plus where that differs.

    None where the package is installed, be it inside another project's repository, and where git
    does not trust the owner of the folder: then there is the version.
    """
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return _git("describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*")


def versions() -> dict[str, str]:
    """Of Python, the libraries, and this package."""
    known = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    known["python"] = platform.python_version()
    if (own := _own_version()) is not None:
        known[_PACKAGE] = own
    return known


def _own_version() -> str | None:
    """From the sources beside this file, if it is one of them, else of what is installed."""
    try:
        project = tomllib.loads(
            (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
        )
        if project["project"]["name"] == _PACKAGE:
            return str(project["project"]["version"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        return importlib.metadata.version(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*words: str) -> str | None:
    """What git answers in this folder; None where it fails."""
    try:
        answer = subprocess.run(
            ["git", *words],
            cwd=Path(__file__).parent,
            env={name: value for name, value in os.environ.items() if name not in _ELSEWHERE},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
