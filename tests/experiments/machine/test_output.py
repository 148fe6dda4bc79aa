"""Output is not worth a run: where nobody reads it, training goes on."""

import os
import pty
import subprocess
import sys

import pytest
from small_runs import ROOT, command, environment
from studies import write

PRINT = """
import sys
from experiments.machine.output import outlive_readers
outlive_readers()
for stream in (sys.stdout, sys.stderr):
    for _ in range(1000):
        print("x" * 100, file=stream, flush=True)
    print("x", end="", file=stream)
"""


def pipe():
    """A pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def terminal():
    """A terminal that is gone."""
    leader, follower = pty.openpty()
    os.close(leader)
    return follower


def full_disk():
    return os.open("/dev/full", os.O_WRONLY)


def full_pipe():
    """A pipe that is read no more, and does not wait."""
    _, writer = os.pipe()
    os.set_blocking(writer, False)
    return writer


@pytest.mark.parametrize("broken", [pipe, terminal, full_disk, full_pipe])
def test_what_cannot_be_written_is_dropped(broken):
    where = broken()
    words = [sys.executable, "-c", PRINT]
    assert subprocess.run(words, cwd=ROOT, stdout=where, stderr=where, timeout=60).returncode == 0
    os.close(where)


def test_without_any_output_nothing_fails():
    words = ["sh", "-c", '"$0" -c "$1" >&- 2>&-', sys.executable, PRINT]
    assert subprocess.run(words, cwd=ROOT, timeout=60).returncode == 0


def test_what_is_read_is_written_as_before():
    words = [sys.executable, "-c", PRINT]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == done.stderr == ("x" * 100 + "\n") * 1000 + "x"


def test_a_run_goes_on_when_its_reader_has_read_enough(tmp_path):
    run = subprocess.Popen(
        command({"output": tmp_path}),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert "ce on resnet8" in run.stdout.readline()
    run.stdout.close()
    assert run.wait(240) == 0
    assert list(tmp_path.glob("single/*/summary.json"))


def test_a_study_goes_on_when_its_reader_has_read_enough(tmp_path):
    study = write(tmp_path, "epochs: {value: 1}")
    words = [sys.executable, "-m", "experiments", "run", study, "--output", tmp_path]
    where = pipe()
    done = subprocess.run(words, cwd=ROOT, env=environment(), stdout=where, timeout=240)
    os.close(where)
    assert done.returncode == 0
    assert len(list(tmp_path.glob("*/*/summary.json"))) == 1
