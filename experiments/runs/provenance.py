"""Record the code of a run: commit or version of this package, and versions of libraries."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import tomllib
from pathlib import Path

_PACKAGE = "resnet-losses"
_LIBRARIES = ("torch", "torchvision", "timm", "accelerate", "wandb", "numpy")
# These variables redirect git to another repository. Git sets them in hooks.
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
    """The commit of the repository that tracks this file, with a plus for uncommitted changes.

    None if the package is installed, even inside another project's repository, or if git does not
    trust the owner of the folder. The version then identifies the code.
    """
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return _git("describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*")


def versions() -> dict[str, str]:
    """Versions of Python, this package, and those of the libraries that are installed."""
    installed = {}
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    installed["python"] = platform.python_version()
    if (own := _own_version()) is not None:
        installed[_PACKAGE] = own
    return installed


def _own_version() -> str | None:
    """The version in pyproject.toml of the sources around this file, else the installed one."""
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
    """The output of a git command in this folder; None if it fails."""
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
