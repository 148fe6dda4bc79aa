"""Shorten error messages of libraries to one line."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    r"""The first line of an error's message, with the type if the message is empty or only a key.

    Example:
        >>> first_line(ValueError("no such thing\ntry another")), first_line(AssertionError())
        ('no such thing', 'AssertionError')
        >>> first_line(KeyError("project"))
        "KeyError: 'project'"
    """
    lines = _lines(error)
    return with_kind(error) if isinstance(error, LookupError) or not lines else lines[0]


def with_kind(error: BaseException) -> str:
    """The type of an error and the first line of its message, if it has one."""
    return ": ".join([type(error).__name__, *_lines(error)[:1]])


def one_line(error: BaseException, longest: int = 200) -> str:
    """All lines of an error's message, joined into one."""
    rest = " ".join(_lines(error)[1:])
    return f"{first_line(error)} {rest}".strip()[:longest]


def last_line(error: BaseException) -> str:
    """The last line of an error's message, where some libraries quote another program."""
    return (_lines(error) or [first_line(error)])[-1]


def _lines(error: BaseException) -> list[str]:
    lines = [line.strip() for line in str(error).splitlines()]
    return [line for line in lines if line]
