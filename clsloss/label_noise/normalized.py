"""Losses divided by their sum over all labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, inner_product, least
from clsloss.checks import IGNORE_INDEX, check_flag, check_not_negative
from clsloss.focal import power


def normalized_cross_entropy_loss(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Normalised cross-entropy: the share of the label in the losses of all labels.

    Formula:
        w_y log p_y / Σ_k log p_k  for class indices
        Σ_c q_c w_c log p_c / Σ_k log p_k  for class probabilities

    It is in [0, 1], and its values for all labels add up to 1. Alone it learns slowly; the paper
    adds a second loss, as in ``nce+rce``. It is not convex, and its outputs have no reading of
    their own. A masked class (logit -inf) makes the value of the other labels 0, and its own 1.

    Source: Ma et al. 2020, "Normalized Loss Functions for Deep Learning with Noisy Labels",
    arXiv:2006.13554.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does.

    Example:
        >>> import torch
        >>> normalized_cross_entropy_loss(torch.zeros(1, 4), torch.tensor([0]))
        tensor(0.2500)
    """
    batch = Batch(input, target, weight, ignore_index)
    return batch.reduce(
        _share(batch, F.log_softmax(batch.logits, batch.dim), torch.neg), reduction
    )


class NormalizedCrossEntropyLoss(Loss, name="nce", purpose="label noise"):
    """Normalised cross-entropy of logits; see `normalized_cross_entropy_loss`."""

    reading = None

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The normalised cross-entropy of each example."""
        return normalized_cross_entropy_loss(input, target, **self.shared)


def normalized_focal_loss(
    input: Tensor,
    target: Tensor,
    gamma: float = 0.5,
    detached: bool = False,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Normalised focal loss: the share of the label in the focal losses of all labels.

    Formula:
        w_y f(p_y) / Σ_k f(p_k)  for class indices
        Σ_c q_c w_c f(p_c) / Σ_k f(p_k)  for class probabilities
        f(p) = -(1 - p)^γ log p

    With γ = 0 it is `normalized_cross_entropy_loss`. The authors' code takes the factors (1 - p)^γ
    as constants in the gradient, which the paper does not say: ``detached=true``. The value is the
    same.

    Source: Ma et al. 2020, "Normalized Loss Functions for Deep Learning with Noisy Labels",
    arXiv:2006.13554.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        gamma: γ >= 0.
        detached: whether the gradient treats (1 - p)^γ as a constant.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if γ is negative.

    Example:
        >>> import torch
        >>> normalized_focal_loss(torch.zeros(1, 4), torch.tensor([0]))
        tensor(0.2500)
    """
    check_not_negative("gamma", gamma)
    check_flag("detached", detached)
    batch = Batch(input, target, weight, ignore_index)
    log_p = F.log_softmax(batch.logits, batch.dim)

    def value(log_p: Tensor) -> Tensor:
        miss = -torch.expm1(log_p.detach() if detached else log_p)
        return -power(miss, gamma) * log_p

    return batch.reduce(_share(batch, log_p, value), reduction)


class NormalizedFocalLoss(Loss, name="nfl", purpose="label noise"):
    """Normalised focal loss of logits; see `normalized_focal_loss`."""

    reading = None

    def __init__(
        self,
        gamma: float = 0.5,
        detached: bool = False,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_not_negative("gamma", gamma)
        self.gamma = gamma
        check_flag("detached", detached)
        self.detached = detached

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The normalised focal loss of each example."""
        return normalized_focal_loss(input, target, self.gamma, self.detached, **self.shared)


def _share(batch: Batch, log_p: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """The share of the label in the losses of all labels, weighted; 0 where ignored.

    Args:
        batch: the call.
        log_p: the log-probabilities, -inf for masked classes.
        loss: f as a function of log p, with f(0) = 0.
    """

    def of_interest(values: Tensor) -> Tensor:
        return values if batch.soft else values.gather(batch.dim, batch.index)

    masked = batch.masked
    losses = loss(log_p if masked is None else log_p.masked_fill(masked, 0.0))
    total = losses.sum(batch.dim, keepdim=True)
    shares = of_interest(losses) / total.clamp_min(least(total))
    if masked is not None:
        # The sum is infinite: masked classes share it, and the others have nothing of it.
        several = masked.sum(batch.dim, keepdim=True)
        limit = of_interest(masked).to(shares.dtype) / several.clamp_min(1)
        shares = torch.where(several > 0, limit, shares)
    if batch.soft:
        return inner_product(batch.weighted(batch.q), shares, batch.dim)
    return batch.weigh(shares.squeeze(batch.dim).masked_fill(batch.ignored, 0.0))
