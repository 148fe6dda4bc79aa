"""AdamW, averaged weights, pretrained and frozen layers, by torch and by hand."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_runs import TINY, stop_after

from analyze.comparison.legend import legend
from analyze.comparison.report import build_report
from analyze.errors import UsageError
from experiments.config import RunConfig
from experiments.training import heads, models
from experiments.training.optimisation import Average, create


@contextlib.contextmanager
def fresh():
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def trained(output, **options):
    from experiments.training.trainer import train

    config = RunConfig.from_options(TINY | {"output": output} | options)
    with fresh():
        assert train(config) == 0
    return config.folder


def test_a_step_of_adamw_by_hand_in_float64():
    """Decoupled decay, then the bias-corrected averages; no decay of vectors."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2).double()
    config = RunConfig(optimizer="adamw", lr=0.01, betas="0.8,0.95", eps=1e-6, weight_decay=0.1)
    optimizer = create(model, config)
    expected = {n: p.detach().clone() for n, p in model.named_parameters()}
    averages = {n: (torch.zeros_like(p), torch.zeros_like(p)) for n, p in expected.items()}
    for step in range(1, 6):
        x = torch.randn(7, 3, dtype=torch.float64)
        (model(x) ** 2).mean().backward()
        for name, p in model.named_parameters():
            first, second = averages[name]
            first.mul_(0.8).add_(0.2 * p.grad)
            second.mul_(0.95).add_(0.05 * p.grad**2)
            w = expected[name]
            w.mul_(1 - 0.01 * (0.1 if p.ndim > 1 else 0.0))
            a, b = first / (1 - 0.8**step), second / (1 - 0.95**step)
            w.sub_(0.01 * a / (b.sqrt() + 1e-6))
        optimizer.step()
        optimizer.zero_grad()
        for name, p in model.named_parameters():
            torch.testing.assert_close(p.detach(), expected[name], rtol=1e-12, atol=1e-14)


def test_the_average_by_hand_in_float64():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).double()
    average = Average(network, 0.9)
    expected = {n: t.clone() for n, t in network.state_dict().items()}
    for _ in range(5):
        network(torch.randn(6, 3, dtype=torch.float64))
        with torch.no_grad():
            for p in network.parameters():
                p.add_(torch.randn_like(p))
        average.update(network)
        for name, tensor in network.state_dict().items():
            floating = tensor.is_floating_point()
            old = expected[name]
            expected[name] = 0.9 * old + 0.1 * tensor if floating else tensor.clone()
    for name, tensor in average.network.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-12, atol=1e-14)
    assert not any(p.requires_grad for p in average.network.parameters())


def test_the_average_is_what_a_run_tests_and_saves(tmp_path):
    run = trained(tmp_path, ema=0.9, optimizer="adamw", lr=0.003)
    summary = json.loads((run / "summary.json").read_text())
    averaged, last = (load_file(run / name) for name in ("model.safetensors", "last.safetensors"))
    assert not torch.equal(averaged["fc.weight"], last["fc.weight"])
    assert summary["last/test/accuracy"] > 0.5
    assert summary["last/test/nll"] != summary["test/nll"]
    described = json.loads((run / "config.json").read_text())
    network = models.restore(run, described, "run")
    assert torch.equal(network.fc.weight, averaged["fc.weight"])
    again = build_report([run])
    assert any("moving average" in line for line in legend(again))


