"""Two and three real processes compute what one does."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, environment, metrics, result_hash

LIMITS = {"torch.float32": 1e-5, "torch.float64": 1e-12}


def launch(processes, *arguments):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    worker = str(ROOT / "tests" / "distributed_worker.py")
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


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "weights.pt"
    launch(1, "weights", out)
    return torch.load(out)


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_have_the_weights_of_one(tmp_path, one_process, processes):
    launch(processes, "weights", tmp_path / "weights.pt")
    several = torch.load(tmp_path / "weights.pt")
    assert several.keys() == one_process.keys()
    for case, expected in one_process.items():
        limit = LIMITS[case.split()[1]]
        for name, value in expected.items():
            difference = (several[case][name] - value).norm() / value.norm()
            assert difference <= limit, (case, name, float(difference))


def test_two_processes_resume_from_every_step(tmp_path):
    launch(2, "stop_and_resume", tmp_path)
    hashes = [result_hash(next(study.iterdir())) for study in tmp_path.glob("stop-*")]
    assert len(hashes) == 11
    assert len(set(hashes)) == 1


def test_two_processes_are_two_and_evaluate_every_image_once(cli, tmp_path):
    common = ["--dataset=digits", "--model=resnet8", "--epochs=4", "--wandb=disabled"]
    folders = []
    for processes in (1, 2):
        output = tmp_path / str(processes)
        done = cli(*common, f"--output={output}", processes=processes)
        assert done.returncode == 0, done.stderr
        assert f"{processes} process" in done.stdout
        folders.append(next((output / "single").iterdir()))
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
