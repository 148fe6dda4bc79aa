"""Two and three real processes compute what one does."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import ROOT, TINY, command, environment, flags, metrics, result_hash

from experiments.machine import distributed

LIMITS = {"torch.float32": 1e-5, "torch.float64": 1e-12}


def launch(processes, *arguments):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    worker = str(ROOT / "tests/helpers/distributed_worker.py")
    done = subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), worker, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env=environment(PYTHONPATH=str(ROOT)),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module", params=["some", pytest.param("every", marks=pytest.mark.slow)])
def one_process(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "weights.pt"
    launch(1, request.param, out)
    return request.param, torch.load(out)


@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_several_processes_have_the_weights_of_one(tmp_path, one_process, processes):
    losses, one_process = one_process
    launch(processes, losses, tmp_path / "weights.pt")
    several = torch.load(tmp_path / "weights.pt")
    assert several.keys() == one_process.keys()
    for case, expected in one_process.items():
        limit = LIMITS[case.split()[1]]
        for name, value in expected.items():
            difference = (several[case][name] - value).norm() / value.norm()
            assert difference <= limit, (case, name, float(difference))


@pytest.mark.parametrize(
    ("said", "on_cpu"), [(None, False), ("False", False), ("True", True), ("true", True)]
)
def test_accelerate_may_be_told_to_leave_the_gpu_alone(monkeypatch, said, on_cpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    if said:
        monkeypatch.setenv("ACCELERATE_USE_CPU", said)  # as `accelerate launch --cpu` writes it
    assert distributed.on_cpu() == on_cpu


# Sums of three depend on their order.
@pytest.mark.parametrize("processes", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_several_processes_resume_from_every_step(tmp_path, processes):
    launch(processes, "stop_and_resume", tmp_path)
    hashes = [result_hash(next(study.iterdir())) for study in tmp_path.glob("stop-*")]
    assert len(hashes) == 11
    assert len(set(hashes)) == 1


def test_two_processes_are_two_and_evaluate_every_image_once(train_here, cli, tmp_path):
    alone, status = train_here(epochs=4)
    assert status == 0
    done = cli(*flags(TINY | {"epochs": 4, "output": tmp_path / "two"}), processes=2)
    assert done.returncode == 0, done.stderr
    assert "2 processes on cpu" in done.stdout
    folders = [alone, next((tmp_path / "two" / "single").iterdir())]
    config = json.loads((folders[1] / "config.json").read_text())
    assert config["processes"] == 2
    for folder in folders:
        with np.load(folder / "predictions.npz") as predictions:
            for part in ("val", "test"):
                index = predictions[f"{part}_index"]
                assert len(np.unique(index)) == len(index) == len(predictions[f"{part}_logits"])
    # BatchNorm's statistics are each process's own; the curves agree all the same.
    one, two = (metrics(folder) for folder in folders)
    assert one[0]["train/loss"] == pytest.approx(two[0]["train/loss"], abs=0.05)
    assert one[-1]["val/accuracy"] == pytest.approx(two[-1]["val/accuracy"], abs=0.1)


def test_two_machines_without_a_common_disk_equal_two_processes(tmp_path):
    """Two launches that meet on loopback, each with an output folder of its own."""
    options = {"epochs": 1, "batch_size": 250}
    together = tmp_path / "together"
    done = subprocess.run(
        command(options | {"output": together}, processes=2),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    machines = [
        subprocess.Popen(
            [
                *[Path(sys.executable).parent / "accelerate", "launch", "--multi_gpu"],
                *["--num_machines", "2", "--num_processes", "2", "--machine_rank", str(rank)],
                *["--main_process_ip", "127.0.0.1", "--main_process_port", str(port)],
                *["--mixed_precision", "no", "--dynamo_backend", "no"],
                *["train.py", *flags(TINY | options | {"output": tmp_path / f"machine-{rank}"})],
            ],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [machine.communicate(timeout=240)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], outputs
    assert "2 processes on cpu" in outputs[0]
    assert not (tmp_path / "machine-1").exists()
    apart, same = (next((d / "single").iterdir()) for d in (tmp_path / "machine-0", together))
    assert result_hash(apart) == result_hash(same)
