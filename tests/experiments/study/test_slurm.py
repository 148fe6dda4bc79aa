"""The SLURM launcher on a real slurmctld and slurmd, on loopback."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from small_runs import ROOT, environment
from studies import attempts, hashes, in_the_middle, until, write

from analyze.errors import UsageError
from experiments.__main__ import main
from experiments.study import grid as studies
from experiments.study import slurm

GRID = (
    "loss: {values: [ce, focal, hinge]}",
    "seed: {values: [0, 1]}",
    "epochs: {value: 15}",
    "checkpoint_every: {value: '4'}",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The environment of commands that talk to a cluster of this machine alone."""
    commands = ("slurmctld", "slurmd", "munged", "sbatch")
    missing = [name for name in commands if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and {', '.join(missing)}: scripts/slurm.sh install")
    pytest.importorskip("submitit")
    state = tmp_path_factory.mktemp("slurm")
    script = ROOT / "scripts" / "slurm.sh"
    variables = environment(SLURM_STATE=str(state), SLURM_CONF=str(state / "slurm.conf"))
    subprocess.run([script, "start"], env=variables, check=True, timeout=60)
    yield variables
    subprocess.run([script, "stop"], env=variables, check=True, timeout=60)


def ask(cluster, *command):
    return subprocess.run(
        command, env=cluster, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def submit(cluster, study, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments", "run", study, "--launcher", "slurm", *arguments],
        cwd=ROOT,
        env=cluster,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_an_array_survives_warnings_and_requeueing(tmp_path, cluster, monkeypatch):
    study = write(tmp_path, *GRID)
    output = tmp_path / "cluster"
    command = ("--output", output, "--workers", "2", "--slurm", "time=60", "--slurm", "mem=900M")
    submitted = submit(cluster, study, *command)
    assert submitted.returncode == 0, submitted.stderr
    assert "submitted 6 runs as job" in submitted.stdout
    again = submit(cluster, study, *command)
    assert "SLURM's queue already" in again.stdout
    [numbers] = [json.loads(path.read_text()) for path in output.glob("tiny/.slurm/*.json")]
    running = []

    def look(condition):
        running.append(ask(cluster, "squeue", "--noheader", "--states=RUNNING").count("\n"))
        return condition()

    warned = until(lambda: look(lambda: in_the_middle(output, finished=0)))
    with contextlib.suppress(subprocess.TimeoutExpired):  # it goes on asking while a job restarts
        warning = ("scancel", "--signal=USR2", numbers[warned.name])
        subprocess.run(warning, env=cluster, timeout=2, check=False)
    requeued = until(lambda: look(lambda: in_the_middle(output, finished=1, other_than=warned)))
    ask(cluster, "scontrol", "requeue", numbers[requeued.name])
    until(lambda: look(lambda: len(hashes(output)) == 6), 400)

    for folder in (warned, requeued):
        assert attempts(folder) >= 2
        assert "continuing at epoch" in (folder / "log.txt").read_text()
    assert max(running) == 2
    until(lambda: not ask(cluster, "squeue", "--noheader"))

    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert main(["run", str(study), "--output", str(tmp_path / "local")]) == 0
    assert hashes(output) == hashes(tmp_path / "local")
    finished = submit(cluster, study, *command)
    assert finished.returncode == 0
    assert "submitted" not in finished.stdout


@pytest.mark.slow
def test_several_processes_of_a_job_train_a_run_together(tmp_path, cluster):
    study = write(tmp_path, "epochs: {value: 1}", "loss: {value: ce}")
    submitted = submit(
        cluster,
        study,
        "--output",
        tmp_path,
        "--processes-per-run",
        "2",
        "--slurm",
        "cpus-per-task=2",
    )
    assert submitted.returncode == 0, submitted.stderr
    [log] = until(lambda: [p.parent / "log.txt" for p in tmp_path.glob("*/*/summary.json")])
    assert "2 processes on cpu" in log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("partition=nowhere", "SLURM does not take the jobs: .*Invalid partition"),
        ("time=soon", "--slurm time must be a number of minutes, at least 5, got 'soon'"),
    ],
)
def test_what_slurm_does_not_take_is_said_in_a_line(tmp_path, cluster, option, message):
    study = write(tmp_path, "loss: {values: [ce, focal]}")
    submitted = submit(cluster, study, "--output", tmp_path, "--slurm", option)
    assert submitted.returncode == 2
    assert re.search(message, submitted.stderr)


def test_without_slurm_the_launcher_says_so(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    runs = studies.read(str(write(tmp_path)), output=str(tmp_path)).runs
    with pytest.raises(UsageError, match="there is no sbatch on this machine"):
        slurm.submit("tiny", runs, at_once=0, processes=1, options={})
