"""Import by path: ``module:attribute`` or ``file.py:attribute``."""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any


def load(path: str, known: Iterable[str]) -> Callable[..., Any]:
    """The class or function at a path.

    Args:
        path: ``package.module:Name``, found as ``import`` finds it or in the current directory;
            ``folder/file.py:Name``; or ``__main__:Name`` in the running script or notebook.
        known: the registered names, from which an error suggests one.

    Raises:
        ValueError: in one line, if there is nothing callable at the path.
    """
    module_name, colon, attribute = path.partition(":")
    is_file = "/" in module_name or module_name.endswith(".py")
    if not colon and is_file:
        raise ValueError(f"{path!r} is a file: name the loss in it, {path}:NAME")
    if not colon:
        raise ValueError(f"unknown loss {path!r}{suggest(path, known)}")
    found: Any = _guarded(_import_file if is_file else _import, module_name, known)
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [name for name in dir(found) if not name.startswith("_")]
            raise ValueError(f"{module_name} has no {attribute!r}{suggest(part, public)}")
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(f"{path} is not a loss: a {type(found).__name__} cannot be called")
    return found  # type: ignore[no-any-return]


def suggest(word: str, known: Iterable[str]) -> str:
    """The closest known word as a hint and, if there are few, all of them."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    # A module's attributes are too many to list.
    return hint if len(known) > 60 else f"{hint} (known: {', '.join(known) or 'none'})"


class _NoFile(ValueError):
    """No file has that name."""


def _guarded(find: Callable[[str], ModuleType], name: str, known: Iterable[str]) -> ModuleType:
    try:
        return find(name)
    except _NoFile:
        raise
    except ModuleNotFoundError as error:
        if error.name and (name + ".").startswith(error.name + "."):
            rule = "no such module, in the current directory either"
            raise ValueError(f"{rule}: {error.name!r}{suggest(name, known)}") from error
        raise ValueError(f"importing {name!r} failed: {error}") from error
    except SystemExit as error:
        raise ValueError(f"importing {name!r} failed: it ends the program") from error
    except Exception as error:  # other people's modules may raise anything
        raise ValueError(f"importing {name!r} failed: {error!r}") from error


def _import(name: str) -> ModuleType:
    if name in sys.modules:  # the only place to find __main__
        return sys.modules[name]
    here = {"", str(Path.cwd())}
    if importlib.util.find_spec(name.partition(".")[0]) is None and not here & set(sys.path):
        sys.path.append("")
    return importlib.import_module(name)


def _import_file(name: str) -> ModuleType:
    """The module of a file, imported once. Its own imports may lie beside it, as for a script."""
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        written = path.with_name(path.name + ".py")
        hint = f"; did you mean {name + '.py'!r}?" if written.is_file() else ""
        raise _NoFile(f"no such file: {name!r}{hint}")
    own_name = re.sub(r"\W", "_", str(path))
    if own_name in sys.modules:
        return sys.modules[own_name]
    specification = importlib.util.spec_from_file_location(own_name, path)
    if specification is None or specification.loader is None:
        raise _NoFile(f"not a Python file, whose name ends in .py: {name!r}")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module = sys.modules[own_name] = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except BaseException:
        del sys.modules[own_name]
        raise
    return module
