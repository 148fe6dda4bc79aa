"""Cross-entropy with a penalty on each example: what these losses share."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.batch import Batch, inner_product


def unmasked(batch: Batch) -> tuple[Tensor, Tensor]:
    """The logits, and 1 where a class is not masked (logit -inf), else 0.

    A masked class gets the least of the other logits, so that what is computed of it is finite.
    """
    z = batch.logits
    masked = z == -math.inf
    least = z.masked_fill(masked, math.inf).amin(batch.dim, keepdim=True)
    return torch.where(masked, least, z), (~masked).to(z.dtype)


def penalised(batch: Batch, penalty: Tensor, reduction: str) -> Tensor:
    """Cross-entropy plus a penalty of each example, with class weights on both."""
    if batch.soft:
        log_p = F.log_softmax(batch.logits, batch.dim)
        ce = -inner_product(batch.weighted(batch.q), log_p, batch.dim)
        return batch.reduce(ce + batch.weigh(penalty), reduction)
    ignore = batch.ignore_index
    ce = F.cross_entropy(batch.logits, batch.target, ignore_index=ignore, reduction="none")
    penalty = penalty.masked_fill(batch.ignored, 0.0)
    return batch.reduce(batch.weigh(ce + penalty), reduction)
