"""Real training runs, small ones, in this process."""

import json
import signal

import numpy as np
import psutil
import pytest
import torch
from small_runs import metrics, result_hash, stop_after
from torch import nn

from analyze.errors import UsageError
from experiments.data import datasets
from experiments.data.pipeline import Pipeline
from experiments.training import criterion, models
from experiments.training.trainer import Trainer


def test_a_run_learns_and_leaves_its_record(train_here):
    folder, status = train_here(epochs=8, lr=0.05)
    assert status == 0
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["test/accuracy"] > 0.8
    assert summary["epochs"] == 8
    assert summary["steps"] == 8 * 10
    assert summary["images_per_second"] > 0
    lines = metrics(folder)
    assert [line["epoch"] for line in lines] == list(range(1, 9))
    assert lines[-1]["train/loss"] < lines[0]["train/loss"] / 2
    assert all(0 < line["val/nll_ts"] <= line["val/nll"] for line in lines)
    config = json.loads((folder / "config.json").read_text())
    assert config["processes"] == 1
    assert config["config"]["epochs"] == 8
    assert config["versions"]["torch"] == torch.__version__.partition("+")[0]
    with np.load(folder / "predictions.npz") as predictions:
        assert predictions["test_logits"].shape == (449, 10)
        assert predictions["test_logits"].dtype == np.float32
        assert (predictions["test_index"] == np.arange(449)).all()
        right = predictions["test_logits"].argmax(1) == predictions["test_targets"]
        assert right.mean() == summary["test/accuracy"]


def test_a_finished_run_is_left_alone_and_fresh_trains_it_anew(train_here, capsys):
    folder, _ = train_here(epochs=1)
    before = (folder / "summary.json").stat().st_mtime_ns
    assert train_here(epochs=1)[1] == 0
    assert "is finished" in capsys.readouterr().out
    assert (folder / "summary.json").stat().st_mtime_ns == before
    train_here(epochs=1, fresh=True)
    assert (folder / "summary.json").stat().st_mtime_ns != before


def test_fresh_deletes_runs_alone(train_here, tmp_path):
    precious = tmp_path / "runs" / "single" / "thesis"
    precious.mkdir(parents=True)
    (precious / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"holds no run, so --fresh does not delete it"):
        train_here(name="thesis", fresh=True)
    assert (precious / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("options", "at_once"),
    [({"batch_size": 16}, 64), ({"batch_size": 16, "grad_accum": 4}, 16), ({}, 449)],
)
def test_evaluation_needs_no_more_memory_than_training(train_here, monkeypatch, options, at_once):
    sizes = []
    real = Pipeline.clean
    monkeypatch.setattr(
        Pipeline, "clean", lambda self, which: sizes.append(len(which)) or real(self, which)
    )
    train_here(epochs=1, train_size=200, **options)
    assert max(sizes) == at_once


@pytest.fixture
def recorded_batches(monkeypatch):
    """What each step of a run sees: (initial weights, [images]) by run."""
    runs = []
    prepare, forward = Trainer.__init__, models.CifarResNet.forward

    def start(self, *args):
        prepare(self, *args)
        weights = {k: v.clone() for k, v in self.learner.network.state_dict().items()}
        runs.append((weights, []))

    def see(self, images):
        if self.training:
            runs[-1][1].append(images.clone())
        return forward(self, images)

    monkeypatch.setattr(Trainer, "__init__", start)
    monkeypatch.setattr(models.CifarResNet, "forward", see)
    return runs


def test_losses_with_one_seed_see_the_same_weights_batches_and_crops(train_here, recorded_batches):
    for loss in ("ce", "hinge", "focal:gamma=3", "kl"):
        train_here(loss=loss)
    train_here(loss="ce", seed=1)
    (weights, images), *others, (other_weights, other_images) = recorded_batches
    for same_weights, same_images in others:
        assert all(torch.equal(weights[k], same_weights[k]) for k in weights)
        assert all(torch.equal(a, b) for a, b in zip(images, same_images, strict=True))
    assert not torch.equal(weights["conv1.weight"], other_weights["conv1.weight"])
    assert not torch.equal(images[0], other_images[0])


def test_accumulation_in_pieces_is_the_whole_batch(train_here, monkeypatch):
    # BatchNorm sees the pieces; without it the gradient is the same.
    monkeypatch.setattr(models, "create", without_batchnorm)
    folders = [train_here(grad_accum=k, batch_size=100, lr=0.01)[0] for k in (1, 3)]
    one, three = (metrics(folder) for folder in folders)
    for a, b in zip(one, three, strict=True):
        assert a["train/loss"] == pytest.approx(b["train/loss"], rel=1e-5)
        assert a["val/nll"] == pytest.approx(b["val/nll"], rel=1e-5)


def without_batchnorm(name, num_classes, in_channels, seed, *, pretrained=False):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(128, num_classes),
    )


def with_dropout(name, num_classes, in_channels, seed, *, pretrained=False):
    torch.manual_seed(seed)
    model = models.CifarResNet(1, num_classes, in_channels)
    model.fc = nn.Sequential(nn.Dropout(0.3), model.fc)
    return model


def test_resuming_from_every_step_equals_never_having_stopped(train_here, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "create", with_dropout)
    options = {"batch_size": 250, "grad_accum": 2, "checkpoint_every": "3", "mixup": 0.4}
    folder, _ = train_here(tmp_path / "undisturbed", **options)
    expected = result_hash(folder)
    for step in range(1, 11):  # two epochs of five steps
        output = tmp_path / f"stopped-{step}"
        with monkeypatch.context() as patch:
            stop_after(patch, step)
            folder, status = train_here(output, **options)
        assert status == 128 + signal.SIGTERM
        assert not (folder / "summary.json").exists()
        folder, status = train_here(output, **options)
        assert status == 0
        assert result_hash(folder) == expected, f"stopped after step {step}"


