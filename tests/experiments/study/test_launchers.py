"""How a machine is divided among runs, and what its processes are told."""

import os
import subprocess
import sys

import pytest
from small_runs import ROOT
from studies import write

from analyze.errors import UsageError
from experiments.__main__ import main
from experiments.config import RunConfig
from experiments.study.launchers import LAUNCHERS
from experiments.study.local import Machine
from experiments.study.processes import share_of_threads, surroundings


@pytest.mark.parametrize(
    ("asked", "gpus", "workers"),
    [
        ((0, 1), 0, 1),  # a CPU: one run at a time
        ((0, 1), 8, 8),  # a run for each GPU
        ((0, 2), 8, 4),
        ((0, 3), 8, 2),
        ((3, 2), 0, 3),
        ((3, 1), 1, 3),  # as asked for, sharing the GPU
    ],
)
def test_there_are_as_many_workers_as_asked_for_or_as_gpus(asked, gpus, workers):
    assert Machine.of(*asked, gpus).workers == workers


def test_workers_have_gpus_of_their_own_while_there_are_enough():
    machine = Machine.of(0, 2, 8)
    assert [machine.gpus_of(slot) for slot in range(4)] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [Machine.of(3, 1, 2).gpus_of(slot) for slot in range(3)] == [[0], [1], [0]]
    assert Machine.of(2, 2, 0).gpus_of(1) == []


def test_a_run_has_at_most_as_many_processes_as_gpus():
    with pytest.raises(UsageError, match="--processes-per-run must be at most 2"):
        Machine.of(0, 3, 2)


def test_pinning_respects_the_gpus_that_are_visible(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert surroundings(0, 1, 0, [2]) == {"CUDA_VISIBLE_DEVICES": "2"}
    assert surroundings(0, 1, 0, []) == {}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-abc,7")
    assert surroundings(0, 1, 0, [1, 2])["CUDA_VISIBLE_DEVICES"] == "GPU-abc,7"


def test_processes_of_a_run_know_their_peers():
    told = [surroundings(rank, 3, 1234, []) for rank in range(3)]
    assert [one["RANK"] for one in told] == [one["LOCAL_RANK"] for one in told] == ["0", "1", "2"]
    assert {one["WORLD_SIZE"] for one in told} == {"3"}
    assert {(one["MASTER_ADDR"], one["MASTER_PORT"]) for one in told} == {("127.0.0.1", "1234")}


def test_threads_are_divided_among_the_processes(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    run = RunConfig()
    shares = [share_of_threads(run, *both).threads for both in ((1, 1), (4, 1), (4, 2), (40, 1))]
    assert shares == [16, 4, 2, 1]
    assert share_of_threads(RunConfig(threads=3), 4, 1).threads == 3
    assert share_of_threads(run, 4, 1).hash == run.hash


def test_importing_ahead_leaves_the_gpus_untouched():
    """A process that has asked CUDA anything cannot be forked for training."""
    program = """
import torch
def refuse(*arguments): raise SystemExit("CUDA was asked")
for module, name in ((torch._C, "_cuda_getDeviceCount"), (torch.cuda, "_lazy_init"),
                     (torch.cuda, "is_available"), (torch.cuda, "device_count")):
    setattr(module, name, refuse)
from experiments.study import worker
from experiments.config import RunConfig
runs = [RunConfig(dataset="digits", model="resnet8"), RunConfig(model="timm:x")]
for name in worker.modules(runs):
    __import__(name)
import threading
assert threading.active_count() == 1, threading.enumerate()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


class Listing:
    """A launcher that writes down what it is to run."""

    settings = "where it runs: queue=long"

    def run(self, launch):
        losses, study = [run.loss for run in launch.todo], launch.study_status.study.name
        print(study, losses, launch.workers, launch.processes, launch.settings)
        return 7


def test_a_launcher_is_an_entry_of_the_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(LAUNCHERS, "listing", Listing())
    study = write(tmp_path, "loss: {values: [ce, focal]}")
    words = ["run", str(study), "--output", str(tmp_path), "--workers", "3"]
    settings = ["--listing", "queue=long", "--listing", "wait-for-it"]
    assert main([*words, "--launcher", "listing", *settings]) == 7
    expected = "tiny ['ce', 'focal'] 3 1 {'queue': 'long', 'wait_for_it': True}\n"
    assert capsys.readouterr().out == expected
    for name in ("local", "slurm"):
        assert main([*words, "--launcher", name, *settings]) == 2
        assert capsys.readouterr().err == "--listing needs --launcher listing\n"
    with pytest.raises(SystemExit):
        main([*words, "--launcher", "listing", "--local", "x=1"])
    assert "unrecognized arguments: --local" in capsys.readouterr().err
