"""Usage errors, as distinct from bugs."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike


class UsageError(Exception):
    """An error in usage or in a file: one line that says what, where, and what to do.

    Commands print it and exit with status 2. Every other exception is a bug and keeps its
    traceback.

    Args:
        message: The line.
        option: The Python name of the option with the wrong value; "" if there is none.
    """

    def __init__(self, message: str, option: str = "") -> None:
        super().__init__(message)
        self.option = option


@contextmanager
def writing(path: str | PathLike[str]) -> Iterator[None]:
    """Turns an OSError while writing a path, as on a full disk, into a UsageError.

    Raises:
        UsageError: The path cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
