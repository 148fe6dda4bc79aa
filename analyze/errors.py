"""What users did wrong, told apart from what programs do wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike


class UsageError(Exception):
    """A fault of the user's, or of a file's: one line that says what, where, and what to do.

    Commands print it and end with status 2. Every other exception is a fault of the program and
    keeps its traceback.

    Args:
        message: The line.
        option: The option whose value is at fault, by its name in Python; "" where it is none's.
    """

    def __init__(self, message: str, option: str = "") -> None:
        super().__init__(message)
        self.option = option


@contextmanager
def writing(path: str | PathLike[str]) -> Iterator[None]:
    """Where a path is written: a full disk, or one that refuses, is not the program's fault.

    Raises:
        UsageError: The path cannot be written, and why.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
