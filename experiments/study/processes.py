"""Processes for runs, forked from a server that has imported torch already.

A fresh process spends seconds on importing torch; a fork of one that has it starts at once. The
server never touches a GPU and never computes, so that its forks may.
"""

from __future__ import annotations

import contextlib
import multiprocessing.util
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection

import psutil

from analyze.errors import UsageError
from experiments.config import RunConfig
from experiments.machine import cores
from experiments.study import worker

_FORKSERVER = get_context("forkserver")
# Between the ends of the first and the last process of a run: the main one may wait for W&B.
_GRACE = 60.0
_LONGEST_FOLDER = 64  # of 108 bytes, names of some 30 below it included
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # where TMPDIR is longer


def start_server(runs: Sequence[RunConfig]) -> tuple[int, list[tuple[RunConfig, UsageError]]]:
    """Start the server that runs are forked from, and examine the runs there.

    Returns:
        How many GPUs there are; and the runs whose loss is refused, with the refusals.

    Raises:
        UsageError: if not even the number of GPUs could be told.
    """
    _FORKSERVER.set_forkserver_preload(worker.modules(runs))
    with _short_paths(), _signals_ignored():
        forkserver.ensure_running()
    answers, mouth = _FORKSERVER.Pipe(duplex=False)
    examiner = _FORKSERVER.Process(target=_examine, args=(runs, mouth), daemon=True)
    heard = []
    try:
        examiner.start()
        mouth.close()
        with contextlib.suppress(EOFError):
            while True:
                heard.append(answers.recv())
        examiner.join()
    except KeyboardInterrupt:
        # The server would hold our output open until it has imported everything.
        for child in psutil.Process().children(recursive=True):
            child.kill()
        raise
    if not heard:
        raise UsageError(f"no process can be started: the first ended with {examiner.exitcode}")
    gpus, *problems = heard
    return gpus, problems


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    """What is ignored here stays ignored in the server, which has to outlive Ctrl-C.

    Only while it is started: what it imports takes seconds, in which Ctrl-C should be heard.
    """
    before = [signal.signal(number, signal.SIG_IGN) for number in worker.UNHEARD]
    try:
        yield
    finally:
        for number, handler in zip(worker.UNHEARD, before, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def _short_paths() -> Iterator[None]:
    """The server listens on a socket, whose path has room for some 100 bytes.

    Raises:
        UsageError: where TMPDIR is longer, and no other folder for temporary files can be written.
    """
    usual = tempfile.gettempdir()
    try:
        if len(os.fsencode(usual)) > _LONGEST_FOLDER:
            short = next((place for place in _SHORT if os.access(place, os.W_OK)), None)
            if short is None:
                raise UsageError(f"TMPDIR is too long for sockets, {usual}: name a shorter folder")
            tempfile.tempdir = short
        multiprocessing.util.get_temp_dir()  # made and kept for the rest of this process
        yield
    finally:
        tempfile.tempdir = usual


def _examine(runs: Sequence[RunConfig], mouth: Connection) -> None:
    """Tell the number of GPUs, then every run whose loss is refused.

    A user's loss may do anything here: if it raises, or ends the process, its own run will say so.
    """
    import torch

    from experiments.machine import distributed
    from experiments.training import criterion

    with contextlib.suppress(BrokenPipeError):  # who asked has been stopped meanwhile
        mouth.send(0 if distributed.on_cpu() else torch.cuda.device_count())
        for run in runs:
            try:
                criterion.create(run)
            except UsageError as refusal:
                mouth.send((run, refusal))
            except Exception:
                continue


def surroundings(rank: int, processes: int, port: int, gpus: Sequence[int]) -> dict[str, str]:
    """The environment that tells a process its GPUs and its peers, as torchrun does.

    Args:
        rank: of the process.
        processes: how many train the run together.
        port: where they meet, if there are several.
        gpus: the numbers of those they may use, among those that this process sees.
    """
    environment = {}
    if gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(i) for i in range(max(gpus) + 1)]
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(names[gpu] for gpu in gpus)
    if processes > 1:
        environment |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    return environment


class Job:
    """A run that is being trained, by one process or several.

    Args:
        config: of the run.
        gpus: the numbers of those it may use; none on a CPU.
        processes: how many train it together.
    """

    def __init__(self, config: RunConfig, gpus: Sequence[int], processes: int = 1) -> None:
        self.config = config
        self._port = _free_port() if processes > 1 else None
        self._first_end: float | None = None
        self._complaints, mouth = _FORKSERVER.Pipe(duplex=False)
        port = self._port.getsockname()[1] if self._port else 0
        self._processes = [
            _FORKSERVER.Process(
                target=worker.forked,
                args=(config, rank, surroundings(rank, processes, port, gpus), mouth),
            )
            for rank in range(processes)
        ]
        for process in self._processes:
            process.start()
        mouth.close()

    def complaint(self) -> str:
        """Why the run failed, if its folder could not take a note of it; else nothing."""
        with contextlib.suppress(EOFError):
            return str(self._complaints.recv()) if self._complaints.poll() else ""
        return ""

    def sentinels(self) -> list[int]:
        """File descriptors that become ready when a process of the run ends."""
        return [process.sentinel for process in self._processes if process.is_alive()]

    def status(self) -> int | None:
        """The exit status of the run, negative for a signal; None while it is going on."""
        codes = [process.exitcode for process in self._processes]
        ended = [code for code in codes if code is not None]
        if not ended:
            return None
        if len(ended) < len(codes):
            self._first_end = self._first_end or time.monotonic()
            alone = min(ended) < 0 or worker.TAKEN in ended
            if alone or time.monotonic() - self._first_end > _GRACE:
                self.signal(signal.SIGKILL)  # the others would wait for it in vain
            return None
        if self._port:
            self._port.close()
        if worker.TAKEN in ended:
            return worker.TAKEN
        return min(ended) if min(ended) < 0 else max(ended)

    def signal(self, number: int) -> None:
        """Send a signal to all processes of the run."""
        for process in self._processes:
            if process.is_alive() and process.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)


def _free_port() -> socket.socket:
    """A socket that keeps a port for the run, which may listen on it: this one never does."""
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    return keeper


def share_of_threads(config: RunConfig, jobs: int, processes: int) -> RunConfig:
    """The run with its share of the cores, where it does not say how many threads it wants."""
    share = max(1, cores.available() // (jobs * processes))
    return replace(config, threads=config.threads or share)
