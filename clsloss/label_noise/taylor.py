"""Taylor cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch
from clsloss.checks import IGNORE_INDEX, check_integer, check_positive
from clsloss.pointwise import pointwise


def taylor_cross_entropy_loss(
    input: Tensor,
    target: Tensor,
    order: int = 2,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Taylor cross-entropy: the first terms of the series of -log p_y around p_y = 1.

    Formula:
        w_y Σ_{i=1}^k (1 - p_y)^i / i  for class indices
        Σ_c q_c w_c Σ_{i=1}^k (1 - p_c)^i / i  for class probabilities

    Order 1 is half of `mae_loss`; as the order grows it becomes `cross_entropy`. Its slope at p =
    0 is finite, so its minimiser may leave unlikely classes no probability, and its outputs have
    no reading of their own.

    Source: Feng et al. 2020, "Can Cross Entropy Loss Be Robust to Label Noise?",
    doi:10.24963/ijcai.2020/305.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        order: k >= 1.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if the order is not a positive
            integer.

    Example:
        >>> import torch
        >>> taylor_cross_entropy_loss(torch.zeros(1, 2), torch.tensor([0]), order=2)
        tensor(0.6250)
    """
    check_order(order)
    batch = Batch(input, target, weight, ignore_index)

    def value(log_p: Tensor) -> Tensor:
        miss = -torch.expm1(log_p)
        series = torch.full_like(miss, 1 / order)
        for i in range(order - 1, 0, -1):  # Horner's scheme
            series = series * miss + 1 / i
        return series * miss

    return batch.reduce(pointwise(batch, value), reduction)


class TaylorCrossEntropyLoss(Loss, name="taylor_ce", purpose="label noise"):
    """Taylor cross-entropy of logits; see `taylor_cross_entropy_loss`."""

    reading = None

    def __init__(
        self,
        order: int = 2,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_order(order)
        self.order = order

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The Taylor cross-entropy of each example."""
        return taylor_cross_entropy_loss(input, target, self.order, **self.shared)


def check_order(order: int) -> None:
    """Raises ValueError unless the order is a positive integer."""
    check_integer("order", order)
    check_positive("order", order)
