"""Cross-entropy of normalised logits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import class_dim, masked_classes, widen
from clsloss.checks import IGNORE_INDEX, check_positive
from clsloss.cross_entropy import cross_entropy


def logit_norm_loss(
    input: Tensor,
    target: Tensor,
    tau: float = 0.04,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """LogitNorm: cross-entropy of logits of constant norm.

    Formula:
        CE of z / (τ (‖z‖ + 1e-7))

    Only the direction of z counts, so a temperature that is fitted to the raw logits means
    something else. The code of OpenOOD has τ = .04, the README of the authors .01. A masked class
    (logit -inf) is left out of the norm.

    Source: Wei et al. 2022, "Mitigating Neural Network Overconfidence with Logit Normalization",
    arXiv:2205.09310.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        tau: τ > 0.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if τ is not positive.

    Example:
        >>> import torch
        >>> logit_norm_loss(torch.tensor([[3.0, 4.0]]), torch.tensor([1]), tau=1.0)
        tensor(0.5981)
    """
    check_positive("tau", tau)
    logits = normalised(input, tau) if input.is_floating_point() else input
    return cross_entropy(logits, target, weight, ignore_index=ignore_index, reduction=reduction)


class LogitNormLoss(Loss, name="logitnorm", purpose="calibration"):
    """Cross-entropy of normalised logits; see `logit_norm_loss`."""

    def __init__(
        self,
        tau: float = 0.04,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_positive("tau", tau)
        self.tau = tau
        self.reading = f"softmax of the normalised logits at tau = {tau:g}"

    def log_probs(self, logits: Tensor) -> Tensor:
        """The log-softmax of the normalised logits."""
        return F.log_softmax(normalised(logits, self.tau), class_dim(logits))

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The cross-entropy of each example."""
        return logit_norm_loss(input, target, self.tau, **self.shared)


def normalised(logits: Tensor, tau: float) -> Tensor:
    """The logits divided by τ (‖z‖ + 1e-7); masked ones stay -inf, and are not in the norm.

    At z = 0, which has no direction, the gradient is 0.
    """
    z, dim = widen(logits), class_dim(logits)
    masked = masked_classes(z)
    kept = z if masked is None else z.masked_fill(masked, 0.0)
    square = kept.square().sum(dim, keepdim=True)
    zero = square == 0
    norm = square.masked_fill(zero, 1.0).sqrt() + 1e-7
    scaled = kept / (tau * norm.masked_fill(zero, math.inf))
    return scaled if masked is None else scaled.masked_fill(masked, -math.inf)
