"""The Kullback-Leibler divergence from log-probabilities to targets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.checks import IGNORE_INDEX, check_batch, check_smoothing
from clsloss.reduction import at_labels, poison, reduce, spread, widen


def kl_div_loss(
    input: Tensor,
    target: Tensor,
    smoothing: float = 0.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Kullback-Leibler divergence."""
    check_smoothing(smoothing)
    dim = check_batch(input, target, weight, ignore_index)
    log_p = widen(input)
    if target.is_floating_point():
        values = _from_probabilities(log_p, target, smoothing, weight, dim)
    else:
        values = _from_indices(log_p, target, smoothing, weight, ignore_index, dim)
        values = poison(values, target, log_p.shape[dim], ignore_index)
    return reduce(values, target, weight, ignore_index, reduction)


def _from_probabilities(
    log_p: Tensor, target: Tensor, smoothing: float, weight: Tensor | None, dim: int
) -> Tensor:
    q = target.to(log_p.dtype)
    if smoothing:
        q = (1 - smoothing) * q + smoothing / log_p.shape[dim]
    wq = q if weight is None else q * spread(weight, q, dim)
    return torch.xlogy(wq, q).sum(dim) - (wq * log_p).sum(dim)


def _from_indices(
    log_p: Tensor,
    target: Tensor,
    smoothing: float,
    weight: Tensor | None,
    ignore_index: int,
    dim: int,
) -> Tensor:
    classes = log_p.shape[dim]
    w = None if weight is None else weight.to(log_p.dtype)
    values = F.nll_loss(log_p, target, w, ignore_index=ignore_index, reduction="none")
    if not smoothing:
        return values
    off = smoothing / classes
    on = 1 - smoothing + off
    vector = torch.ones(classes, dtype=log_p.dtype, device=log_p.device) if w is None else w
    own = at_labels(vector, target, ignore_index)
    entropy = own * on * math.log(on) + (vector.sum() - own) * off * math.log(off)
    rest = (log_p if w is None else log_p * spread(w, log_p, dim)).sum(dim)
    smoothed = entropy + (1 - smoothing) * values - off * rest
    return smoothed.masked_fill(target == ignore_index, 0.0)


class KLDivLoss(Loss, name="kl"):
    """Kullback-Leibler divergence of log-probabilities; see `kl_div_loss`."""

    input_kind = "log_probs"

    def __init__(
        self,
        smoothing: float = 0.0,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_smoothing(smoothing)
        self.smoothing = smoothing

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of each example."""
        return kl_div_loss(
            input,
            target,
            self.smoothing,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction="none",
        )
