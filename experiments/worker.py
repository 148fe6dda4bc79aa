"""What the process of one run of a study does: lock, log, train, and say why it failed."""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from multiprocessing import parent_process

from experiments import locks, state
from experiments.config import Refused, RunConfig
from experiments.errors import first_line
from experiments.signals import StopRequest

# Exit status of a process that found its run in the hands of another.
TAKEN = 75

_OF_TIMM = ("resnet18", "resnet34", "resnet50")


def execute(config: RunConfig, rank: int = 0) -> int:
    """Train one run in this process, with what it prints in log.txt of its folder.

    A run that fails is noted in its folder: nothing is raised.

    Args:
        config: the options of the run.
        rank: of this process among those of the run.

    Returns:
        The exit status of `experiments.trainer.train`; 3 if it raised; TAKEN, having done
        nothing, if another process trains this run.
    """
    config.folder.mkdir(parents=True, exist_ok=True)
    lock = None
    if rank == 0:
        try:
            lock = locks.acquire(config.folder)
        except locks.Taken:
            return TAKEN
        state.forgive(config)
    _print_to_log(config)
    try:
        from experiments import distributed
        from experiments.trainer import train

        status = train(config, lock)
        distributed.leave()
        return status
    except Refused as refusal:
        reason = str(refusal)
        print(reason)
    except Exception as error:
        traceback.print_exc()
        kind, message = type(error).__name__, first_line(error)
        reason = message if message.startswith(kind) else f"{kind}: {message}"
    state.fail(config, reason)
    return 3


def _print_to_log(config: RunConfig) -> None:
    """Send everything that this process prints to the run's log, that of C libraries too."""
    log = os.open(config.folder / state.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    for stream in (sys.stdout, sys.stderr):  # the log is UTF-8, whatever the terminal was
        stream.reconfigure(  # type: ignore[union-attr]
            line_buffering=True, encoding="utf-8", errors="backslashreplace"
        )
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"---- {now}, process {os.getpid()} on {platform.node()}", flush=True)


def forked(config: RunConfig, rank: int, environment: Mapping[str, str]) -> None:
    """The life of a process that the launcher's server has forked.

    It has a session of its own, so that Ctrl-C reaches the launcher alone, which passes it on;
    and it stops, with a checkpoint, when the launcher dies.
    """
    os.setsid()
    StopRequest.expect()
    os.environ.update(environment)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    sys.exit(execute(config, rank))


def _stop_with_parent() -> None:
    launcher = parent_process()
    assert launcher
    launcher.join()
    os.kill(os.getpid(), signal.SIGTERM)


def modules(runs: Iterable[RunConfig]) -> list[str]:
    """What the server imports ahead, so that each run starts at once.

    Beside the trainer, what it would import in passing: torch's compiler with the first
    optimizer, W&B's parts with the first run, the data set's library.
    """
    wanted = ["experiments.trainer", "torch._dynamo"]
    libraries = {
        "digits": ["sklearn.datasets"],
        "cifar10": ["torchvision.datasets"],
        "cifar100": ["torchvision.datasets"],
    }
    runs = list(runs)
    for dataset in sorted({run.dataset for run in runs}):
        wanted += libraries.get(dataset, [])
    if any(run.wandb != "disabled" for run in runs):
        wanted += ["wandb.sdk.launch", "requests.sessions"]
    if any(run.model.startswith(("timm:", *_OF_TIMM)) for run in runs):
        wanted += ["timm"]
    return wanted
