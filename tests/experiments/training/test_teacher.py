"""Distillation: what the teacher says, what the student's loss is, which teachers are refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from small_runs import TINY, metrics
from torch.nn import functional as F

from analyze.errors import UsageError
from experiments.config import RunConfig
from experiments.data import datasets
from experiments.data.pipeline import Pipeline
from experiments.machine import distributed
from experiments.training import criterion, teacher
from experiments.training.learner import Learner
from experiments.training.trainer import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a finished run on digits."""
    AcceleratorState._reset_state(reset_partial_state=True)
    output = tmp_path_factory.mktemp("teacher")
    config = RunConfig.from_options(TINY | {"output": output, "epochs": 4, "lr": 0.05})
    assert train(config) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    return config.folder


def student(trained, **options):
    config = RunConfig.from_options(TINY | {"loss": "kl", "teacher": trained} | options)
    return config, datasets.load(config), distributed.start(config)


@pytest.mark.parametrize("options", [{}, {"train_size": 60, "imbalance": 10}])
def test_the_teacher_says_what_it_said_when_it_was_scored(trained, options):
    # Also to a student whose own mean and std are others.
    config, dataset, accelerator = student(trained, temperature=2.0, **options)
    speaks = teacher.load(config, dataset, accelerator)
    test = Pipeline(dataset.test, dataset.mean, dataset.std, accelerator.device)
    said = speaks(test.clean(torch.arange(len(test))))
    with np.load(trained / "predictions.npz") as predictions:
        logits = torch.from_numpy(predictions["test_logits"])
    assert torch.allclose(said, (logits / 2.0).softmax(1), atol=1e-4)
    assert not said.requires_grad


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("grad_accum", [1, 3])
def test_the_loss_is_the_divergence_at_that_temperature_times_its_square(
    trained, temperature, grad_accum
):
    config, dataset, accelerator = student(
        trained, temperature=temperature, mixup=0.4, grad_accum=grad_accum
    )
    learner = Learner(config, accelerator, dataset, criterion.create(config, dataset))
    seen = []
    learner.network.register_forward_hook(lambda _, images, output: seen.append((*images, output)))
    loss = learner.step(torch.arange(100), epoch=0, step=0)
    with torch.no_grad():
        targets = torch.cat([learner.teacher(images) for images, _ in seen])
        output = torch.cat([output for _, output in seen])
    expected = F.kl_div(F.log_softmax(output / temperature, 1), targets, reduction="batchmean")
    assert float(loss) == pytest.approx(float(expected) * temperature**2, rel=1e-5)


