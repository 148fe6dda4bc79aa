"""Studies run to the end, killed, stopped, shared, and with failures in them."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from small_runs import ROOT, environment
from studies import Attack, attempts, hashes, in_the_middle, kill, owner, start, until, write

from experiments.__main__ import main
from experiments.machine import locks

GRID = (
    "loss: {values: [ce, focal]}",
    "seed: {values: [0, 1]}",
    "epochs: {value: 3}",
    "checkpoint_every: {value: '4'}",
)

BAD_LOSSES = """
import os
from torch import nn

class Crashing(nn.Module):
    def forward(self, input, target):
        if len(input) > 3:  # in training, not when it is tried
            raise ArithmeticError("a bad loss\\nthat says more than one line")
        return nn.functional.cross_entropy(input, target)

class Aborting(nn.Module):
    def forward(self, input, target):
        os.abort()

class Diverging(nn.Module):
    def forward(self, input, target):
        return input.sum() * float("nan")
"""


@pytest.fixture(autouse=True, scope="module")
def _on_the_cpu():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        yield


@pytest.fixture
def run(capfd):
    """The command in this process, so that its server imports torch once for all tests."""

    def command(*arguments: object) -> tuple[int, str]:
        status = main(list(map(str, arguments)))
        captured = capfd.readouterr()
        return status, captured.out + captured.err

    return command


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the runs of a study compute that nothing disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    study = write(folder, *GRID)
    for _ in range(2):  # the second time there is nothing to do
        assert main(["run", str(study), "--output", str(folder)]) == 0
    assert [attempts(path.parent) for path in folder.glob("*/*/summary.json")] == [1] * 4
    return hashes(folder)


def test_a_killed_runner_loses_nothing(tmp_path, undisturbed, run):
    study = write(tmp_path, *GRID)
    runner = start("run", study, "--output", tmp_path)
    victim = until(lambda: in_the_middle(tmp_path))
    kill(runner.pid)
    runner.communicate()
    finished = {path.parent for path in tmp_path.glob("*/*/summary.json")}
    status, output = run("run", study, "--output", tmp_path)
    assert status == 0, output
    assert hashes(tmp_path) == undisturbed
    assert all(attempts(folder) == 1 for folder in finished - {victim})
    assert attempts(victim) == 1 or "continuing at epoch" in (victim / "log.txt").read_text()


def test_a_killed_worker_stops_no_other_run(tmp_path, undisturbed, run):
    study = write(tmp_path, *GRID)
    attack = Attack(tmp_path, lambda victim: kill(owner(victim)))
    status, output = run("run", study, "--output", tmp_path)
    assert status == 3, output
    assert f"{attack.victim.name}: killed by SIGKILL" in output
    assert len(hashes(tmp_path)) == 3
    assert run("run", study, "--output", tmp_path)[0] == 0
    assert hashes(tmp_path) == undisturbed
    assert "continuing at epoch" in (attack.victim / "log.txt").read_text()


def test_two_runners_share_a_study(tmp_path, undisturbed, run):
    study = write(tmp_path, *GRID, "study: {value: shared}")
    other = start("run", study, "--output", tmp_path)
    until(lambda: list(tmp_path.glob("*/*/.lock")))
    status, output = run("run", study, "--output", tmp_path)
    assert status == 0, output
    assert "elsewhere" in output
    other.communicate(timeout=60)
    assert other.returncode == 0
    assert hashes(tmp_path) == undisturbed
    assert [attempts(path.parent) for path in tmp_path.glob("*/*/summary.json")] == [1] * 4


@pytest.mark.slow
def test_killed_again_and_again_at_random_the_study_is_the_same(tmp_path, undisturbed, run):
    study = write(tmp_path, *GRID)
    chance = random.Random(0)
    for _ in range(10):
        runner = start("run", study, "--output", tmp_path, "--workers", 2)
        until(
            lambda: any(map(locks.holder, tmp_path.glob("tiny/*"))) or len(hashes(tmp_path)) == 4
        )
        time.sleep(chance.uniform(0, 0.5))
        for folder in tmp_path.glob("tiny/*"):
            if chance.random() < 0.5 and locks.holder(folder):
                kill(owner(folder))
        runner.kill()
        runner.communicate()
    assert sum(attempts(log.parent) for log in tmp_path.glob("*/*/log.txt")) > 10
    assert run("run", study, "--output", tmp_path)[0] == 0
    assert hashes(tmp_path) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_checkpoints_to_go_on_from(tmp_path, undisturbed, run, number):
    def stop(victim):
        os.kill(owner(victim), signal.SIGSTOP)  # so that it does not finish before it hears
        os.kill(os.getpid(), number)
        time.sleep(0.5)
        os.kill(owner(victim), signal.SIGCONT)

    study = write(tmp_path, *GRID)
    attack = Attack(tmp_path, stop, finished=0)
    status, output = run("run", study, "--output", tmp_path, "--workers", 2)
    assert status == 128 + number, output
    with pytest.raises(ProcessLookupError):
        kill(owner(attack.victim))
    assert "stopped" in run("status", study, "--output", tmp_path)[1]
    assert run("run", study, "--output", tmp_path)[0] == 0
    assert hashes(tmp_path) == undisturbed


def test_failures_stop_no_other_run(tmp_path, run, monkeypatch):
    """Losses raise, abort and diverge, and one validation set leaves nothing to train on."""
    losses = tmp_path / "bad_losses.py"
    losses.write_text(BAD_LOSSES)
    monkeypatch.syspath_prepend(tmp_path)
    study = write(
        tmp_path,
        "loss:",
        "  values: ['bad_losses:Crashing', 'bad_losses:Aborting', 'bad_losses:Diverging', ce]",
        "val_size: {values: [0.1, 1348]}",
        "epochs: {value: 1}",
    )
    command = ("run", study, "--output", tmp_path, "--workers", "2")
    status, output = run(*command)
    assert status == 3, output
    assert "8 runs, 1 done, 1 diverged, 6 failed" in output
    assert ": ArithmeticError: a bad loss\n" in output
    assert ": crashed with SIGABRT\n" in output
    assert "the loss is not finite at step 0" in output
    assert "--val-size 1348 leaves 1348 of 1348 training images for validation" in output
    logs = {Path(line.split("log: ")[1]) for line in output.splitlines() if "log: " in line}
    assert len(logs) == 7
    assert any("raise ArithmeticError" in log.read_text() for log in logs)

    status, output = run(*command)
    assert status == 3
    assert "ArithmeticError: a bad loss" in output
    assert all(attempts(log.parent) == 1 for log in logs)

    mended = "return nn.functional.cross_entropy(input, target)"
    losses.write_text(re.sub("raise Arith.*", mended, BAD_LOSSES))
    status, output = run(*command, "--retry")
    assert status == 3
    assert "8 runs, 2 done, 1 diverged, 5 failed" in output


# Not when it is tried, with few rows: a loss that ends the program there is refused.
QUITTING = """
import sys
def L(logits, target):
    return logits.sum() if len(logits) <= 3 else sys.exit(5)
