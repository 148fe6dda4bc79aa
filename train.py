"""Train one ResNet with one loss: ``accelerate launch train.py --loss focal``."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Train a run as the command line says, and return the exit status."""
    try:
        from analyze import home
        from experiments.machine import signals

        signals.note_interrupts()
        home.provide()
        return _run()
    except KeyboardInterrupt:
        return _interrupted()


def _interrupted() -> int:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends the process at once
    line = "interrupted; the same command continues from the last checkpoint, if there is one"
    return _say(f"train.py: {line}", 128 + signal.SIGINT)


def _run() -> int:
    from analyze.errors import UsageError
    from analyze.printing import print_anything
    from experiments.command_line import parse
    from experiments.machine.output import outlive_readers
    from experiments.machine.signals import interrupted

    print_anything()
    outlive_readers()
    try:
        config = parse()
        from experiments.machine import launched

        launched.settle()
        # Import torch late: it takes seconds, and --help or a mistyped option should not wait.
        from experiments.machine import distributed
        from experiments.training.trainer import train

        try:
            status = train(config)
        except SystemExit as end:
            reason = (
                f"code that the run imports has ended its process, with exit status {end.code}"
            )
            return _say(f"train.py: {reason}", 3)
        distributed.leave()
        return status
    except Exception as error:
        if interrupted():  # a library has turned KeyboardInterrupt into another error
            return _interrupted()
        if isinstance(error, UsageError):
            return _say(f"train.py: {error}", 2)
        if isinstance(error, OSError):
            return _say(f"train.py: {error}; the last checkpoint stays", 3)
        import traceback

        traceback.print_exc()
        return 3


def _say(line: str, status: int) -> int:
    import os

    if os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