def test_the_gradient_at_a_high_temperature_is_that_of_matching_logits(trained):
    # Hinton et al., equation 4: (z - v) / N for logits of mean zero, as T grows.
    z = torch.randn(5, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    v = torch.randn(5, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    z, v = (logits - logits.mean(1, keepdim=True) for logits in (z, v))
    config, dataset, accelerator = student(trained, temperature=1e4)
    objective = Learner(config, accelerator, dataset, criterion.create(config)).objective
    z.requires_grad_()
    targets = (v / config.temperature).softmax(1)
    objective.begin([targets], 5)
    objective.contribution(z, targets).backward()
    assert torch.allclose(z.grad, (z - v).detach() / 10 / 5, rtol=1e-3, atol=1e-7)


def test_the_teacher_sees_the_students_images_and_stays_as_it_is(trained, train_here, monkeypatch):
    shown, seen = [], []
    augmented, ask = Pipeline.augmented, teacher.Teacher.__call__

    def show(self, positions, epoch):
        shown.append(augmented(self, positions, epoch))
        return shown[-1]

    def see(self, images):
        seen.append(images)
        assert not self.network.training
        return ask(self, images)

    monkeypatch.setattr(Pipeline, "augmented", show)
    monkeypatch.setattr(teacher.Teacher, "__call__", see)
    before = (trained / "model.safetensors").read_bytes()
    folder, status = train_here(loss="kl", teacher=trained, cutmix=1.0, epochs=1)
    assert status == 0
    assert all(a is b for a, b in zip(shown, seen, strict=True))
    assert (trained / "model.safetensors").read_bytes() == before
    names = load_file(folder / "model.safetensors").keys()
    assert names == load_file(trained / "model.safetensors").keys(), "the teacher is not saved"
    told = json.loads((folder / "config.json").read_text())["teacher"]
    assert told["name"] == trained.name


def test_a_student_comes_to_agree_with_its_teacher(trained, train_here):
    folder, _ = train_here(loss="kl", teacher=trained, epochs=6, lr=0.05, batch_size=64)
    losses = [line["train/loss"] for line in metrics(folder)]
    assert losses[-1] < losses[0] / 4
    with np.load(trained / "predictions.npz") as one, np.load(folder / "predictions.npz") as other:
        agree = one["test_logits"].argmax(1) == other["test_logits"].argmax(1)
    assert agree.mean() > 0.8


# ------------------------------------------------------------------------------ what is refused


@pytest.fixture
def other_teacher(trained, tmp_path):
    """A copy of the teacher's folder, to be changed."""

    def changed(**description):
        folder = tmp_path / "changed"
        shutil.copytree(trained, folder)
        config = json.loads((folder / "config.json").read_text())
        options = description.pop("config", {})
        config["config"] |= options
        (folder / "config.json").write_text(json.dumps(config | description))
        return folder

    return changed


def refused(train_here, said, **options):
    with pytest.raises(UsageError) as refusal:
        train_here(**{"loss": "kl"} | options)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ({"classes": ["cat", "dog"]}, "has other classes: 2 (cat, dog), and this run 10"),
        ({"classes": list("1234567890")}, "has other classes: 10 (1, 2, 3, ...)"),
        ({"mean": [0.5] * 3, "std": [0.2] * 3}, "takes images of 3 channels, these have 1"),
        ({"config": {"split_seed": 7}}, "trained on images that this run holds out"),
        ({"config": {"val_size": 0.2}}, "the same --split-seed (0) and --val-size (0.2)"),
        ({"config": {"model": "resnet20"}}, "its model.safetensors cannot be loaded"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(train_here, other_teacher, description, said):
    refused(train_here, said, teacher=other_teacher(**description))


def test_a_teacher_trained_on_other_data_may_have_another_split(other_teacher, train_here):
    elsewhere = other_teacher(config={"dataset": "folder", "split_seed": 7})
    assert train_here(loss="kl", teacher=elsewhere, epochs=1)[1] == 0


def test_a_folder_that_holds_no_finished_run_is_refused(
    train_here, trained, other_teacher, tmp_path
):
    refused(train_here, "is no folder of a finished run", teacher=tmp_path / "nothing")
    folder = other_teacher()
    (folder / "model.safetensors").write_bytes(b"half")
    refused(train_here, "its model.safetensors cannot be loaded", teacher=folder)
    (folder / "model.safetensors").unlink()
    refused(train_here, "its model.safetensors cannot be loaded", teacher=folder)
    (folder / "summary.json").write_text(json.dumps({"status": "diverged"}))
    refused(train_here, "is no finished run: its status is 'diverged'", teacher=folder)
    (folder / "summary.json").unlink()
    refused(train_here, "is no folder of a finished run", teacher=folder)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss": "ce"}, "--teacher gives probabilities to learn by --loss kl, got --loss ce"),
        ({"loss": "kl+0.5*ce"}, "got --loss kl+0.5*ce"),
        ({"label_noise": 0.1}, "--label-noise must be left alone with --teacher"),
        ({"unlabelled": 0.1}, "--unlabelled must be left alone with --teacher"),
        ({"train_labels": "l.npy"}, "--train-labels must be left alone with --teacher"),
        ({"temperature": 0}, "--temperature must be a positive number"),
    ],
)
def test_what_a_teacher_makes_meaningless_is_refused(train_here, trained, options, said):
    refused(train_here, said, teacher=trained, **options)


def test_a_temperature_without_a_teacher_is_refused(train_here):
    refused(train_here, "--temperature must be left alone without --teacher", temperature=2)
