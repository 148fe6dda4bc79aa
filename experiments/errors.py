"""Errors: our own, and what other libraries' say, in a line."""

from __future__ import annotations


class Refused(ValueError):
    """Bad input, found before training: one line that says what, where and what to do."""


def first_line(error: BaseException) -> str:
    r"""The first line of an error's message; with its kind, where it says nothing or a mere key.

    Example:
        >>> first_line(ValueError("no such thing\ntry another")), first_line(AssertionError())
        ('no such thing', 'AssertionError')
        >>> first_line(KeyError("project"))
        "KeyError: 'project'"
    """
    line = _lines(error)[0]
    return f"{type(error).__name__}: {line}" if isinstance(error, LookupError) else line


def one_line(error: BaseException, longest: int = 200) -> str:
    """All lines of an error's message as one, of a library that explains itself in several."""
    rest = " ".join(_lines(error)[1:])
    return f"{first_line(error)} {rest}".strip()[:longest]


def last_line(error: BaseException) -> str:
    """The last line, of a library that quotes there what another program said."""
    return _lines(error)[-1]


def _lines(error: BaseException) -> list[str]:
    lines = [line.strip() for line in str(error).splitlines()]
    return [line for line in lines if line] or [type(error).__name__]
