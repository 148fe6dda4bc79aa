"""W&B's own client, without its messages and prompts."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from analyze.errors import UsageError

TIMEOUT = 10  # seconds, for a response of the server


@contextmanager
def quiet() -> Iterator[None]:
    """Stops the client from printing, and from asking the server who owns the API key."""
    import wandb

    settings = wandb.setup().settings
    before, settings.silent = settings.silent, True
    wandb.termsetup(settings, None)
    try:
        yield
    finally:
        settings.silent = before
        wandb.termsetup(settings, None)


def has_key() -> bool:
    """Whether an API key is configured in any of W&B's places.

    Raises:
        wandb.Error: The configured key is malformed.
    """
    import wandb

    with quiet():
        return wandb.login(prompt=False, verify=False)


def connect() -> Any:  # noqa: ANN401 (wandb imports late)
    """The public API of the configured server.

    Raises:
        UsageError: W&B is offline or disabled, or no API key is configured.
        wandb.Error: The server rejects the key, or does not answer within ten seconds.
    """
    import wandb

    if (mode := wandb.setup().settings.mode) not in ("online", "run", "shared"):
        raise UsageError(
            f"W&B is set to {mode}: to read from it, set WANDB_MODE=online or run `wandb online`"
        )
    if not has_key():
        raise UsageError("no W&B API key is configured: run `wandb login`, or set WANDB_API_KEY")
    with quiet():
        return wandb.Api(timeout=TIMEOUT)


@contextmanager
def as_usage_errors(what: str) -> Iterator[None]:
    """Turns errors of W&B's client into a UsageError of one line.

    The client's errors share no base class. Those of W&B and of the network explain themselves.
    Any other, such as a KeyError, means that the client could not parse a response. An error
    that this package raises itself, other than a UsageError, is a bug and passes through.
    """
    import wandb

    try:
        yield
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from error
    except Exception as error:
        if _raised_here(error):
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, wandb.Error | OSError | ValueError):
            message = (
                f"W&B's client failed ({type(error).__name__}: {message[:200]}): the server may "
                f"have another version than wandb {wandb.__version__}"
            )
        raise UsageError(f"{what}: {message}") from error


def _raised_here(error: Exception) -> bool:
    """Whether the innermost frame belongs to this package rather than the client."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).partition(".")[0] == __name__.partition(".")[0]
