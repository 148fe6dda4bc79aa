"""W&B's sweep files, as far as they define a grid of runs.

A study is a sweep file with ``method: grid`` whose parameters are train.py's options, so that one
file serves ``python -m experiments run`` and ``wandb sweep`` alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from analyze.errors import UsageError
from experiments import config
from experiments.config import RunConfig
from experiments.values import Mark

# What a file may say beside its parameters without changing which runs there are.
_TEXTS = ("name", "description", "project", "entity", "program")
_KEYS = (*_TEXTS, "method", "metric", "command", "parameters")
# How W&B's agent may write the parameters so that train.py reads them; the last leaves out what is
# false.
_NO_FALSE = "${args_no_boolean_flags}"
_ARGUMENTS = ("${args}", "${args_no_equals}", _NO_FALSE)
_DISTRIBUTIONS = {"value": "constant", "values": "categorical"}


@dataclass(frozen=True)
class Choice:
    """A value of a parameter, and where it is written."""

    value: Any
    where: str


@dataclass(frozen=True)
class Sweep:
    """What a sweep file says.

    Attributes:
        parameters: for each option of train.py that it gives, its values.
        entity: whose runs they are on W&B; empty where it does not say.
    """

    parameters: dict[str, list[Choice]]
    entity: str = ""


def read(path: Path) -> Sweep:
    """A sweep file, as far as it defines a grid.

    Raises:
        UsageError: naming the line, where the file is broken or is not a grid over train.py.
    """
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        return _interpret(path, loader, loader.get_single_node())
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        reason = getattr(error, "problem", None) or error
        raise UsageError(f"{where}: this is not YAML ({reason})") from error


def setting(option: str, text: str, where: str) -> list[Choice]:
    """The values of ``[A, B, ...]``, which is YAML as in a file; of other text itself.

    Raises:
        UsageError: where it is no such list.
    """
    if not text.startswith("["):
        return [Choice(text, where)]
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
    except yaml.YAMLError:
        node = None
    items = node.value if isinstance(node, yaml.SequenceNode) else []
    if not items:
        raise UsageError(f"{where}: expected NAME=VALUE or NAME=[VALUE, ...]")
    return [Choice(_value(loader, option, where, item), where) for item in items]


def _interpret(path: Path, loader: yaml.SafeLoader, root: yaml.Node | None) -> Sweep:
    top = _items(path, root, "a study file")
    for key, (where, node) in top.items():
        if key not in _KEYS:
            raise UsageError(
                f"{where}: {key!r} is unknown, or W&B's own: only `wandb sweep {path}` follows "
                f"it (here: {', '.join(_KEYS)})"
            )
        if key in _TEXTS and isinstance(node, yaml.ScalarNode):
            _scalar(loader, key, str, where, node)
    head = {key: loader.construct_object(node, deep=True) for key, (_, node) in top.items()}
    arguments = _check_head(path, head)
    parameters = {}
    for name, (where, node) in _items(path, top["parameters"][1], "parameters").items():
        option = name.replace("-", "_")
        if option in parameters:
            raise UsageError(f"{where}: {name} is given twice")
        parameters[option] = _choices(path, loader, name, where, node)
        if arguments == _NO_FALSE:
            _refuse_false(option, parameters[option])
    if "project" in top and "project" not in parameters:
        parameters["project"] = [Choice(head["project"], top["project"][0])]
    return Sweep(parameters, str(head.get("entity") or ""))


def _check_head(path: Path, head: dict[str, Any]) -> str:
    """Refuse what is no grid over train.py; returns how the agent is to write the parameters."""
    method = head.get("method")
    if method != "grid":
        raise UsageError(
            f"{path}: method must be grid, got {method!r} (random and bayes are W&B's own: "
            f"`wandb sweep {path}` runs them)"
        )
    if "parameters" not in head:
        raise UsageError(f"{path}: a study needs parameters")
    program = head.get("program", "train.py")
    command = [str(word) for word in head.get("command") or ["${program}", "${args}"]]
    starts = [i for i, word in enumerate(command) if word in ("${program}", program)]
    rest = command[starts[0] + 1 :] if starts else command
    if Path(str(program)).name != "train.py" or not starts:
        raise UsageError(f"{path}: program and command must start train.py, the trainer")
    if len(rest) != 1 or rest[0] not in _ARGUMENTS:
        raise UsageError(
            f"{path}: behind the program, command must be {_ARGUMENTS[0]} alone, got {rest}: "
            f"options belong under parameters, and train.py reads {', '.join(_ARGUMENTS)}"
        )
    return rest[0]


def _refuse_false(option: str, choices: list[Choice]) -> None:
    """What the agent leaves out has its default, which must be the same."""
    for choice in choices:
        if choice.value is False and getattr(RunConfig, option, False):
            raise UsageError(
                f"{choice.where}: {_NO_FALSE} leaves out {option}: false, so that W&B's agent "
                f"would train with true, the default: use {_ARGUMENTS[0]}"
            )


def _choices(
    path: Path, loader: yaml.SafeLoader, name: str, where: str, node: yaml.Node
) -> list[Choice]:
    """``{value: V}`` or ``{values: [V, ...]}``, with the distribution that W&B calls it."""
    form = {key: content for key, (_, content) in _items(path, node, f"parameter {name}").items()}
    distribution = form.pop("distribution", None)
    if set(form) not in ({"value"}, {"values"}):
        raise UsageError(
            f"{where}: {name} must be given as value: V or values: [V, ...], got "
            f"{', '.join(form) or 'nothing'}"
        )
    [(key, content)] = form.items()
    if distribution and distribution.value != _DISTRIBUTIONS[key]:
        raise UsageError(
            f"{where}: the distribution of {name} must be {_DISTRIBUTIONS[key]}, as it is given "
            f"by {key}, got {distribution.value!r}"
        )
    nodes = [content]
    if key == "values":
        nodes = content.value if isinstance(content, yaml.SequenceNode) else []
    if not nodes:
        raise UsageError(
            f"{where}: {name} needs texts, numbers, true or false, or a list of these"
        )
    option = name.replace("-", "_")
    return [Choice(_value(loader, option, _line(path, n), n), _line(path, n)) for n in nodes]


def _value(loader: yaml.SafeLoader, option: str, where: str, node: yaml.Node) -> Any:  # noqa: ANN401
    """A text, a number or a truth value; where the option takes several, also a list of them."""
    kind = config.kinds().get(option)
    if isinstance(node, yaml.SequenceNode) and Mark.LIST in config.marks(option):
        items = [_scalar(loader, option, list, where, item) for item in node.value]
        if items and all(isinstance(item, str | int | float) for item in items):
            return items
    elif isinstance(node, yaml.ScalarNode):
        value = _scalar(loader, option, kind, where, node)
        if isinstance(value, str | int | float):
            return value
    raise UsageError(f"{where}: {option} needs texts, numbers, true or false, or a list of these")


def _scalar(loader: yaml.SafeLoader, name: str, kind: object, where: str, node: yaml.Node) -> Any:  # noqa: ANN401
    """The value of a scalar.

    Raises:
        UsageError: where YAML 1.1, which W&B reads too, makes something else of it than is
            written: of 1:30 90, of 010 8, of no false, and of a name 1.10 the name 1.1.
    """
    value = loader.construct_object(node, deep=True)
    if (
        not isinstance(node, yaml.ScalarNode)
        or node.style
        or not _misread(node.value, value, kind)
    ):
        return value
    mend = "write a decimal number" if kind in (int, float) else f'quote it, "{node.value}"'
    raise UsageError(f"{where}: YAML reads {name}: {node.value} as {value}: {mend}")


def _misread(text: str, value: object, kind: object) -> bool:
    """Whether the value of an unquoted scalar is not what an option of this type would read."""
    if value is None or isinstance(value, str) or kind in (None, bool):
        return False
    if kind in (int, float, list):
        try:
            return float(text) != value
        except ValueError:
            return True
    return not isinstance(value, int | float) or str(value) != text


def _items(path: Path, node: yaml.Node | None, what: str) -> dict[str, tuple[str, yaml.Node]]:
    """The pairs of a mapping: for each key its place in the file, and the node of its value."""
    if not isinstance(node, yaml.MappingNode):
        where = _line(path, node) if node else str(path)
        raise UsageError(f"{where}: {what} must be a mapping of names to values")
    items: dict[str, tuple[str, yaml.Node]] = {}
    for key, value in node.value:
        name = str(key.value)
        if name in items:
            raise UsageError(f"{_line(path, key)}: {name} is given twice")
        items[name] = (_line(path, key), value)
    return items


def _line(path: Path, node: yaml.Node) -> str:
    return f"{path}:{node.start_mark.line + 1}"