"""


def test_a_process_that_ends_before_it_trains_is_a_failure_with_its_reason(
    tmp_path, run, monkeypatch
):
    (tmp_path / "quitting.py").write_text(QUITTING)
    (tmp_path / "leaving.py").write_text("import os; os._exit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    study = write(tmp_path, "loss: {values: ['quitting:L', 'leaving:L']}", "epochs: {value: 1}")
    status, output = run("run", study, "--output", tmp_path)
    assert status == 3, output
    assert "2 runs, 2 failed" in output
    assert "code that the run imports has ended its process, with exit status 5" in output
    assert "its process ended with exit status 0, and without a result" in output
    assert "2 runs, 2 failed; 0 of 2 epochs" in run("status", study, "--output", tmp_path)[1]


def test_a_full_disk_is_a_failure_with_its_reason(tmp_path, run):
    """So full that not even the lock can be written, nor a note of the failure."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        (disk / "all").write_bytes(bytes(4096))
        study = write(tmp_path, "epochs: {value: 1}")
        status, output = run("run", study, "--output", disk)
        assert status == 3, output
        assert "1 runs, 1 failed" in output
        assert output.count("(No space left on device): make room") == 2  # when, and at the end
        assert "Traceback" not in output
        assert "1 waiting" in run("status", study, "--output", disk)[1]
        (disk / "all").unlink()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_long_tmpdir_and_a_user_without_name_and_home_are_no_obstacle(tmp_path):
    long = tmp_path / ("x" * 110)
    long.mkdir()
    study = write(tmp_path, "epochs: {value: 1}")
    command = ("run", study, "--output", tmp_path, "--set", "wandb=auto")
    before = ["env", "--unset=HOME", "--unset=USER", "--unset=LOGNAME"]
    if os.getuid() == 0:  # who may still read and write what root may
        rights = "+dac_override,+dac_read_search"
        before += ["setpriv", "--reuid=54321", "--clear-groups", f"--inh-caps={rights}"]
        before += [f"--ambient-caps={rights}"]
    runner = start(*command, before=before, TMPDIR=str(long))
    output = runner.communicate(timeout=120)[0]
    assert runner.returncode == 0, output
    [log] = tmp_path.glob("*/*/log.txt")
    assert "Traceback" not in output + log.read_text()
    assert "home" not in log.read_text()  # nor does W&B miss one


