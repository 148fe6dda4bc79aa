"""Values of options, as texts of a command line or as study files and W&B write them."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any


def convert(text: str, kind: object) -> Any:  # noqa: ANN401 (as `kind` says)
    """A text as the type of an option.

    Raises:
        ValueError: saying what it must be.
    """
    if "\0" in text:
        raise ValueError("without the character NUL")
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("true or false")
        return text.lower() == "true"
    if kind in (int, float):
        try:
            return _integer(text) if kind is int else float(text)
        except ValueError:
            raise ValueError("an integer" if kind is int else "a number") from None
    return Path(text) if kind is Path else text


def _integer(text: str) -> int:
    """Of ``64``, and of ``64.0``, as W&B may write it."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if number.is_integer() and abs(number) < 2**53:
            return int(number)
        raise


def join(value: object) -> str:
    """``1,2.5`` of the list [1, 2.5], or of its text, which is how W&B's agent passes it on.

    Whatever is no list stays as it is.

    Raises:
        ValueError: saying what it must be.
    """
    text = str(value)
    if not text.startswith("["):
        return text
    try:
        items = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        items = []
    if not items or any(type(item) not in (str, int, float) for item in items):
        raise ValueError("a list of numbers or texts")
    # 1.0 and 1 are one number, which W&B may write either way.
    return ",".join(
        str(int(item)) if isinstance(item, float) and item.is_integer() else str(item)
        for item in items
    )
