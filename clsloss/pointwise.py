"""Losses that are a function of the label's probability alone."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from clsloss.batch import Batch, inner_product


def pointwise(batch: Batch, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """The values of a loss f(log p_y), class weights included.

    Formula:
        w_y f(log p_y)  for class indices; 0 where ignored
        Σ_c q_c w_c f(log p_c)  for class probabilities: the mean over labels drawn from q

    Args:
        batch: the call.
        loss: f, elementwise; f(0) and f'(0) are finite.

    Returns:
        (N, d1, ...).
    """
    if batch.soft:
        log_p = F.log_softmax(batch.logits, batch.dim)
        return inner_product(batch.weighted(batch.q), loss(log_p), batch.dim)
    ce = F.cross_entropy(
        batch.logits, batch.target, ignore_index=batch.ignore_index, reduction="none"
    )
    return batch.weigh(loss(-ce).masked_fill(batch.ignored, 0.0))
