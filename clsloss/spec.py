"""Losses by name: ``create("focal:gamma=3")``."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable

from torch import Tensor

from clsloss.base import REGISTER, Loss
from clsloss.checks import IGNORE_INDEX

SHARED = ("weight", "ignore_index", "reduction")


def names() -> list[str]:
    """The names that `create` knows."""
    return list(REGISTER)


def options(cls: type[Loss]) -> dict[str, object]:
    """The settings that a spec may give, with their defaults."""
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in SHARED}


def describe() -> str:
    """One line per loss: its name, its settings with their defaults, and what it is."""
    lines = []
    for name, cls in REGISTER.items():
        settings = ",".join(f"{key}={value}" for key, value in options(cls).items())
        summary = (cls.__doc__ or "").partition(";")[0]
        lines.append(f"{name + (':' + settings if settings else ''):40} {summary}")
    return "\n".join(lines)


def create(
    spec: str,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Loss:
    """The loss that a spec names.

    Raises:
        ValueError: if the spec is wrong, in one line that says where and suggests the right name.
    """
    name, _, rest = spec.strip().partition(":")
    if name not in REGISTER:
        raise ValueError(f"unknown loss {name!r} in {spec!r}{_suggest(name, REGISTER)}")
    cls = REGISTER[name]
    settings: dict[str, object] = {}
    for pair in rest.split(",") if rest else []:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"settings are written key=value, got {pair!r} in {spec!r}")
        if key not in options(cls):
            raise ValueError(f"{name} has no setting {key!r}{_suggest(key, options(cls))}")
        settings[key] = parse_value(text)
    try:
        return cls(**settings, weight=weight, ignore_index=ignore_index, reduction=reduction)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{spec!r}: {error}") from error


def parse_value(text: str) -> object:
    """true, false, none, a number, or the text itself."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _suggest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} (known: {', '.join(known) or 'none'})"
