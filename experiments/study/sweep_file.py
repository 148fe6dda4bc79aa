"""Read and write W&B sweep files that define a grid of runs.

A study is a sweep file with ``method: grid`` whose parameters are options of train.py. The same
file thus works with ``python -m experiments run`` and ``wandb sweep``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from analyze.errors import UsageError, writing
from experiments.config import RunConfig
from experiments.options import kinds, marks
from experiments.values import Mark

# Keys of a file that do not change which runs there are.
_TEXTS = ("name", "description", "project", "entity", "program")
_KEYS = (*_TEXTS, "method", "metric", "command", "parameters")
# Forms in which the W&B agent may write the parameters for train.py. The last one omits
# parameters that are false.
_NO_FALSE = "${args_no_boolean_flags}"
_ARGUMENTS = ("${args}", "${args_no_equals}", _NO_FALSE)
_DISTRIBUTIONS = {"value": "constant", "values": "categorical"}


@dataclass(frozen=True)
class Choice:
    """A value of a parameter, and the place where it is written."""

    value: Any
    where: str


@dataclass(frozen=True)
class Sweep:
    """The contents of a sweep file.

    Attributes:
        parameters: the values of each option of train.py that the file sets.
        entity: the W&B entity of the runs; empty if the file names none.
    """

    parameters: dict[str, list[Choice]]
    entity: str = ""


def read(path: Path) -> Sweep:
    """Read a sweep file that defines a grid.

    Raises:
        UsageError: naming the line, if the file is not valid or is not a grid over train.py.
    """
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        return _interpret(path, loader, loader.get_single_node())
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        reason = getattr(error, "problem", None) or error
        raise UsageError(f"{where}: this is not YAML ({reason})") from error


def write(path: Path, parameters: Mapping[str, Sequence[Choice]], about: str, entity: str) -> None:
    """Write a sweep file that defines a grid, and leave alone one that says the same already.

    Args:
        path: the file.
        parameters: the values of each option.
        about: a comment for the first lines.
        entity: the W&B entity of the runs, or "".

    Raises:
        UsageError: if another file has this name, or it cannot be written.
    """
    lines = [*(f"# {line}" for line in about.splitlines()), "method: grid", "program: train.py"]
    lines += [f"entity: {_yaml(entity)}"] if entity else []
    lines.append("parameters:")
    for name, choices in parameters.items():
        values = [str(c.value) if isinstance(c.value, Path) else c.value for c in choices]
        if len(values) == 1:
            lines.append(f"  {name}: {{value: {_yaml(values[0])}}}")
        else:
            lines += [f"  {name}:", f"    values: {_yaml(values)}"]
    text = "\n".join(lines) + "\n"
    with writing(path):
        if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
            said = f"{path} exists and says otherwise: move it away, or name another --out"
            raise UsageError(said)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _yaml(value: object) -> str:
    """A value in one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def setting(option: str, text: str, where: str) -> list[Choice]:
    """The values in ``[A, B, ...]``, which is read as YAML; any other text is a value itself.

    Raises:
        UsageError: if a text that starts with [ is not such a list.
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
    """Check that this is a grid over train.py; return how the agent writes the parameters."""
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
    """Refuse false for options with default true: the agent omits it, and train.py trains true."""
    for choice in choices:
        if choice.value is False and getattr(RunConfig, option, False):
            raise UsageError(
                f"{choice.where}: {_NO_FALSE} leaves out {option}: false, so that W&B's agent "
                f"would train with true, the default: use {_ARGUMENTS[0]}"
            )


def _choices(
    path: Path, loader: yaml.SafeLoader, name: str, where: str, node: yaml.Node
) -> list[Choice]:
    """Read ``{value: V}`` or ``{values: [V, ...]}``, with or without W&B's distribution."""
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
    """Read a text, number or boolean; for options that accept it, also a list of them."""
    kind = kinds().get(option)
    if isinstance(node, yaml.SequenceNode) and Mark.LIST in marks(option):
        items = [_scalar(loader, option, list, where, item) for item in node.value]
        if items and all(isinstance(item, str | int | float) for item in items):
            return items
    elif isinstance(node, yaml.ScalarNode):
        value = _scalar(loader, option, kind, where, node)
        if isinstance(value, str | int | float):
            return value
    raise UsageError(f"{where}: {option} needs texts, numbers, true or false, or a list of these")


def _scalar(loader: yaml.SafeLoader, name: str, kind: object, where: str, node: yaml.Node) -> Any:  # noqa: ANN401
    """Read a scalar.

    Raises:
        UsageError: if YAML 1.1, which W&B also uses, changes its value: 1:30 becomes 90, 010
            becomes 8, no becomes false, and the name 1.10 becomes 1.1.
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
    """Whether YAML reads an unquoted scalar differently from an option of this type."""
    if value is None or isinstance(value, str) or kind in (None, bool):
        return False
    if kind in (int, float, list):
        try:
            return float(text) != value
        except ValueError:
            return True
    return not isinstance(value, int | float) or str(value) != text


def _items(path: Path, node: yaml.Node | None, what: str) -> dict[str, tuple[str, yaml.Node]]:
    """For each key of a mapping, its place in the file and the node of its value."""
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
