"""The hinge loss for several classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.checks import IGNORE_INDEX, check_batch, check_positive
from clsloss.reduction import at_labels, poison, reduce, widen


def crammer_singer_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Crammer and Singer's hinge loss."""
    check_positive("margin", margin)
    dim = check_batch(input, target, weight, ignore_index, probabilities=False)
    ignored = target == ignore_index
    own = target.masked_fill(ignored, 0).unsqueeze(dim)
    with torch.no_grad():
        rival = input.scatter(dim, own, float("-inf")).argmax(dim, keepdim=True)
    # one gather of both, so that backward writes one tensor of the input's shape
    scores = widen(input.gather(dim, torch.cat([rival, own], dim)))
    values = F.relu(margin + scores.select(dim, 0) - scores.select(dim, 1))
    if weight is not None:
        values = values * at_labels(weight.to(values.dtype), target, ignore_index)
    values = poison(values, target, input.shape[dim], ignore_index).masked_fill(ignored, 0.0)
    return reduce(values, target, weight, ignore_index, reduction)


class CrammerSingerLoss(Loss, name="hinge"):
    """Crammer and Singer's hinge loss of scores; see `crammer_singer_loss`."""

    input_kind = "scores"
    takes_probabilities = False

    def __init__(
        self,
        margin: float = 1.0,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_positive("margin", margin)
        self.margin = margin

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of each example."""
        return crammer_singer_loss(
            input,
            target,
            self.margin,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction="none",
        )
