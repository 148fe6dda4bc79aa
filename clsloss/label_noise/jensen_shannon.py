"""The generalised Jensen-Shannon divergence as a loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, class_dim, least, widen
from clsloss.checks import IGNORE_INDEX, check_fraction
from clsloss.pointwise import pointwise


def jensen_shannon_loss(
    input: Tensor,
    target: Tensor,
    pi: float = 0.7,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Generalised Jensen-Shannon divergence of prediction and label, scaled.

    Formula:
        v (π KL(q | m) + (1 - π) KL(p | m)) / Z
        m = π q + (1 - π) p,  Z = -(1 - π) log(1 - π)
        v = w_y  for class indices
        v = (Σ_c w_c q_c) / (Σ_c q_c)  for class probabilities

    π → 0 gives `cross_entropy`, and π → 1 half of `mae_loss`: the scale Z keeps the gradient from
    vanishing. π weighs the label, as in the paper.

    Source: Englesson and Azizpour 2021, "Generalized Jensen-Shannon Divergence Loss for Learning
    with Noisy Labels", arXiv:2105.04522.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        pi: π in (0, 1), the weight of the label.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if π is not in (0, 1).

    Example:
        >>> import torch
        >>> jensen_shannon_loss(torch.zeros(1, 2), torch.tensor([0]), pi=0.5)
        tensor(0.6226)
    """
    check_pi(pi)
    batch = Batch(input, target, weight, ignore_index)
    scale = -(1 - pi) * math.log1p(-pi)
    if batch.soft:
        divergences = _divergence(batch.q, F.log_softmax(batch.logits, batch.dim), pi, batch.dim)
        return batch.reduce(batch.weigh(divergences / scale), reduction)
    return batch.reduce(pointwise(batch, partial(_of_label, pi, scale)), reduction)


class JensenShannonLoss(Loss, name="js", purpose="label noise"):
    """Jensen-Shannon divergence of logits and labels; see `jensen_shannon_loss`."""

    def __init__(
        self,
        pi: float = 0.7,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_pi(pi)
        self.pi = pi
        self.reading = f"1 / log(1 + pi / ((1 - pi) p)), normalised, at pi = {pi:g}"

    def log_probs(self, logits: Tensor) -> Tensor:
        """η_k ∝ 1 / log(1 + π / ((1 - π) p_k)), from the slope of the loss in p_k."""
        log_p = F.log_softmax(widen(logits), class_dim(logits))
        odds = math.log(self.pi) - math.log1p(-self.pi)
        slope = F.softplus(odds - log_p, threshold=50)  # log(1 + exp(.))
        return F.log_softmax(-torch.log(slope), class_dim(logits))

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The scaled divergence of each example."""
        return jensen_shannon_loss(input, target, self.pi, **self.shared)


def _of_label(pi: float, scale: float, log_p: Tensor) -> Tensor:
    """The divergence from a one-hot label, as a function of log p_y.

    All other classes together add (1 - π) (1 - p_y) log(1 / (1 - π)).
    """
    p, miss = log_p.exp(), -torch.expm1(log_p)
    log_m = torch.log1p((pi - 1) * miss)
    others = -math.log1p(-pi) * miss
    # where p underflows, p log p is 0, and not 0 times infinity
    own = p * (log_p.clamp_min(-1e3) - log_m)
    return (-pi * log_m + (1 - pi) * (others + own)) / scale


def _divergence(q: Tensor, log_p: Tensor, pi: float, dim: int) -> Tensor:
    """π KL(q | m) + (1 - π) KL(p | m), summed over the classes."""
    p = log_p.exp()
    m = pi * q + (1 - pi) * p
    log_m = m.clamp_min(least(m)).log()
    of_q = (q * (q.clamp_min(least(q)).log() - log_m)).sum(dim)
    # where p underflows, p log p is 0, and not 0 times infinity
    of_p = (p * (log_p.clamp_min(-1e3) - log_m)).sum(dim)
    return pi * of_q + (1 - pi) * of_p


def check_pi(pi: float) -> None:
    """Raises ValueError unless π is in (0, 1)."""
    check_fraction("pi", pi)
    if pi in (0, 1):
        raise ValueError(f"pi must be in (0, 1), got {pi}")