@pytest.mark.parametrize(
    "options",
    [{"optimizer": "adamw", "lr": 0.003, "ema": 0.9}, {"ema": 0.95, "backbone_lr": 0.1}],
    ids=["adamw", "sgd"],
)
def test_stopped_and_continued_the_bits_are_those_of_one_go(tmp_path, monkeypatch, options):
    from experiments.training.trainer import train

    whole = trained(tmp_path / "a", **options)
    with monkeypatch.context() as patch, fresh():
        stop_after(patch, 13)
        config = RunConfig.from_options(TINY | {"output": tmp_path / "b"} | options)
        assert train(config) == 143
    parts = trained(tmp_path / "b", **options)
    for name in ("model.safetensors", "last.safetensors"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    with np.load(whole / "predictions.npz") as a, np.load(parts / "predictions.npz") as b:
        np.testing.assert_array_equal(a["test_logits"], b["test_logits"])


def test_layers_before_the_classifier_learn_slower():
    network = models.create("resnet8", 10, 3, seed=0)
    config = RunConfig(lr=0.1, backbone_lr=0.25, momentum=0, nesterov=False, weight_decay=0)
    optimizer = create(network, config, heads.backbone(network))
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    for p in network.parameters():
        p.grad = torch.ones_like(p)
    for group in optimizer.param_groups:  # as the learner does before each step
        group["lr"] = 0.1 * group["factor"]
    optimizer.step()
    for name, p in network.named_parameters():
        rate = 0.1 if name.startswith("fc.") else 0.025
        torch.testing.assert_close(before[name] - p.detach(), torch.full_like(p, rate))
    assert len(create(network, RunConfig()).param_groups) == 2


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Weights of resnet10t in a cache of the Hugging Face hub, as timm's download leaves them."""
    import timm

    torch.manual_seed(7)
    network = timm.create_model("resnet10t")
    hub = timm.get_pretrained_cfg("resnet10t").hf_hub_id.replace("/", "--")
    place = tmp_path / "hub" / f"models--{hub}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    snapshot = place / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(network.state_dict(), snapshot / "model.safetensors")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return network


FINE = {"model": "timm:resnet10t", "pretrained": True, "epochs": 1, "lr": 0.01}


def test_pretrained_weights_are_the_start_but_for_the_classifier(cached):
    ours = models.create("timm:resnet10t", 7, 3, seed=3, pretrained=True).state_dict()
    theirs = cached.state_dict()
    for name, tensor in ours.items():
        if name.startswith("fc."):
            assert tensor.shape[0] == 7
        else:
            assert torch.equal(tensor, theirs[name]), name


def test_a_frozen_run_changes_the_classifier_alone_and_records_its_start(cached, tmp_path):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        run = trained(tmp_path, **FINE, freeze=True)
    saved = load_file(run / "model.safetensors")
    start = models.create("timm:resnet10t", 10, 1, seed=0, pretrained=True)
    for name, tensor in start.state_dict().items():
        assert torch.equal(saved[name], tensor) == (not name.startswith("fc.")), name
    described = json.loads((run / "config.json").read_text())
    assert described["mean"] == pytest.approx([np.mean((0.485, 0.456, 0.406))])
    assert described["pretrained"] == models.fingerprint(heads.backbone(start))
    assert "was pretrained on images of 176x176 pixels" in output.getvalue()


def test_without_cache_and_network_one_line_says_what_to_do(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="the weights of resnet10t are not at hand") as refused:
        models.create("timm:resnet10t", 7, 3, seed=3, pretrained=True)
    assert "HF_HOME" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adamw"}, "--lr must be at most 0.1 with --optimizer adamw"),
        ({"optimizer": "adamw", "lr": 0.01, "momentum": 0.5}, "--momentum must be left alone"),
        ({"betas": "0.5,0.5"}, "--betas must be left alone with --optimizer sgd"),
        ({"betas": "0.9"}, "--betas must be two numbers"),
        ({"pretrained": True}, "--model must be timm:NAME with --pretrained"),
        ({"freeze": True}, "--freeze must be left alone without --pretrained"),
        (FINE | {"freeze": True, "backbone_lr": 0.1}, "--backbone-lr must be left alone with"),
    ],
)
def test_options_without_an_effect_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        RunConfig(**options)


def test_new_options_leave_the_names_of_earlier_runs_alone():
    assert RunConfig().hash == "ce6d4f0b"  # as before there were these options
    assert RunConfig(ema=0.999).hash != RunConfig().hash
