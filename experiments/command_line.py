"""The command line of train.py: read into a RunConfig, and explained by ``--help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from analyze.errors import UsageError
from experiments import suggestions
from experiments.config import RunConfig, kinds


def parse(argv: Sequence[str] | None = None) -> RunConfig:
    """The command line as a RunConfig; ``--help`` prints every option and exits.

    Booleans may be written ``--compile``, ``--no-compile``, ``--compile=true`` or
    ``--compile true`` (W&B's sweep agent writes the third).

    Raises:
        UsageError: on an unknown option or a value that no run can have.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if "-h" in arguments or "--help" in arguments:
        import tyro

        tyro.cli(RunConfig, prog="train.py", args=["--help"])
    return RunConfig.from_options(_options(arguments))


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """``["--lr", "0.1", "--seed=1", "--no-compile"]`` as a mapping of names to texts."""
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
            # An unknown one is refused by its name: the next option is not its value.
            follows = queue and (name in known or not queue[0].startswith("--"))
            value = queue.pop(0) if follows else ""
        options[name] = value
    return options