def test_a_run_that_goes_on_elsewhere_says_what_is_other(train_here, monkeypatch, capsys):
    def changes():
        return json.loads((folder / "config.json").read_text())["changes"]

    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        folder, _ = train_here()
        assert changes() == []
    with monkeypatch.context() as patch:
        stop_after(patch, 6)
        train_here(threads=2)
    noted = ["threads 1 -> 2"]
    assert (
        "not be bit for bit that of an uninterrupted run: threads 1 -> 2"
        in capsys.readouterr().out
    )
    assert changes() == noted
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        train_here(threads=2)
    assert "bit for bit" not in capsys.readouterr().out
    assert changes() == noted
    train_here(threads=1)
    assert changes() == [*noted, "threads 2 -> 1"]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_signals_checkpoint_at_the_next_step(train_here, monkeypatch, capsys, name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    stop_after(monkeypatch, 4, number)
    folder, status = train_here()
    assert status == 128 + number
    assert "stopped at epoch 1, step 4; the same command continues" in capsys.readouterr().out
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["step-00000004"]
    assert signal.getsignal(number) is before


def test_divergence_is_a_result_with_its_step_and_last_loss(train_here, capsys):
    folder, status = train_here(lr=1e30)
    assert status == 3
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "diverged"
    assert summary["diverged_step"] == 1
    assert summary["last_train_loss"] == pytest.approx(2.3, abs=0.5)
    assert "diverged" in capsys.readouterr().out
    assert not (folder / "predictions.npz").exists()
    assert train_here(lr=1e30)[1] == 3, "it is not something to try again"


def test_another_option_under_the_same_name_is_refused_with_the_difference(train_here):
    train_here(name="mine", epochs=1)
    with pytest.raises(UsageError, match=r"--lr 0.1 -> 0.2.*--fresh"):
        train_here(name="mine", epochs=1, lr=0.2)


def test_torn_metrics_and_a_damaged_checkpoint_cost_only_what_they_held(
    train_here, tmp_path, monkeypatch
):
    expected = result_hash(train_here(tmp_path / "undisturbed")[0])
    with monkeypatch.context() as patch:
        stop_after(patch, 15)
        folder, _ = train_here(tmp_path / "damaged")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "tra')
    newest = max((folder / "checkpoints").iterdir())
    (newest / "model.safetensors").write_bytes(b"half")
    folder, _ = train_here(tmp_path / "damaged")
    assert result_hash(folder) == expected


def test_grad_accum_of_a_ratio_is_refused(train_here):
    with pytest.raises(UsageError, match="ratio of sums"):
        train_here(loss="dice", grad_accum=2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss": "focal:gama=2"}, "did you mean 'gamma'"),
        ({"loss": "focal:gamma=-1"}, "gamma"),
        ({"loss": "torch.nn:MultiMarginLoss:margn=1"}, "no setting 'margn'"),
        ({"loss": "no_such_module:Loss"}, "no such module"),
        ({"loss": "dice", "grad_accum": 2}, "ratio of sums"),
        ({"loss": "hinge", "mixup": 0.2}, "takes class indices only"),
    ],
)
def test_a_loss_that_cannot_be_is_refused_before_the_data_are_read(
    train_here, monkeypatch, options, said
):
    monkeypatch.setattr(datasets, "load", lambda config: pytest.fail("the data were read"))
    with pytest.raises(UsageError, match=said) as refusal:
        train_here(**options)
    assert refusal.value.option in options


def test_the_loss_of_a_run_is_made_once_and_a_trainer_is_born_whole(train_here, monkeypatch):
    made, trainers = [], []
    create, start = criterion.create, Trainer.__init__
    monkeypatch.setattr(criterion, "create", lambda *args: made.append(args) or create(*args))

    def noted(self, *args):
        start(self, *args)
        trainers.append((self, set(vars(self))))

    monkeypatch.setattr(Trainer, "__init__", noted)
    assert train_here(epochs=1)[1] == 0
    assert len(made) == 1
    [(trainer, born)] = trainers
    assert set(vars(trainer)) == born


@pytest.mark.parametrize("loss", ["dice", "ce+0.5*dice", "torch.nn:MultiMarginLoss"])
def test_other_losses_train_too(train_here, loss):
    folder, status = train_here(loss=loss, epochs=3)
    assert status == 0
    lines = metrics(folder)
    assert lines[-1]["train/loss"] < lines[0]["train/loss"]


def test_a_batch_too_large_for_the_gpu_is_one_line(train_here, monkeypatch):
    def step(self, positions):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(
        UsageError, match=r"resnet8 with --batch-size 128, and 0\.0 GB.*--grad-accum"
    ):
        train_here()


def test_a_batch_too_large_for_the_memory_of_a_cpu_is_one_line(train_here, monkeypatch):
    monkeypatch.setattr(Trainer, "step", lambda *_: torch.empty(2**48))
    with pytest.raises(
        UsageError, match=r"this machine's memory does not hold resnet8 with --batch"
    ):
        train_here()


@pytest.mark.slow
def test_memory_does_not_grow_over_fifty_epochs(train_here, monkeypatch):
    resident = []
    log = Trainer._log_epoch

    def watch(self, *args):
        log(self, *args)
        resident.append(psutil.Process().memory_info().rss)

    monkeypatch.setattr(Trainer, "_log_epoch", watch)
    train_here(epochs=50)
    assert len(resident) == 50
    assert resident[-1] < 1.02 * resident[9]
