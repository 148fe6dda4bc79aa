"""Parse the command line of train.py into a RunConfig."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from analyze.errors import UsageError
from experiments import suggestions
from experiments.config import RunConfig
from experiments.options import kinds


def parse(argv: Sequence[str] | None = None) -> RunConfig:
    """Parse the command line; ``--help`` prints every option and exits.

    Booleans may be written ``--compile``, ``--no-compile``, ``--compile=true`` (as the W&B sweep
    agent does) or ``--compile true``.

    Raises:
        UsageError: on an unknown option or an invalid value.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if "-h" in arguments or "--help" in arguments:
        import tyro

        tyro.cli(RunConfig, prog="train.py", args=["--help"])
    return RunConfig.from_options(_options(arguments))


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """Parse ``["--lr", "0.1", "--seed=1", "--no-compile"]`` into names and texts."""
    known = kinds()
    queue = list(arguments)
    options: dict[str, str] = {}
    while queue:
        option, equals, value = queue.pop(0).partition("=")
        if not option.startswith("--"):
            hint = suggestions.for_option(option.lstrip("-"), known) if option[:1] == "-" else ""
            raise UsageError(f"unexpected argument {option!r}: options are --NAME VALUE{hint}")
        name = option.removeprefix("--").replace("-", "_")
        if name.startswith("no_") and known.get(name.removeprefix("no_")) is bool and not equals:
            name, value = name.removeprefix("no_"), "false"
        elif known.get(name) is bool and not equals:
            spelt_out = queue and queue[0].lower() in ("true", "false")
            value = queue.pop(0) if spelt_out else "true"
        elif not equals:
            if name in known and not queue:
                raise UsageError(f"{option} needs a value", name)
            # Do not take the next option as the value of an unknown one.
            follows = queue and (name in known or not queue[0].startswith("--"))
            value = queue.pop(0) if follows else ""
        options[name] = value
    return options
