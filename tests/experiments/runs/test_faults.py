"""Killed at any moment, a run loses only the steps since its last checkpoint."""

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import time

import pytest
from small_runs import ROOT, TINY, command, environment, result_hash

OPTIONS = {"batch_size": 100, "epochs": 3, "checkpoint_every": "1"}
STEPS = 3 * 13


def _train(output):
    import torch

    from experiments.config import RunConfig
    from experiments.training.trainer import train

    torch.set_num_threads(1)
    os._exit(train(RunConfig.from_options(TINY | OPTIONS | {"output": output})))


def start(output):
    """A process that trains, forked from one that has imported torch and trained nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["experiments.training.trainer", "sklearn.datasets"])
    process = context.Process(target=_train, args=(output,))
    process.start()
    return process


def steps_done(output):
    names = [p.name for p in output.glob("single/*/checkpoints/step-*")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def kill_until_finished(output, kills, rng):
    """Kill -9 at random moments, checkpoints being written included; returns the count.

    A checkpoint follows every step, so that about half of the time is spent in writing one.
    """
    killed = 0
    while not list(output.glob("single/*/summary.json")):
        process = start(output)
        before = steps_done(output)
        if killed < kills:
            # Let it come to life, and then some: the moment of the kill is anywhere in a step.
            while process.is_alive() and steps_done(output) == before < STEPS:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.15))
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            killed += process.exitcode == -signal.SIGKILL
        else:
            process.join(120)
            assert process.exitcode == 0
    return killed


def undisturbed(tmp_path):
    process = start(tmp_path / "undisturbed")
    process.join(120)
    assert process.exitcode == 0
    return result_hash(next((tmp_path / "undisturbed" / "single").iterdir()))


def test_a_few_kills_leave_the_result_as_it_was(tmp_path):
    expected = undisturbed(tmp_path)
    killed = kill_until_finished(tmp_path / "killed", 5, random.Random(0))
    assert killed >= 3
    assert result_hash(next((tmp_path / "killed" / "single").iterdir())) == expected


@pytest.mark.slow
def test_a_hundred_kills_leave_the_result_as_it_was(tmp_path, capsys):
    expected = undisturbed(tmp_path)
    total, runs, rng = 0, 0, random.Random(1)
    while total < 100:
        output = tmp_path / f"killed-{runs}"
        total += kill_until_finished(output, 15, rng)
        runs += 1
        assert result_hash(next((output / "single").iterdir())) == expected
    with capsys.disabled():
        print(f"\n{total} kills in {runs} runs: every final hash is that of the undisturbed run")


def test_killing_one_of_two_processes_ends_both_and_loses_nothing(tmp_path):
    words = command(OPTIONS | {"output": tmp_path}, processes=2)
    with (tmp_path / "log").open("w") as log:
        job = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=log, stderr=log)
    while steps_done(tmp_path) < 5:
        assert job.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.01)
    workers = subprocess.run(
        ["pgrep", "-P", str(job.pid)], capture_output=True, text=True
    ).stdout.split()
    assert len(workers) == 2
    os.kill(int(workers[1]), signal.SIGKILL)
    assert job.wait(60) != 0
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(worker), 0)
            pytest.fail("a process outlived its peer")
    before = steps_done(tmp_path)
    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"continuing at epoch {before // 13 + 1}, step {before % 13}" in done.stdout


def test_a_full_disk_ends_the_run_in_one_line_and_keeps_the_checkpoint(tmp_path, cli):
    """The folder is on a small file system, which the second or third checkpoint fills."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        done = cli(*flags_of(disk))
        assert done.returncode == 3, done.stdout + done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("train.py: ")
        assert last.endswith("the last checkpoint stays")
        assert "Traceback" not in done.stderr
        from experiments.runs import checkpoint

        assert checkpoint.load(next(disk.glob("single/*/checkpoints"))) is not None
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def flags_of(output):
    from small_runs import flags

    return flags(TINY | {"output": output, "checkpoint_every": "1"})


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, cli):
    occupied = tmp_path / "file"
    occupied.write_text("")
    done = cli(*flags_of(occupied))
    assert done.returncode == 2
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith(f"train.py: cannot write the run folder {occupied}")
    )
