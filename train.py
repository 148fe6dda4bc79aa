"""Train one ResNet with one loss: ``accelerate launch train.py --loss focal``."""

from __future__ import annotations

import sys

from experiments import home
from experiments.config import Refused, parse


def main() -> int:
    """Read the command line, train, and return the exit status."""
    home.provide()
    try:
        config = parse()
        # torch takes seconds to import: --help and a mistyped option should not wait for it.
        from experiments import distributed
        from experiments.trainer import train

        try:
            status = train(config)
        except SystemExit as end:
            reason = (
                f"code that the run imports has ended its process, with exit status {end.code}"
            )
            return _say(f"train.py: {reason}", 3)
        distributed.leave()
        return status
    except Refused as refusal:
        return _say(f"train.py: {refusal}", 2)
    except OSError as error:
        return _say(f"train.py: {error}; the last checkpoint stays", 3)
    except Exception:
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
