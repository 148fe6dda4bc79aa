"""Losses that are a function of the label's probability alone."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from clsloss.batch import Batch, inner_product, without_impossible


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
        factor = batch.weighted(batch.q)
        # what costs nothing has no gradient either, where f' would be infinite
        log_p = without_impossible(factor, F.log_softmax(batch.logits, batch.dim))
        return inner_product(factor, loss(log_p), batch.dim)
    return batch.weigh(loss(label_log_p(batch)).masked_fill(batch.ignored, 0.0))


def label_log_p(batch: Batch, log_p: Tensor | None = None) -> Tensor:
    """The log-probability of each label: 0 where ignored, or impossible and of weight 0.

    Args:
        batch: the call, with class indices.
        log_p: the log-softmax of the logits, where it has been computed.
    """
    if log_p is None:
        ignore = batch.ignore_index
        own = -F.cross_entropy(batch.logits, batch.target, ignore_index=ignore, reduction="none")
    else:
        own = log_p.gather(batch.dim, batch.index).squeeze(batch.dim)
        own = own.masked_fill(batch.ignored, 0.0)
    return own if batch.weight is None else without_impossible(batch.at_labels(batch.weight), own)
