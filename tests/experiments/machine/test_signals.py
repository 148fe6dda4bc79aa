"""Signals: when they come, which are heeded, and what they cost."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest
from small_runs import ROOT, environment, flags, result_hash, stop_after

from experiments.machine import signals
from experiments.machine.signals import StopRequest


@pytest.fixture(autouse=True)
def _as_it_was():
    before = {number: signal.getsignal(number) for number in StopRequest.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_was_ignored_at_the_start_stays_ignored(train_here, monkeypatch, number):
    """As for a job in the background, and by nohup."""
    signal.signal(number, signal.SIG_IGN)
    stop_after(monkeypatch, 4, number)
    _, status = train_here(epochs=1)
    assert status == 0
    assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_second_warning_does_not_end_the_process(number):
    signal.signal(number, signal.SIG_DFL)
    with StopRequest() as request:
        for _ in range(3):
            os.kill(os.getpid(), number)
    assert request.signal == number


def test_a_warning_that_comes_early_is_heeded():
    for number in StopRequest.SIGNALS:  # as in what our server starts
        signal.signal(number, signal.SIG_IGN)
    StopRequest.expect()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    os.kill(os.getpid(), signal.SIGUSR1)
    with StopRequest() as request:
        assert request.signal == signal.SIGUSR1
    with StopRequest() as request:
        assert request.signal == 0


def test_a_ctrl_c_that_a_library_swallows_stops_the_run_at_its_first_step(train_here, tmp_path):
    signals.note_interrupts()
    with contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert signals.interrupted()
    folder, status = train_here()
    assert status == 130
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-00000001"]
    assert train_here()[1] == 0, "that it was heeded is forgotten"
    assert result_hash(folder) == result_hash(train_here(tmp_path / "undisturbed")[0])


TORCHES = {  # what an import may make of Ctrl-C
    "passes it on": "kill()",
    "makes an error of it": "try: kill()\nexcept BaseException: raise RecursionError('deep')",
    "makes a missing library of it": "try: kill()\nexcept BaseException: raise ImportError('no')",
}


@pytest.mark.parametrize("torch", TORCHES.values(), ids=TORCHES)
def test_ctrl_c_before_the_first_step_is_one_line(tmp_path, torch):
    start = "import os, signal\ndef kill(): os.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / "torch.py").write_text(start + torch)
    done = subprocess.run(
        [sys.executable, "train.py", *flags({"dataset": "digits", "output": tmp_path})],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(PYTHONPATH=str(tmp_path)),
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert done.returncode == 130
    (line,) = done.stderr.splitlines()
    assert line.startswith("train.py: interrupted; the same command continues")
    assert not done.stdout
