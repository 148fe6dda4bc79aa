"""Printing to terminals with any encoding."""

import sys


def print_anything() -> None:
    """Prints characters that the encoding of the terminal lacks as escapes, without an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # absent if a test or a notebook replaced the stream
            stream.reconfigure(errors="backslashreplace")
