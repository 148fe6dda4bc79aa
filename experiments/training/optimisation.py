"""SGD and its learning rate, the latter a pure function of the step."""

from __future__ import annotations

import bisect
import math

import torch
from torch import nn

from experiments.config import RunConfig, parse_milestones


def learning_rate(config: RunConfig, step: int, steps: int) -> float:
    """The learning rate of a step.

    - ``onecycle`` (after Smith & Topin 2018): linear from lr/100 to lr over the first ``warmup``
      of the run, then lr/2 (1 + cos pi t), t from 0 to 1 over the rest.
    - ``cosine`` (Loshchilov & Hutter 2017, without restarts): lr/2 (1 + cos pi t) over the run.
    - ``multistep``: lr, divided by 10 at each milestone passed.
    - ``constant``: lr.

    Args:
        config: of the run.
        step: optimizer steps done before this one, 0 to ``steps`` - 1.
        steps: optimizer steps of the whole run.
    """
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "multistep":
        # Fractions: as a float, 9 / 14 of 140 steps is more than 90.
        milestones = [m * steps for m in parse_milestones(config.milestones, config.epochs)]
        return config.lr * 0.1 ** bisect.bisect_right(milestones, step)
    warm = round(config.warmup * steps) if config.schedule == "onecycle" else 0
    if step < warm:
        return config.lr * (0.01 + 0.99 * step / warm)
    return config.lr / 2 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def sgd(model: nn.Module, config: RunConfig) -> torch.optim.SGD:
    """SGD with momentum; weight decay on matrices and kernels, not on vectors.

    Scale and shift of BatchNorm and biases are the vectors: shrinking them does not regularise
    the function that the network computes.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov and config.momentum > 0,
        fused=True,
    )
    if config.momentum:
        # Where float16's gradient scaler skips the first step, the fused kernel would leave the
        # momentum that it has just allocated as it found it.
        for parameter in parameters:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer
