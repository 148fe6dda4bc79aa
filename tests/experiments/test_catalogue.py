"""A model, a data set or an optimizer is one entry, and what it makes."""

import json
import pkgutil
import sys
import types

import pytest
import torch
from small_runs import result_hash, stop_after
from torch import nn

from experiments import catalogue
from experiments.catalogue import DATASETS, MODELS, DataSet, Model
from experiments.config import RunConfig
from experiments.data import datasets, sources
from experiments.data.pipeline import Augmentation
from experiments.study import worker
from experiments.training import optimisation


def small(num_classes, in_channels, width=4):
    layers = nn.Conv2d(in_channels, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(width, num_classes))


def upside_down(config):
    source = sources.digits(config)
    turned = [
        datasets.Images(p.pixels.flip(2), p.targets, p.index) for p in (source.train, source.test)
    ]
    return datasets.Source(*turned, source.classes)


@pytest.fixture
def ours(monkeypatch):
    module = types.ModuleType("ours")
    module.small, module.upside_down = small, upside_down
    monkeypatch.setitem(sys.modules, "ours", module)
    monkeypatch.setitem(MODELS, "small", Model("ours:small", {"width": 8}, ("fractions",)))
    entry = DataSet("ours:upside_down", flips=False, libraries=("sklearn.datasets",))
    monkeypatch.setitem(DATASETS, "upside_down", entry)


def test_every_entry_names_what_there_is():
    for entry in DATASETS.values():
        assert callable(pkgutil.resolve_name(entry.load))
    for name in (*MODELS, "timm:resnet26d"):
        assert callable(pkgutil.resolve_name(catalogue.model(name).create))


def test_an_entry_is_all_that_a_model_and_a_data_set_take(ours, train_here):
    folder, status = train_here(model="small", dataset="upside_down", epochs=1)
    assert status == 0
    described = json.loads((folder / "config.json").read_text())
    assert described["augmentation"]["flip"] is False
    run = RunConfig(model="small", dataset="upside_down", wandb="disabled")
    assert {"fractions", "sklearn.datasets"} <= set(worker.modules([run]))
    assert Augmentation.of(RunConfig(dataset="cifar10"), 32).flip


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.RMSprop, torch.optim.NAdam])
def test_whatever_an_optimizer_keeps_is_in_the_checkpoint(kind, train_here, monkeypatch):
    def create(groups, config):
        return kind(groups, lr=config.lr)

    monkeypatch.setitem(optimisation.OPTIMIZERS, "sgd", create)
    options = {"epochs": 1, "lr": 1e-3, "batch_size": 256}
    whole, _ = train_here(name="whole", **options)
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        train_here(name="halves", **options)
    halves, status = train_here(name="halves", **options)
    assert status == 0
    assert result_hash(whole) == result_hash(halves)


def test_a_checkpoint_of_momentum_alone_is_read():
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizer = optimisation.create(model, RunConfig())
    once = {"0": torch.randn(4, 3, 3, 3), "1": torch.randn(4)}
    optimisation.restore(optimizer, once)
    for parameter, kept in zip(model.parameters(), once.values(), strict=True):
        momentum = optimizer.state[parameter]["momentum_buffer"]
        assert torch.equal(momentum, kept)
        assert momentum.stride() == parameter.stride()
    assert set(optimisation.state_tensors(optimizer)) == {"0.momentum_buffer", "1.momentum_buffer"}