def test_ctrl_c_is_heard_while_the_server_starts(tmp_path):
    """It goes to all processes of the terminal: the command, and the server that imports torch."""
    study = write(tmp_path, "epochs: {value: 1}")
    runner = start("run", study, "--output", tmp_path, group=True)
    server = until(lambda: serving(runner.pid))
    time.sleep(0.3)
    os.killpg(runner.pid, signal.SIGINT)
    runner.wait(60)
    ended = not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
    assert ended, "it would hold the output open"
    output = runner.communicate(timeout=60)[0]
    assert runner.returncode == 128 + signal.SIGINT, output
    assert "Traceback" not in output
    assert not list(tmp_path.glob("*/*/metrics.jsonl"))


def test_a_study_needs_nowhere_to_print(tmp_path):
    study = write(tmp_path, "epochs: {value: 1}")
    command = [sys.executable, "-m", "experiments", "run", str(study), "--output", str(tmp_path)]
    closed = ["bash", "-c", '"$@" >&- 2>&-', "-", *command]
    assert subprocess.run(closed, cwd=ROOT, env=environment(), timeout=240).returncode == 0
    (log,) = tmp_path.glob("*/*/log.txt")
    assert "epoch 1/1" in log.read_text()


def serving(pid):
    """The server that a runner forks its runs from."""
    children = psutil.Process(pid).children()
    return next((c for c in children if "multiprocessing.forkserver" in str(c.cmdline())), None)


def test_two_processes_train_a_run_together(tmp_path, run):
    study = write(tmp_path, "loss: {values: [ce, focal]}", "epochs: {value: 1}")
    status, output = run("run", study, "--output", tmp_path, "--processes-per-run", 2)
    assert status == 0, output
    logs = [path.read_text() for path in tmp_path.glob("*/*/log.txt")]
    assert len(logs) == 2
    assert all("2 processes on cpu" in log for log in logs)


def test_a_loss_that_cannot_be_made_is_found_before_anything_runs(tmp_path, run):
    study = write(tmp_path, "loss:", "  values:", "    - ce", "    - focal:gama=2")
    status, output = run("run", study, "--output", tmp_path)
    assert status == 2
    assert f"{study}:11: --loss focal:gama=2: " in output
    assert "gamma" in output
    assert not list(tmp_path.glob("*/*/log.txt"))
