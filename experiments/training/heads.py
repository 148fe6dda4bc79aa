"""The classifier at the end of a network, in float32: linear, or of cosine similarities."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analyze.errors import UsageError
from experiments.values import LINEAR, parse_head

# A softmax over cosines times S gives at most 1 / (1 + (C - 1) exp(-2 S)). S is learnt, from the
# value of Gidaris & Komodakis; benchmarks/README.md compares it with others.
INITIAL_SCALE = 10.0


class Float32Linear(nn.Linear):
    """A linear layer that ignores autocast and computes in float32."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features), any floating dtype -> (..., out_features), float32 or wider."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype))


class CosineLinear(nn.Module):
    """The cosine similarities of features and class vectors, times a scale, in float32.

    Formula:
        z_c = S ⟨x, v_c⟩ / (‖x‖ ‖v_c‖)

    Source: Gidaris & Komodakis 2018, "Dynamic Few-Shot Visual Learning without Forgetting",
    arXiv:1804.09458.

    Args:
        weight: the class vectors, (C, features), which become the layer's own.
        scale: S > 0, or None for one that is learnt, from `INITIAL_SCALE`.
    """

    scale: Tensor

    def __init__(self, weight: Tensor, scale: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        if scale is None:
            self.scale = nn.Parameter(weight.new_tensor(INITIAL_SCALE))
        else:
            self.register_buffer("scale", weight.new_tensor(scale))

    def forward(self, input: Tensor) -> Tensor:
        """(..., features), any floating dtype -> (..., C), float32 or wider."""
        with torch.autocast(input.device.type, enabled=False):
            features = F.normalize(input.to(self.weight.dtype), dim=-1)
            return F.linear(features, F.normalize(self.weight, dim=-1)) * self.scale


def widen(network: nn.Module) -> None:
    """Make the classifier compute in float32, if it is a linear layer."""
    for path, linear in _classifiers(network):
        wide = Float32Linear(
            linear.in_features, linear.out_features, linear.bias is not None, device="meta"
        )
        wide.weight, wide.bias = linear.weight, linear.bias
        network.set_submodule(path, wide)


def replace(network: nn.Module, head: str, model: str, *, cosines: bool) -> None:
    """Give a network the classifier that ``--head`` names.

    Its class vectors start from the weights of the linear layer, so that runs with either head
    start from the same random numbers.

    Args:
        network: the network.
        head: value of the option.
        model: the network's name, for the message.
        cosines: whether the loss takes the similarities themselves, and scales them.

    Raises:
        UsageError: if the classifier is not a linear layer.
    """
    if head == LINEAR:
        return
    classifiers = _classifiers(network)
    if not classifiers:
        raise UsageError(
            f"--head {head} replaces a linear classifier, and {model} has none: use --head linear",
            "head",
        )
    for path, linear in classifiers:
        scale = 1.0 if cosines else parse_head(head)
        network.set_submodule(path, CosineLinear(linear.weight, scale))


def classifier(network: nn.Module) -> nn.Module | None:
    """The classifier of a network: a layer, or several; None if it names none."""
    get_classifier = getattr(network, "get_classifier", lambda: getattr(network, "fc", None))
    found = get_classifier()
    return found if isinstance(found, nn.Module) else None


def backbone(network: nn.Module) -> list[nn.Parameter]:
    """The parameters of all layers before the classifier."""
    head = classifier(network)
    own = {id(p) for p in head.parameters()} if head else set()
    return [p for p in network.parameters() if id(p) not in own]


def freeze(network: nn.Module, model: str) -> None:
    """Let the classifier alone learn.

    Args:
        network: the network.
        model: its name, for the message.

    Raises:
        UsageError: if it has no classifier of its own.
    """
    head = classifier(network)
    if head is None or not any(True for _ in head.parameters()):
        raise UsageError(f"--freeze: {model} names no classifier that could learn alone", "freeze")
    for parameter in backbone(network):
        parameter.requires_grad_(False)


def train_alone(network: nn.Module) -> None:
    """Switch the classifier to training; the frozen layers compute as in evaluation."""
    network.eval()
    head = classifier(network)
    assert head is not None, "`freeze` has found it"
    head.train()


def _classifiers(network: nn.Module) -> list[tuple[str, nn.Linear]]:
    """The classifier with its path, if it is a linear layer."""
    head = classifier(network)
    found = [(path, module) for path, module in network.named_modules() if module is head]
    return [(path, module) for path, module in found if isinstance(module, nn.Linear)]
