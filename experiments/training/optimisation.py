"""Optimizers, the learning rate as a pure function of the step, and averages of weights."""

from __future__ import annotations

import bisect
import copy
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from experiments.config import RunConfig
from experiments.values import parse_betas, parse_milestones


def learning_rate(config: RunConfig, step: int, steps: int) -> float:
    """The learning rate of a step.

    - ``onecycle`` (after Smith & Topin 2018, arXiv:1708.07120): linear from lr/100 to lr over the
      first fraction ``warmup`` of the run, then lr/2 (1 + cos pi t), t from 0 to 1 over the rest.
    - ``cosine`` (Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts):
      lr/2 (1 + cos pi t) over the run.
    - ``multistep``: lr, divided by 10 at each milestone passed.
    - ``constant``: lr.

    Args:
        config: options of the run.
        step: optimizer steps done before this one, 0 to ``steps`` - 1.
        steps: optimizer steps of the whole run.
    """
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "multistep":
        # Milestones are exact fractions. In floating point, 9/14 of 140 steps exceeds 90.
        milestones = [m * steps for m in parse_milestones(config.milestones, config.epochs)]
        return config.lr * 0.1 ** bisect.bisect_right(milestones, step)
    warm = round(config.warmup * steps) if config.schedule == "onecycle" else 0
    if step < warm:
        return config.lr * (0.01 + 0.99 * step / warm)
    return config.lr / 2 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def create(
    model: nn.Module, config: RunConfig, backbone: Iterable[Tensor] = ()
) -> torch.optim.Optimizer:
    """Create an optimizer, with weight decay on matrices and kernels only.

    Biases and the scale and shift of BatchNorm are vectors. Shrinking them does not regularise
    the function that the network computes.

    Args:
        model: what to train.
        config: options of the run.
        backbone: parameters whose learning rate is multiplied by ``--backbone-lr``.
    """
    slow = {id(p) for p in backbone} if config.backbone_lr != 1 else set()
    parts: dict[tuple[bool, bool], list[Tensor]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            parts.setdefault((parameter.ndim <= 1, id(parameter) in slow), []).append(parameter)
    groups = [
        {
            "params": chosen,
            "weight_decay": 0.0 if is_vector else config.weight_decay,
            "factor": config.backbone_lr if is_slow else 1.0,
        }
        for (is_vector, is_slow), chosen in sorted(parts.items())
    ]
    return OPTIMIZERS[config.optimizer](groups, config)


def sgd(groups: list[dict[str, Any]], config: RunConfig) -> torch.optim.SGD:
    """SGD with Nesterov or classical momentum."""
    optimizer = torch.optim.SGD(
        groups,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov and config.momentum > 0,
        fused=True,
    )
    if config.momentum:
        # If the float16 gradient scaler skips the first step, the fused kernel leaves its newly
        # allocated momentum uninitialised. Start from zeros.
        for parameter in _parameters(optimizer):
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def adamw(groups: list[dict[str, Any]], config: RunConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101)."""
    betas = parse_betas(config.betas)
    assert betas is not None, "the configuration is checked"
    return torch.optim.AdamW(groups, lr=config.lr, betas=betas, eps=config.eps, fused=True)


# Each entry takes groups of parameters. The run sets the learning rate before every step.
# Checkpoints hold every tensor that the optimizer keeps for a parameter.
OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], RunConfig], torch.optim.Optimizer]] = {
    "sgd": sgd,
    "adamw": adamw,
}


def state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer as named tensors: ``N.NAME`` for the N-th parameter."""
    return {
        f"{i}.{name}": value
        for i, kept in optimizer.state_dict()["state"].items()
        for name, value in kept.items()
        if value is not None
    }


def restore(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load what `state_tensors` returned, in the memory layout of the parameters."""
    parameters = _parameters(optimizer)
    state: dict[int, dict[str, Tensor]] = {}
    for key, kept in tensors.items():
        number, _, name = key.partition(".")  # older checkpoints hold momentum, without a name
        like = parameters[int(number)]
        if kept.shape == like.shape:
            kept = torch.empty_like(like, dtype=kept.dtype).copy_(kept)
        state.setdefault(int(number), {})[name or "momentum_buffer"] = kept
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


class Average:
    """A copy of a network whose weights follow those in training (Polyak & Juditsky 1992).

    Formula:
        a ← d a + (1 - d) w,  after each step; a starts as the initial weights

    The running statistics of BatchNorm are averaged too. Counts, which are integers, are copied.

    Args:
        network: the network, before its first step.
        decay: d, in [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self._follow = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update(self, network: nn.Module) -> None:
        """Follow the network after a step."""
        ours, theirs = (list(n.state_dict().values()) for n in (self.network, network))
        moving = [i for i, tensor in enumerate(ours) if tensor.is_floating_point()]
        self._follow([ours[i] for i in moving], [theirs[i] for i in moving], 0)
        for i, tensor in enumerate(ours):
            if not tensor.is_floating_point():
                tensor.copy_(theirs[i])
