import pytest
import torch

from analyze.errors import UsageError
from experiments.training import models


# He et al. 2016, table 6, in millions; the ImageNet models with a head for 10 classes.
@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("resnet20", 0.27),
        ("resnet32", 0.46),
        ("resnet44", 0.66),
        ("resnet56", 0.85),
        ("resnet110", 1.7),
        ("resnet18", 11.17),
        ("resnet50", 23.5),
    ],
)
def test_parameter_counts_are_the_published_ones(name, millions):
    count = sum(p.numel() for p in models.create(name, 10, 3, seed=0).parameters()) / 1e6
    digits = len(str(millions).partition(".")[2])
    assert round(count, digits) == millions


@pytest.mark.parametrize("name", ["resnet8", "resnet20", "resnet18", "timm:resnet26d"])
def test_small_images_become_float32_logits_under_autocast(name):
    model = models.create(name, 7, 3, seed=0).eval()
    images = torch.randn(2, 3, 32, 32).to(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = model(images)
    assert logits.shape == (2, 7)
    assert logits.dtype == torch.float32
    # Not merely bfloat16 numbers in a wider type.
    assert (logits != logits.bfloat16().float()).any()


def test_the_cifar_stem_keeps_the_resolution():
    model = models.create("resnet18", 10, 3, seed=0)
    maps = []
    model.layer1.register_forward_hook(lambda module, args, out: maps.append(out.shape))
    model.eval()(torch.zeros(1, 3, 32, 32))
    assert maps[0][2:] == (32, 32)


def test_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = models.create("resnet8", 10, 3, seed=5).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    second = models.create("resnet8", 10, 3, seed=5).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    other = models.create("resnet8", 10, 3, seed=6).state_dict()
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_shortcuts_have_no_parameters_and_pass_the_identity():
    block = models.BasicBlock(16, 32, stride=2)
    x = torch.randn(2, 16, 8, 8)
    shortcut = block.shortcut(x)
    assert torch.equal(shortcut[:, 8:24], x[:, :, ::2, ::2])
    assert shortcut[:, :8].abs().sum() == shortcut[:, 24:].abs().sum() == 0


def test_images_that_a_model_cannot_take_are_refused_before_training(train_here):
    with pytest.raises(
        UsageError, match=r"vit_tiny_patch16_224 cannot take images of 8x8 pixels: "
    ):
        train_here(model="timm:vit_tiny_patch16_224")


@pytest.mark.parametrize(
    "error", [AssertionError(), KeyError("x"), ValueError("\n"), NameError("y")]
)
def test_a_model_may_raise_anything(monkeypatch, error):
    """As timm's halonet26t does, which says nothing at all."""

    def fail(*args, **kwargs):
        raise error

    said = f"{type(error).__name__}|y"
    with pytest.raises(
        UsageError, match=rf"cannot take images of 8x8 pixels: ({said}).*choose anoth"
    ):
        models.try_out(Failing(fail), "timm:halonet26t", torch.Size((1, 8, 8)))
    monkeypatch.setattr("timm.create_model", fail)
    with pytest.raises(UsageError, match=rf"timm cannot build resnet26 for 1 channels: ({said})"):
        models.create("timm:resnet26", 10, 1, seed=0)


class Failing(torch.nn.Linear):
    def __init__(self, fail):
        super().__init__(1, 1)
        self.forward = fail


def test_a_model_of_timm_that_cannot_take_the_images_is_one_line(train_here):
    with pytest.raises(
        UsageError, match=r"halonet26t cannot take images of 8x8 pixels: AssertionErr"
    ):
        train_here(model="timm:halonet26t")


def test_a_last_batch_of_one_image_is_refused_where_batchnorm_would_fail(train_here):
    with pytest.raises(UsageError, match=r"--batch-size 128 leaves .* a single image"):
        train_here(model="resnet18", train_size=129)
    _, status = train_here(train_size=129, epochs=1)  # resnet8 ends with 2x2 places
    assert status == 0


def test_a_model_that_timm_does_not_have_is_refused_with_those_close_to_it():
    with pytest.raises(UsageError, match=r"timm has no model 'resnet51'; close to it: .*resnet50"):
        models.create("timm:resnet51", 10, 3, seed=0)
