"""A moving average of a network's weights (Polyak & Juditsky 1992)."""

from __future__ import annotations

import copy

from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """A copy of a network whose weights follow those in training.

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
