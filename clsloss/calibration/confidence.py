"""Cross-entropy with a penalty on confident predictions."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, inner_product
from clsloss.calibration.penalties import penalised
from clsloss.checks import IGNORE_INDEX, check_not_negative


def confidence_penalty_loss(
    input: Tensor,
    target: Tensor,
    strength: float = 0.1,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Confidence penalty: cross-entropy minus a multiple of the entropy of the prediction.

    Formula:
        CE + v β Σ_k p_k log p_k
        v = w_y  for class indices, the mean of w under q for class probabilities

    Its minimiser has no closed form, and its outputs have no reading of their own.

    Source: Pereyra et al. 2017, "Regularizing Neural Networks by Penalizing Confident Output
    Distributions", arXiv:1701.06548.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        strength: β >= 0.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if β is negative.

    Example:
        >>> import torch
        >>> confidence_penalty_loss(torch.zeros(1, 2), torch.tensor([0]), strength=1.0)
        tensor(0.)
    """
    check_not_negative("strength", strength)
    batch = Batch(input, target, weight, ignore_index)
    log_p = F.log_softmax(batch.logits, batch.dim)
    penalty = strength * inner_product(log_p.exp(), log_p, batch.dim)
    return penalised(batch, penalty, reduction, log_p)


class ConfidencePenaltyLoss(Loss, name="confidence_penalty", purpose="calibration"):
    """Cross-entropy with a confidence penalty; see `confidence_penalty_loss`."""

    def __init__(
        self,
        strength: float = 0.1,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_not_negative("strength", strength)
        self.strength = strength
        if strength:
            self.reading = None

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of each example."""
        return confidence_penalty_loss(input, target, self.strength, **self.shared)
