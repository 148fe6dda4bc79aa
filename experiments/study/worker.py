"""The process of one run of a study: lock, log, train, and record why it failed."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import IO

from analyze.errors import UsageError
from analyze.runs.format import LOG
from experiments.catalogue import DATASETS, model
from experiments.config import RunConfig
from experiments.errors import with_kind
from experiments.machine import locks
from experiments.machine.signals import StopRequest
from experiments.runs import state

# Exit status if another process already trains the run.
TAKEN = 75
# Signals from a terminal, a batch system or a user, which the launcher's server must outlive.
UNHEARD = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def _complain(reason: str) -> None:
    print(reason, file=sys.stderr, flush=True)


def execute(config: RunConfig, rank: int = 0, complain: Callable[[str], None] = _complain) -> int:
    """Train one run in this process, and write its output to log.txt in its folder.

    Raises nothing: a failure is recorded in the folder.

    Args:
        config: options of the run.
        rank: rank of this process in the run.
        complain: called with the reason of a failure if the folder cannot be written.

    Returns:
        The exit status of `experiments.training.trainer.train`; 3 if it raised; TAKEN if another
        process trains this run.
    """
    try:
        lock = _open(config, rank)
    except locks.Taken:
        return TAKEN
    except UsageError as refusal:
        return _fail(config, str(refusal), complain)
    try:
        return _train(config, lock)
    except (Exception, SystemExit) as error:
        reason = _reason(error)
        with contextlib.suppress(OSError):  # the log may be on a full disk
            if isinstance(error, UsageError):
                print(reason, flush=True)
            else:
                traceback.print_exception(error)
    return _fail(config, reason, complain)


def _fail(config: RunConfig, reason: str, complain: Callable[[str], None]) -> int:
    try:
        state.fail(config, reason)
    except OSError:
        complain(reason)
    return 3


def _open(config: RunConfig, rank: int) -> IO[str] | None:
    """Make the run's folder, lock it, and write to its log; return the lock on rank 0."""
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
        lock = None if rank else locks.acquire(config.folder)
        if lock:
            state.forgive(config)
        _print_to_log(config)
    except OSError as error:
        raise UsageError(
            f"cannot write the run folder {config.folder} ({error.strerror}): make room for it, "
            "or name another with --output"
        ) from error
    return lock


def _train(config: RunConfig, lock: IO[str] | None) -> int:
    from experiments.machine import distributed
    from experiments.training.trainer import train

    status = train(config, lock)
    distributed.leave()
    return status


def _reason(error: BaseException) -> str:
    """Why a run failed, in one line."""
    if isinstance(error, UsageError):
        return str(error)
    if isinstance(error, SystemExit):
        return f"code that the run imports has ended its process, with exit status {error.code}"
    return with_kind(error)


def _print_to_log(config: RunConfig) -> None:
    """Redirect all output of this process to the run's log, including that of C libraries."""
    log = os.open(config.folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        if stream:  # None if the launcher's was closed
            stream.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    if log > 2:
        os.close(log)
    # Open new streams, because the log is UTF-8 whatever the encoding of the terminal.
    sys.stdout, sys.stderr = (
        open(number, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115 (kept)
        for number in (1, 2)
    )
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"---- {now}, process {os.getpid()} on {platform.node()}", flush=True)


def forked(
    config: RunConfig, rank: int, environment: Mapping[str, str], mouth: Connection
) -> None:
    """The entry point of a process that the launcher's server has forked.

    The process has its own session, so that Ctrl-C reaches only the launcher, which forwards it.
    When the launcher dies, the process stops with a checkpoint.

    Args:
        config: options of the run.
        rank: rank of this process in the run.
        environment: variables to add to the server's environment.
        mouth: receives the reason of a failure that the run's folder cannot record.
    """
    os.setsid()
    StopRequest.expect()
    os.environ.update(environment)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    sys.exit(execute(config, rank, mouth.send))


def _stop_with_parent() -> None:
    launcher = parent_process()
    assert launcher
    launcher.join()
    os.kill(os.getpid(), signal.SIGTERM)


def modules(runs: Iterable[RunConfig]) -> list[str]:
    """The modules that the server imports in advance, so that each run starts at once.

    These are the trainer and what it would import later: the compiler of torch with the first
    optimizer, parts of W&B with the first run, and the libraries of data sets and models.
    """
    wanted = ["experiments.training.trainer", "torch._dynamo"]
    runs = list(runs)
    entries = [DATASETS[run.dataset] for run in runs] + [model(run.model) for run in runs]
    wanted += dict.fromkeys(library for entry in entries for library in entry.libraries)
    if any(run.wandb != "disabled" for run in runs):
        wanted += ["wandb.sdk.launch", "requests.sessions"]
    return wanted
