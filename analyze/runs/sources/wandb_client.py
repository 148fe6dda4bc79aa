"""W&B's own client, without its messages and questions."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from analyze.errors import UsageError

PATIENCE = 10  # seconds, for an answer of the server


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the client from printing, and from asking the server whom the key belongs to."""
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
    """Whether an API key is configured, wherever W&B looks for one.

    Raises:
        wandb.Error: What is configured is no key.
    """
    import wandb

    with quiet():
        return wandb.login(prompt=False, verify=False)


def connect() -> Any:  # noqa: ANN401 (wandb imports late)
    """The public API of the server that is configured.

    Raises:
        UsageError: No API key is configured.
        wandb.Error: The server does not accept it, or does not answer within ten seconds.
    """
    import wandb

    if (mode := wandb.setup().settings.mode) not in ("online", "run", "shared"):
        raise UsageError(
            f"W&B is set to {mode}: WANDB_MODE=online, or `wandb online`, reads from it"
        )
    if not has_key():
        raise UsageError("no W&B API key is configured: `wandb login`, or set WANDB_API_KEY")
    with quiet():
        return wandb.Api(timeout=PATIENCE)


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """Says in one line, as a UsageError, what goes wrong: the client's errors share no base.

    Errors of W&B and of the network speak for themselves. Any other, such as a KeyError, is what
    the client comes to where it cannot read an answer. What is raised by this package itself, and
    is no UsageError, is a fault in it, and passes.
    """
    import wandb

    try:
        yield
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from error
    except Exception as error:
        if _raised_here(error):
            raise
        said = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, wandb.Error | OSError | ValueError):
            said = (
                f"W&B's client failed ({type(error).__name__}: {said[:200]}): what the server "
                f"answers may be of another version than wandb {wandb.__version__}"
            )
        raise UsageError(f"{what}: {said}") from error


def _raised_here(error: Exception) -> bool:
    """Whether the innermost frame is this package's, not the client's."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).partition(".")[0] == __name__.partition(".")[0]
