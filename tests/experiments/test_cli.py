"""The command as people type it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import ROOT, TINY, environment, flags

NOWHERE = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}


def test_help_is_complete_and_needs_no_torch(cli, tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    done = cli("--help", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "--loss" in done.stdout
    assert "(default: 30)" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--los", "focal"], "unknown option --los; did you mean --loss?"),
        (["--loss", "focl", "--dataset=digits"], "did you mean 'focal'?"),
        (["--loss", "focal:gama=2", "--dataset=digits"], "did you mean 'gamma'?"),
        (["--dataset", "folder", "--data-dir", "/nowhere"], "cannot read /nowhere/train"),
        (["--sync-bn", "--dataset=digits"], "--sync-bn needs GPUs"),
        (["--mixed-precision=fp16", "--dataset=digits"], "fp16 needs a GPU"),
    ],
)
def test_bad_input_is_one_line_and_status_2(cli, tmp_path, words, said):
    done = cli(*words, "--output", str(tmp_path))
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr + done.stdout


def test_without_cifar_and_without_network_the_ways_out_are_named(cli, tmp_path):
    done = cli("--loss=focal", f"--data-dir={tmp_path}", f"--output={tmp_path}", **NOWHERE)
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    for way in ("cifar-10-python.tar.gz", "--dataset folder", "--dataset digits"):
        assert way in line


def test_accelerate_launch_trains_and_uses_the_cores(tmp_path):
    launcher = Path(sys.executable).parent / "accelerate"
    options = {**TINY, "epochs": 1, "threads": 0, "output": tmp_path}
    done = subprocess.run(
        [launcher, "launch", "train.py", *flags(options)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    cores = len(os.sched_getaffinity(0))
    assert f"1 process on cpu, {cores} thread{'s' * (cores > 1)} each" in done.stdout
    assert "ce: test accuracy" in done.stdout


def test_one_run_is_trained_by_one_process_at_a_time(cli, tmp_path):
    import fcntl

    from experiments.config import RunConfig

    options = TINY | {"output": tmp_path}
    folder = RunConfig.from_options(options).folder
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = cli(*flags(options))
    assert done.returncode == 2
    assert "is being trained by" in done.stderr
