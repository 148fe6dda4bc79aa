"""Cross-entropy with a penalty on each example: what these losses share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from clsloss.batch import Batch, inner_product
from clsloss.pointwise import label_log_p


def class_mean(values: Tensor, masked: Tensor | None, dim: int) -> Tensor:
    """The mean of values in the logits' shape over the classes that are not masked.

    Args:
        values: may be infinite where masked.
        masked: as `Batch.masked`.
        dim: the dimension of the classes.
    """
    if masked is None:
        return values.mean(dim)
    return values.masked_fill(masked, 0.0).sum(dim) / (~masked).sum(dim)


def penalised(
    batch: Batch, penalty: Tensor, reduction: str, log_p: Tensor | None = None
) -> Tensor:
    """Cross-entropy plus a penalty of each example, with class weights on both.

    Args:
        batch: the call.
        penalty: (N, d1, ...).
        reduction: as in `cross_entropy`.
        log_p: the log-softmax of the logits, where the penalty has computed it.
    """
    if batch.soft:
        log_p = F.log_softmax(batch.logits, batch.dim) if log_p is None else log_p
        ce = -inner_product(batch.weighted(batch.q), log_p, batch.dim)
        return batch.reduce(ce + batch.weigh(penalty), reduction)
    penalty = penalty.masked_fill(batch.ignored, 0.0)
    return batch.reduce(batch.weigh(penalty - label_log_p(batch, log_p)), reduction)
