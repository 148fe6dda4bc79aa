"""Where a run stands, read from its folder: by whoever looks, whenever."""

import json
import os
import subprocess
import sys
import threading

import pytest
from small_runs import ROOT
from studies import kill

from experiments.config import RunConfig
from experiments.machine import locks
from experiments.runs import state
from experiments.runs.state import State

HOLDER = """
import sys, time
from pathlib import Path
from experiments.machine import locks
lock = locks.acquire(Path(sys.argv[1]))
print("locked", flush=True)
time.sleep(600)
"""


@pytest.fixture
def config(tmp_path):
    config = RunConfig(output=tmp_path, epochs=7)
    config.folder.mkdir(parents=True)
    return config


@pytest.fixture
def holder(config):
    """Another process that holds the run's lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, config.folder], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


def test_a_run_waits_until_it_has_begun(config):
    assert state.look(config).state == State.WAITING
    (config.folder / "config.json").write_text("{}")
    assert state.look(config).state == State.STOPPED


def test_epochs_are_counted_by_whole_lines(config):
    (config.folder / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n{"epo')
    assert state.look(config) == state.RunStatus(State.STOPPED, 2)


def test_a_lock_shows_a_running_run_until_its_holder_dies(config, holder):
    run_status = state.look(config)
    assert run_status.state == State.RUNNING
    assert f"process {holder.pid} on" in run_status.note
    with pytest.raises(locks.Taken, match=f"is being trained by process {holder.pid}"):
        locks.acquire(config.folder)
    kill(holder.pid)
    holder.wait()
    assert state.look(config).state == State.WAITING
    locks.acquire(config.folder).close()


def test_a_finished_run_is_done_though_its_process_lives(config, holder):
    (config.folder / "summary.json").write_text('{"status": "finished", "test/accuracy": 0.5}')
    assert state.look(config) == state.RunStatus(State.DONE, 7, "test accuracy 50.00%")


def test_a_diverged_run_is_over(config):
    (config.folder / "summary.json").write_text('{"status": "diverged", "diverged_step": 12}')
    run_status = state.look(config)
    assert run_status.state == State.DIVERGED
    assert run_status.note == "the loss is not finite at step 12"


def test_the_first_reason_of_a_failure_stays_until_it_is_forgiven(config):
    state.fail(config, "ValueError: the cause")
    state.fail(config, "RuntimeError: connection closed by peer")
    assert state.look(config) == state.RunStatus(State.FAILED, 0, "ValueError: the cause")
    state.forgive(config)
    state.forgive(config)
    assert state.look(config).state == State.WAITING


@pytest.mark.parametrize("content", ["", '{"reason": "cut sho', "[]", "3"])
def test_files_that_a_kill_cut_short_say_nothing(config, content):
    for name in ("failure.json", "summary.json"):
        (config.folder / name).write_text(content)
    assert state.look(config).state == State.WAITING


def test_what_cannot_be_read_is_a_failure_not_a_run_to_be_trained(config):
    (config.folder / "summary.json").mkdir()  # as another user's file: root may read that
    run_status = state.look(config)
    assert run_status.state == State.FAILED
    assert f"cannot read {config.folder / 'summary.json'} (Is a directory)" in run_status.note


def test_notes_of_a_failure_have_the_mode_that_the_umask_leaves(config):
    before = os.umask(0o002)
    try:
        state.fail(config, "why")
    finally:
        os.umask(before)
    assert (config.folder / "failure.json").stat().st_mode & 0o777 == 0o664


def test_looking_never_keeps_a_run_from_its_trainer(config):
    """Readers hold the lock for moments; who wants to train waits for them."""
    locks.acquire(config.folder).close()
    over = threading.Event()

    def look_and_look():
        while not over.is_set():
            locks.holder(config.folder)

    readers = [threading.Thread(target=look_and_look) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(200):
            locks.acquire(config.folder).close()
    finally:
        over.set()
        for reader in readers:
            reader.join()


def test_states_of_every_kind_are_counted(tmp_path, capsys):
    from experiments.__main__ import main

    study = tmp_path / "s.yaml"
    study.write_text(
        "method: grid\nparameters:\n  seed: {values: [0, 1, 2, 3, 4]}\n  epochs: {value: 4}\n"
    )
    folders = [RunConfig(output=tmp_path, study="s", seed=s, epochs=4).folder for s in range(5)]
    for folder in folders[:4]:
        folder.mkdir(parents=True)
    (folders[0] / "summary.json").write_text('{"status": "finished"}')
    (folders[1] / "summary.json").write_text('{"status": "diverged", "diverged_step": 3}')
    (folders[2] / "failure.json").write_text(json.dumps({"reason": "KeyError: 'x'"}))
    (folders[2] / "log.txt").touch()
    (folders[3] / "metrics.jsonl").write_text('{"epoch": 1}\n')
    assert main(["status", str(study), "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert (
        "s: 5 runs, 1 done, 1 diverged, 1 failed, 1 stopped, 1 waiting; 5 of 20 epochs" in printed
    )
    assert "KeyError: 'x'" in printed
    assert os.fspath(folders[2] / "log.txt") in printed
