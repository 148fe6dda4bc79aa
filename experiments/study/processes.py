"""Processes for runs, forked from a server that has already imported torch.

A fresh process spends seconds importing torch. A fork of the server starts at once. The server
itself never uses a GPU or computes, because a fork cannot take over a CUDA context or threads.
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

from analyze import cores
from analyze.errors import UsageError
from experiments.config import RunConfig
from experiments.study import worker

_FORKSERVER = get_context("forkserver")
# Seconds between the ends of the first and the last process: the main one may wait for W&B.
_GRACE = 60.0
_LONGEST_FOLDER = 64  # a socket's path has 108 bytes; names below the folder take about 30
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # alternatives to a TMPDIR that is too long


def start_server(runs: Sequence[RunConfig]) -> tuple[int, list[tuple[RunConfig, UsageError]]]:
    """Start the server from which runs are forked, and check the runs' losses there.

    Returns:
        The number of GPUs, and the runs whose loss is refused, each with its error.

    Raises:
        UsageError: if no process can be started.
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
        # Kill the server: it would keep our output open until it has imported everything.
        for child in psutil.Process().children(recursive=True):
            child.kill()
        raise
    if not heard:
        raise UsageError(f"no process can be started: the first ended with {examiner.exitcode}")
    gpus, *problems = heard
    return gpus, problems


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    """Ignore signals while the server starts. It inherits this, and so outlives Ctrl-C.

    This process listens again at once: the server imports for seconds, and Ctrl-C must work then.
    """
    before = [signal.signal(number, signal.SIG_IGN) for number in worker.UNHEARD]
    try:
        yield
    finally:
        for number, handler in zip(worker.UNHEARD, before, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def _short_paths() -> Iterator[None]:
    """Use a short temporary folder: the server's socket has a path of at most 108 bytes.

    Raises:
        UsageError: if TMPDIR is too long and no other temporary folder is writable.
    """
    usual = tempfile.gettempdir()
    try:
        if len(os.fsencode(usual)) > _LONGEST_FOLDER:
            short = next((place for place in _SHORT if os.access(place, os.W_OK)), None)
            if short is None:
                raise UsageError(f"TMPDIR is too long for sockets, {usual}: name a shorter folder")
            tempfile.tempdir = short
        multiprocessing.util.get_temp_dir()  # creates and caches the folder
        yield
    finally:
        tempfile.tempdir = usual


def _examine(runs: Sequence[RunConfig], mouth: Connection) -> None:
    """Send the number of GPUs, then every run whose loss is refused.

    A custom loss may raise anything here, or end the process. Its own run then reports the error.
    """
    import torch

    from experiments.machine import distributed
    from experiments.training import criterion

    with contextlib.suppress(BrokenPipeError):  # the receiver has been stopped
        mouth.send(0 if distributed.on_cpu() else torch.cuda.device_count())
        for run in runs:
            try:
                criterion.create(run)
            except UsageError as refusal:
                mouth.send((run, refusal))
            except Exception:
                continue


def surroundings(rank: int, processes: int, port: int, gpus: Sequence[int]) -> dict[str, str]:
    """The environment variables that tell a process its GPUs and its peers, as in torchrun.

    Args:
        rank: rank of the process.
        processes: number of processes of the run.
        port: port of their rendezvous, if there are several.
        gpus: indices of the GPUs that they may use, among those visible to this process.
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
    """A run in training, in one or several processes.

    Args:
        config: options of the run.
        gpus: indices of the GPUs that it may use; empty on a CPU.
        processes: number of processes of the run.
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
        """Why the run failed, if its folder cannot record the reason; else empty."""
        with contextlib.suppress(EOFError):
            return str(self._complaints.recv()) if self._complaints.poll() else ""
        return ""

    def sentinels(self) -> list[int]:
        """File descriptors that become ready when a process of the run ends."""
        return [process.sentinel for process in self._processes if process.is_alive()]

    def status(self) -> int | None:
        """The exit status of the run, negative for a signal; None while it runs."""
        codes = [process.exitcode for process in self._processes]
        ended = [code for code in codes if code is not None]
        if not ended:
            return None
        if len(ended) < len(codes):
            self._first_end = self._first_end or time.monotonic()
            alone = min(ended) < 0 or worker.TAKEN in ended
            if alone or time.monotonic() - self._first_end > _GRACE:
                self.signal(signal.SIGKILL)  # the others would wait in vain
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
    """A socket that reserves a port for the run. It never listens, so the run can."""
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    return keeper


def share_of_threads(config: RunConfig, jobs: int, processes: int) -> RunConfig:
    """The run with its share of the cores as threads, unless it asks for a number."""
    share = max(1, cores.available() // (jobs * processes))
    return replace(config, threads=config.threads or share)
