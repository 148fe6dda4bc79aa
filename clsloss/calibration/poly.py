"""The Poly-1 loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, class_dim, least, widen
from clsloss.checks import IGNORE_INDEX, check_number
from clsloss.pointwise import pointwise


def poly1_loss(
    input: Tensor,
    target: Tensor,
    epsilon: float = 2.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Poly-1: cross-entropy with another first coefficient of its series in 1 - p_y.

    Formula:
        w_y (-log p_y + ε (1 - p_y))  for class indices
        Σ_c q_c w_c (-log p_c + ε (1 - p_c))  for class probabilities

    With ε = 0 it is `cross_entropy`. The best ε depends on the data: the paper has 2 for ImageNet.

    Source: Leng et al. 2022, "PolyLoss: A Polynomial Expansion Perspective of Classification Loss
    Functions", arXiv:2204.12511.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        epsilon: ε >= -1, so that the value falls as p_y grows.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if ε is below -1.

    Example:
        >>> import torch
        >>> poly1_loss(torch.zeros(1, 2), torch.tensor([0]), epsilon=1.0)
        tensor(1.1931)
    """
    check_epsilon(epsilon)
    batch = Batch(input, target, weight, ignore_index)

    def value(log_p: Tensor) -> Tensor:
        return -log_p - epsilon * torch.expm1(log_p)

    return batch.reduce(pointwise(batch, value), reduction)


class Poly1Loss(Loss, name="poly1", purpose="calibration"):
    """Poly-1 loss of logits; see `poly1_loss`."""

    def __init__(
        self,
        epsilon: float = 2.0,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_epsilon(epsilon)
        self.epsilon = epsilon
        if epsilon:
            self.reading = f"p / (1 + epsilon p), normalised, at epsilon = {epsilon:g}"

    def log_probs(self, logits: Tensor) -> Tensor:
        """η_k ∝ p_k / (1 + ε p_k)."""
        log_p = F.log_softmax(widen(logits), class_dim(logits))
        slope = torch.log((1 + self.epsilon * log_p.exp()).clamp_min(least(log_p)))
        return F.log_softmax(log_p - slope, class_dim(logits))

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The Poly-1 loss of each example."""
        return poly1_loss(input, target, self.epsilon, **self.shared)


def check_epsilon(epsilon: float) -> None:
    """Raises ValueError unless ε is finite and at least -1."""
    check_number("epsilon", epsilon)
    if not -1 <= epsilon < math.inf:
        raise ValueError(f"epsilon must be finite and >= -1, got {epsilon}")
