"""What is printed, in any terminal."""

import sys


def print_anything() -> None:
    """Let what the terminal's encoding lacks be printed as an escape, not be an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # none where a test or a notebook has its own
            stream.reconfigure(errors="backslashreplace")
