"""Identify the version of a custom loss by the files that its spec names."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from experiments.machine.fingerprint import fingerprint

# MODULE:NAME or FILE.py:NAME, but not NAME:setting=value
_PATH = re.compile(r"(?<![^\s*+])([^\s*+:=]+):[A-Za-z_][\w.]*(?![\w.]*\s*=)")
_INSTALLED = {"site-packages", "dist-packages"}


def fingerprints(spec: str) -> dict[str, str]:
    """The SHA-256 of each module or file from which a loss is imported.

    Installed packages such as torch are left out; config.json records their versions. Imports
    inside the named modules are not followed.

    Example:
        >>> fingerprints("focal:gamma=3+0.5*torch.nn:MultiMarginLoss:margin=2")
        {}
    """
    files = {module: _file(module) for module in _PATH.findall(spec)}
    return {
        module: fingerprint(file)
        for module, file in files.items()
        if file is not None and not _INSTALLED & set(file.parts)
    }


def changed(spec: str, described: Mapping[str, object]) -> list[str]:
    """The modules of a loss that have changed since config.json was written."""
    before = described.get("loss_sources")
    if not isinstance(before, dict):
        return []
    now = fingerprints(spec)
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def _file(module: str) -> Path | None:
    """The file of a module, found without importing it."""
    if "/" in module or module.endswith(".py"):
        file = Path(module).expanduser()
        return file.resolve() if file.is_file() else None
    if module == "__main__":  # a notebook has no file
        script = getattr(sys.modules["__main__"], "__file__", None)
        return Path(script).resolve() if script else None
    below = Path(*module.split("."))
    for entry in [*sys.path, ""]:
        for file in (entry / below / "__init__.py", entry / below.parent / f"{below.name}.py"):
            if file.is_file():
                return file.resolve()
    return None
