"""Seesaw loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, check_per_class
from clsloss.checks import IGNORE_INDEX, check_not_negative, class_numbers
from clsloss.cross_entropy import cross_entropy


def seesaw_loss(
    input: Tensor,
    target: Tensor,
    class_counts: Tensor,
    p: float = 0.8,
    q: float = 2.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Seesaw loss: rare classes are pushed down less, unless the model mistakes others for them.

    Formula:
        CE of z_j + log S_yj
        S_yj = min(1, n_j / n_y)^p max(1, p_j / p_y)^q

    S is a constant in the gradient. The paper counts the labels seen so far; here the counts are
    those of the training set from the start. The outputs have no reading of their own.

    Source: Wang et al. 2021, "Seesaw Loss for Long-Tailed Instance Segmentation",
    arXiv:2008.10032.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices (N, d1, ...), int64.
        class_counts: the number of training examples of each class, (C,).
        p: the mitigation exponent, >= 0.
        q: the compensation exponent, >= 0.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if the counts are not (C,), negative,
            or all 0, or an exponent is negative.

    Example:
        >>> import torch
        >>> counts = torch.tensor([3.0, 1.0])
        >>> seesaw_loss(torch.zeros(1, 2), torch.tensor([0]), counts)
        tensor(0.3473)
    """
    check_not_negative("p", p)
    check_not_negative("q", q)
    batch = Batch(input, target, weight, ignore_index, probabilities=False)
    check_per_class("class_counts", class_counts, batch.classes)
    log_n = class_counts.to(batch.logits.dtype).clamp_min(1.0).log()
    own_n = batch.at_labels(log_n).unsqueeze(batch.dim)
    log_p = F.log_softmax(batch.logits.detach(), batch.dim)
    own_p = log_p.gather(batch.dim, batch.index)
    # a masked class stays one, also as the label, where both factors would be infinite
    ahead = (log_p - own_p).clamp_min(0.0).nan_to_num(0.0, posinf=0.0)
    log_s = p * (batch.spread(log_n) - own_n).clamp_max(0.0) + q * ahead
    return cross_entropy(
        batch.logits + log_s, target, weight, ignore_index=ignore_index, reduction=reduction
    )


class SeesawLoss(Loss, name="seesaw", purpose="long tail"):
    """Seesaw loss of logits; see `seesaw_loss`."""

    class_counts: Tensor
    takes_probabilities = False
    reading = None

    def __init__(
        self,
        class_counts: Tensor | Sequence[float],
        p: float = 0.8,
        q: float = 2.0,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        self.keep("class_counts", class_numbers("class_counts", class_counts))
        check_not_negative("p", p)
        self.p = p
        check_not_negative("q", q)
        self.q = q

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The seesaw loss of each example."""
        return seesaw_loss(input, target, self.class_counts, self.p, self.q, **self.shared)
