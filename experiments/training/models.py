"""The ResNets (He et al. 2016, arXiv:1512.03385).

The CIFAR ResNets with 16, 32 and 64 channels (section 4.2) are defined here. Those with 64 to 512
channels (section 4.1) come from timm, with a stem for small images: a 3x3 convolution and no
pooling. The classifier of every model computes in float32, whatever the precision of the layers
before it. Logits are thus never rounded to bfloat16.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import pkgutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from analyze.errors import UsageError
from analyze.runs.format import WEIGHTS
from experiments import catalogue
from experiments.config import RunConfig
from experiments.errors import first_line
from experiments.options import neutral_values
from experiments.training import heads


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (option A of He et al. 2016)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.new_channels = channels - in_channels

    def shortcut(self, x: Tensor) -> Tensor:
        """The identity; if the shape changes, subsampled, with zeros in the new channels."""
        if self.stride == 1 and not self.new_channels:
            return x
        before = self.new_channels // 2
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, before, self.new_channels - before))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, channels, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out, inplace=True)


class CifarResNet(nn.Module):
    """The ResNet with 6n + 2 layers for 32x32 images (He et al. 2016, section 4.2).

    Args:
        blocks: n, the number of residual blocks in each of the three stages.
        num_classes: C.
        in_channels: channels of the images.
    """

    block: type[nn.Module] = BasicBlock  # what the stages are made of

    def __init__(self, blocks: int, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        layers: list[nn.Module] = []
        width = 16
        for stage, channels in enumerate((16, 32, 64)):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(self.block(width, channels, stride))
                width = channels
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C_in, H, W) -> logits (N, C)."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layers(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def create(
    name: str, num_classes: int, in_channels: int, seed: int, *, pretrained: bool = False
) -> nn.Module:
    """Create a model, with initial weights that depend on ``seed`` alone.

    Args:
        name: a name in the catalogue, or ``timm:NAME``.
        num_classes: C.
        in_channels: channels of the images.
        seed: seed of the initial weights. The global state of torch stays as it was.
        pretrained: whether a model of timm starts from its pretrained weights, but for the
            classifier.

    Raises:
        UsageError: if timm has no classifier of that name, cannot build it for these images, or
            has no pretrained weights for it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        entry = catalogue.model(name)
        options = dict(entry.options) | ({"pretrained": True} if pretrained else {})
        model: nn.Module = pkgutil.resolve_name(entry.create)(
            num_classes=num_classes, in_channels=in_channels, **options
        )
    heads.widen(model)
    return model


def fingerprint(parameters: Iterable[Tensor]) -> str:
    """The SHA-256 of weights, in order."""
    digest = hashlib.sha256()
    for parameter in parameters:
        digest.update(parameter.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def restore(folder: Path, described: Mapping[str, Any], where: str) -> nn.Module:
    """The network of a finished run, with its final weights.

    Args:
        folder: folder of the run.
        described: content of its config.json.
        where: how to name the run in a message.

    Raises:
        UsageError: if the weights cannot be read, or are not those of such a network.
    """
    options = described["config"]
    network = create(options["model"], len(described["classes"]), len(described["mean"]), seed=0)
    head = options.get("head", neutral_values()["head"])
    cosines = described.get("input_kind") == "cosines"
    heads.replace(network, head, options["model"], cosines=cosines)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = first_line(error)
        raise UsageError(f"{where}: its {WEIGHTS} cannot be loaded ({reason})") from error
    return network


@torch.no_grad()
def try_out(network: nn.Module, name: str, shape: torch.Size) -> None:
    """Check that a model accepts images of this shape.

    Args:
        network: the model, on the CPU.
        name: its name, for the message.
        shape: shape of an image, (C_in, H, W).

    Raises:
        UsageError: if it does not.
    """
    try:
        network.eval()(_blank(network, shape))
    except Exception as error:  # a model from a library may raise anything
        raise UsageError(
            f"--model {name} cannot take images of {shape[1]}x{shape[2]} pixels: "
            f"{first_line(error)}; choose another, or with --dataset folder another --image-size"
        ) from error


@torch.no_grad()
def refuse_single_images(network: nn.Module, config: RunConfig, shape: torch.Size) -> None:
    """Check that BatchNorm can train on a single image.

    It needs more than one value per channel. If a process gets a single image, that image must
    have several positions in every layer.

    Args:
        network: the model, on the CPU.
        config: options of a run in which a process gets a single image.
        shape: shape of an image, (C_in, H, W).

    Raises:
        UsageError: if a layer has only one position.
    """
    try:
        copy.deepcopy(network).train()(_blank(network, shape))
    except ValueError as error:
        raise UsageError(
            f"--batch-size {config.batch_size} leaves a process with a single image of an epoch's "
            f"last batch, too few for the BatchNorm of {config.model} on images of "
            f"{shape[1]}x{shape[2]} pixels: choose another --batch-size"
        ) from error


def _blank(network: nn.Module, shape: torch.Size) -> Tensor:
    """A batch of one black image, in the precision of the network's weights."""
    return torch.zeros(1, *shape, dtype=next(network.parameters()).dtype)


def from_timm(
    name: str, num_classes: int, in_channels: int, pretrained: bool = False
) -> nn.Module:
    """Create a classifier from timm, with random weights or pretrained ones."""
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; close to it: {', '.join(close)}" if close else ""
        raise UsageError(f"--model: timm has no model {name!r}{hint}")
    try:
        model = timm.create_model(
            name, num_classes=num_classes, in_chans=in_channels, pretrained=pretrained
        )
    except Exception as error:  # a model from timm may raise anything
        if pretrained:
            raise UsageError(
                f"--pretrained: the weights of {name} are not at hand ({first_line(error)}). With "
                f"a network, `python -c \"import timm; timm.create_model('{name}', "
                'pretrained=True)"` downloads them; to a machine without one, copy the folder '
                "~/.cache/huggingface (or name it with HF_HOME)",
                "pretrained",
            ) from error
        raise UsageError(
            f"--model: timm cannot build {name} for {in_channels} channels: {first_line(error)}"
        ) from error
    assert isinstance(model, nn.Module)
    return model


def with_cifar_stem(name: str, num_classes: int, in_channels: int) -> nn.Module:
    """A ResNet from timm whose stem is a 3x3 convolution of stride 1.

    It replaces the 7x7 convolution of stride 2 and the pooling.
    """
    model = from_timm(name, num_classes, in_channels)
    model.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model
