"""What the trainer tells a loss: class counts, progress, weights to come, validation outputs."""

import json
import subprocess
import time

import numpy as np
import psutil
import pytest
import torch
from safetensors.numpy import load_file
from small_runs import ROOT, command, environment, metrics, result_hash, stop_after

from analyze.errors import UsageError
from experiments.config import RunConfig
from experiments.data import datasets
from experiments.training import criterion
from experiments.training.trainer import Trainer

OWN = "./tests/helpers/knowing_losses.py"


def test_class_counts_are_those_of_the_labels_that_are_trained_on():
    options = {"dataset": "digits", "imbalance": 10, "label_noise": 0.3, "unlabelled": 0.2}
    config = RunConfig.from_options(options | {"loss": f"{OWN}:Prior:tau=2"})
    dataset = datasets.load(config)
    loss = criterion.create(config, dataset)
    targets = dataset.train.targets
    counts = targets[targets >= 0].bincount(minlength=10).float()
    assert len(set(counts.tolist())) > 5
    want = 2 * (counts / counts.sum()).log()
    torch.testing.assert_close(loss.criterion.shift, want)


def test_progress_is_the_share_of_steps_done(train_here, monkeypatch):
    told = []
    real = Trainer.step

    def noting(self, positions):
        real(self, positions)
        told.append((self.learner.criterion.criterion.progress, self.steps_done))

    monkeypatch.setattr(Trainer, "step", noting)
    assert train_here(loss=f"{OWN}:Ramp", batch_size=250)[1] == 0
    assert len(told) == 2 * 5
    assert [progress for progress, _ in told] == [step / 10 for _, step in told]


def test_class_weights_wait_for_their_time(train_here):
    shared = {"epochs": 2, "schedule": "constant", "imbalance": 5}
    plain, _ = train_here(**shared, study="plain")
    late, _ = train_here(**shared, study="late", class_weights="balanced", class_weights_from=0.5)
    whole, _ = train_here(**shared, study="whole", class_weights="balanced")
    losses = [[epoch["train/loss"] for epoch in metrics(f)] for f in (plain, late, whole)]
    assert losses[1][0] == losses[0][0] != losses[2][0]
    assert losses[1][1] != losses[0][1]


def test_class_weights_that_wait_survive_a_resume(train_here, monkeypatch, tmp_path):
    options = {"batch_size": 250, "imbalance": 5, "class_weights": "balanced"}
    options |= {"class_weights_from": 0.5, "checkpoint_every": "1", "loss": "ce+0.5*dice"}
    straight, _ = train_here(tmp_path / "straight", **options)
    for step in (2, 4):
        with monkeypatch.context() as patch:
            stop_after(patch, step)
            assert train_here(tmp_path / "stopped", study=f"s{step}", **options)[1] == 143
        stopped, status = train_here(tmp_path / "stopped", study=f"s{step}", **options)
        assert status == 0
        assert result_hash(stopped) == result_hash(straight)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"class_weights_from": 1.5, "class_weights": "balanced"}, r"must be in \[0, 1\]"),
        ({"loss": f"{OWN}:Pairs", "grad_accum": 2}, "sum over all pairs"),
        ({"loss": f"{OWN}:Ramp:gama=1"}, "did you mean 'gamma'"),
        ({"head": "cosin"}, "--head must be linear, cosine, or cosine:S"),
        ({"head": "cosine:-1"}, "--head must be linear, cosine, or cosine:S"),
    ],
)
def test_what_cannot_be_told_is_refused_in_one_line(train_here, options, said):
    with pytest.raises(UsageError, match=said) as refusal:
        train_here(**options)
    assert "\n" not in str(refusal.value)


def test_weights_that_a_loss_hides_cannot_wait(train_here):
    options = {"class_weights": "balanced", "class_weights_from": 0.5}
    with pytest.raises(UsageError, match="Hidden must keep its class weights as `weight`"):
        train_here(loss=f"{OWN}:Hidden", **options)


def test_a_reading_of_its_own_is_stored_and_scored(train_here):
    folder, status = train_here(loss="focal:gamma=3")
    assert status == 0
    with np.load(folder / "predictions.npz") as arrays:
        sums = np.exp(arrays["test_log_probs"].astype(float)).sum(1)
        np.testing.assert_allclose(sums, 1, atol=1e-5)
        assert arrays["val_log_probs"].shape == arrays["val_logits"].shape
        assert arrays["test_log_probs"].dtype == np.float32
        rows, labels = arrays["test_log_probs"].astype(float), arrays["test_targets"]
    summary = json.loads((folder / "summary.json").read_text())
    nll = -rows[np.arange(len(labels)), labels].mean()
    assert summary["test/nll_own"] == pytest.approx(nll, rel=1e-5)
    assert {"test/ece_own", "test/accuracy_own"} <= summary.keys()
    described = json.loads((folder / "config.json").read_text())
    assert "closed-form link" in described["reading"]


def test_a_loss_read_by_softmax_stores_nothing_more(train_here):
    folder, _ = train_here()
    with np.load(folder / "predictions.npz") as arrays:
        assert not [name for name in arrays if "log_probs" in name]
    assert not [
        name for name in json.loads((folder / "summary.json").read_text()) if "own" in name
    ]
    assert json.loads((folder / "config.json").read_text())["reading"] == "softmax"


def test_a_faulty_reading_loses_no_run(train_here, capsys):
    folder, status = train_here(loss=f"{OWN}:Faulty")
    assert status == 0
    assert "is not finite for the val images: it is left out" in capsys.readouterr().out
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert "test/nll_own" not in summary


def steps_done(output):
    names = [path.name for path in output.glob("single/*/checkpoints/step-*")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def start(options, processes):
    return subprocess.Popen(
        command(options, processes),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_loss_that_knows_everything_is_killed_and_goes_on(tmp_path, processes):
    """A user's file with every hook, by the real command: kill -9 at a step changes nothing."""
    loss = f"{OWN}:Prior+{OWN}:Ramp+0.1*{OWN}:Pairs+{OWN}:Feedback"
    options = {"loss": loss, "batch_size": 250, "epochs": 4, "checkpoint_every": "1"}
    for name in ("straight", "killed"):
        run = start(options | {"output": tmp_path / name}, processes)
        if name == "killed":
            deadline = time.monotonic() + 120
            while steps_done(tmp_path / name) < 6 and time.monotonic() < deadline:
                time.sleep(0.002)
            launched = psutil.Process(run.pid)  # torchrun gives each process a session of its own
            for process in [*launched.children(recursive=True), launched]:
                process.kill()
            run.communicate()
            assert 6 <= steps_done(tmp_path / name) < 20
            run = start(options | {"output": tmp_path / name}, processes)
        _, errors = run.communicate(timeout=240)
        assert run.returncode == 0, errors[-2000:]
    straight, killed = (next((tmp_path / n / "single").iterdir()) for n in ("straight", "killed"))
    assert result_hash(straight) == result_hash(killed)
    temperatures = []
    for folder in (straight, killed):
        last = sorted((folder / "checkpoints").iterdir())[-1]
        (state,) = (
            v for k, v in load_file(last / "criterion.safetensors").items() if "temperature" in k
        )
        temperatures.append(float(state))
    assert temperatures[0] == temperatures[1] != 1.0
