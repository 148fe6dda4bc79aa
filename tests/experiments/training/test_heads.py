"""The cosine head: for every model, in float32, from the same weights as the linear one."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from analyze.errors import UsageError
from experiments.config import RunConfig
from experiments.training import heads, models
from experiments.training.heads import CosineLinear


@pytest.mark.parametrize(
    "name", ["resnet8", "resnet18", "timm:resnet10t", "timm:mobilenetv3_small_050"]
)
def test_every_linear_classifier_becomes_one_of_cosines(name):
    linear, cosine = (models.create(name, 7, 3, seed=1).eval() for _ in range(2))
    heads.replace(cosine, "cosine:4", name, cosines=False)
    (head,) = (m for m in cosine.modules() if isinstance(m, CosineLinear))
    inputs = []
    head.register_forward_hook(lambda module, args, output: inputs.append(args[0]))
    images = torch.randn(2, 3, 32, 32)
    z = cosine(images)
    assert z.abs().max() <= 4 + 1e-5
    want = 4 * F.cosine_similarity(inputs[0][:, None], head.weight[None], dim=2)
    torch.testing.assert_close(z, want, rtol=1e-4, atol=1e-5)
    shared = [n for n in linear.state_dict() if n in cosine.state_dict() and "bias" not in n]
    for parameter in shared:
        torch.testing.assert_close(linear.state_dict()[parameter], cosine.state_dict()[parameter])


def test_a_scale_is_learnt_unless_it_is_given_or_the_loss_has_one():
    for head, cosines, scale, learnt in (
        ("cosine", False, heads.INITIAL_SCALE, True),
        ("cosine:16", False, 16.0, False),
        ("cosine", True, 1.0, False),
    ):
        network = models.create("resnet8", 10, 1, seed=0)
        heads.replace(network, head, "resnet8", cosines=cosines)
        assert network.fc.scale.item() == scale
        assert isinstance(network.fc.scale, nn.Parameter) == learnt


def test_the_cosines_are_computed_in_float32_under_autocast():
    layer = CosineLinear(nn.Parameter(torch.randn(5, 8)))
    x = torch.randn(3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = layer(x)
    assert z.dtype == torch.float32
    torch.testing.assert_close(z, layer(x))


def test_a_model_without_a_linear_classifier_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten())
    with pytest.raises(UsageError, match="--head cosine replaces a linear classifier, and mine"):
        heads.replace(network, "cosine", "mine", cosines=False)


def test_linear_is_neutral_and_cosine_is_another_run():
    hashes = [RunConfig.from_options({"head": h}).hash for h in ("linear", "cosine", "cosine:16")]
    assert hashes[0] == RunConfig().hash
    assert len(set(hashes)) == 3
    late = {"class_weights_from": 0.8}
    assert RunConfig.from_options(late).hash == RunConfig().hash  # without weights, no effect
    weighted = {"class_weights": "balanced"}
    hashes = {RunConfig.from_options(weighted | more).hash for more in ({}, late)}
    assert len(hashes) == 2


def test_a_run_with_a_cosine_head_learns_records_it_and_teaches(train_here):
    folder, status = train_here(head="cosine", epochs=6, batch_size=50)
    assert status == 0
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["test/accuracy"] > 0.8
    assert json.loads((folder / "config.json").read_text())["config"]["head"] == "cosine"
    with np.load(folder / "predictions.npz") as arrays:
        assert np.abs(arrays["test_logits"]).max() < 60
    assert train_here(loss="kl", teacher=str(folder), epochs=1)[1] == 0
