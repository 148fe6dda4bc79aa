"""W&B's sweep files, as far as they define a grid of runs.

A study is a sweep file with ``method: grid`` whose parameters are train.py's options, so that one
file serves ``python -m experiments run`` and ``wandb sweep`` alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.config import Refused

# What a file may say beside its parameters without changing which runs there are.
_KEYS = ("name", "description", "method", "metric", "project", "program", "command", "parameters")
_ARGUMENTS = ("${args}", "${args_no_boolean_flags}")


@dataclass(frozen=True)
class Choice:
    """A value of a parameter, and where it is written."""

    value: Any
    where: str


def read(path: Path) -> dict[str, list[Choice]]:
    """For each option of train.py that a sweep file gives, its values.

    Raises:
        Refused: naming the line, where the file is broken or is not a grid over train.py.
    """
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        return _interpret(path, loader, loader.get_single_node())
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        reason = getattr(error, "problem", None) or error
        raise Refused(f"{where}: this is not YAML ({reason})") from error


def _interpret(
    path: Path, loader: yaml.SafeLoader, root: yaml.Node | None
) -> dict[str, list[Choice]]:
    top = _items(path, root, "a study file")
    for key, (where, _) in top.items():
        if key not in _KEYS:
            raise Refused(
                f"{where}: {key!r} is unknown, or W&B's own: only `wandb sweep {path}` follows "
                f"it (here: {', '.join(_KEYS)})"
            )
    _check_head(path, {key: loader.construct_object(n, deep=True) for key, (_, n) in top.items()})
    parameters = {}
    for name, (where, node) in _items(path, top["parameters"][1], "parameters").items():
        option = name.replace("-", "_")
        if option in parameters:
            raise Refused(f"{where}: {name} is given twice")
        parameters[option] = _choices(path, loader, name, where, node)
    if "project" in top and "project" not in parameters:
        where, node = top["project"]
        parameters["project"] = [Choice(loader.construct_object(node), where)]
    return parameters


def _check_head(path: Path, head: dict[str, Any]) -> None:
    method = head.get("method")
    if method != "grid":
        raise Refused(
            f"{path}: method must be grid, got {method!r} (random and bayes are W&B's own: "
            f"`wandb sweep {path}` runs them)"
        )
    if "parameters" not in head:
        raise Refused(f"{path}: a study needs parameters")
    program = head.get("program", "train.py")
    command = [str(word) for word in head.get("command") or ["${program}", "${args}"]]
    starts = [i for i, word in enumerate(command) if word in ("${program}", program)]
    rest = command[starts[0] + 1 :] if starts else command
    if Path(str(program)).name != "train.py" or not starts:
        raise Refused(f"{path}: program and command must start train.py, the trainer")
    if len(rest) != 1 or rest[0] not in _ARGUMENTS:
        raise Refused(
            f"{path}: behind the program, command must be {_ARGUMENTS[0]} alone, got {rest}: "
            "options belong under parameters"
        )


def _choices(
    path: Path, loader: yaml.SafeLoader, name: str, where: str, node: yaml.Node
) -> list[Choice]:
    """``{value: V}`` or ``{values: [V, ...]}``."""
    form = _items(path, node, f"parameter {name}")
    if set(form) not in ({"value"}, {"values"}):
        raise Refused(
            f"{where}: {name} must be given as value: V or values: [V, ...], got "
            f"{', '.join(form) or 'nothing'}"
        )
    [(key, (_, content))] = form.items()
    nodes = [content]
    if key == "values":
        nodes = content.value if isinstance(content, yaml.SequenceNode) else []
    choices = [Choice(loader.construct_object(n, deep=True), _line(path, n)) for n in nodes]
    if not choices or any(not isinstance(c.value, str | int | float) for c in choices):
        raise Refused(f"{where}: {name} needs texts, numbers, true or false, or a list of these")
    return choices


def _items(path: Path, node: yaml.Node | None, what: str) -> dict[str, tuple[str, yaml.Node]]:
    """The pairs of a mapping: for each key its place in the file, and the node of its value."""
    if not isinstance(node, yaml.MappingNode):
        where = _line(path, node) if node else str(path)
        raise Refused(f"{where}: {what} must be a mapping of names to values")
    items: dict[str, tuple[str, yaml.Node]] = {}
    for key, value in node.value:
        name = str(key.value)
        if name in items:
            raise Refused(f"{_line(path, key)}: {name} is given twice")
        items[name] = (_line(path, key), value)
    return items


def _line(path: Path, node: yaml.Node) -> str:
    return f"{path}:{node.start_mark.line + 1}"
