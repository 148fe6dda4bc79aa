"""Binary cross-entropy of each class against the rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, check_per_class
from clsloss.checks import (
    IGNORE_INDEX,
    check_fraction,
    check_not_negative,
    number_or_class_numbers,
)


def one_vs_rest_bce_loss(
    input: Tensor,
    target: Tensor,
    pos_weight: float | Tensor | None = None,
    smoothing: float = 0.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy of each class against the rest: (1/C) Σ_c w_c BCE(σ(z_c), q_c).

    The targets are smoothed to (1-ε) q + ε/C. Equal to torch's
    `binary_cross_entropy_with_logits`, the mean over classes, for probabilities as targets.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices, or any q in [0, 1] of the input's shape (several classes, or none).
        pos_weight: factor of the positive term, a number or (C,); >= 0. None is 1.
        smoothing: ε in [0, 1).
        weight: (C,), multiplies the term of its class.
        ignore_index: the label whose examples count for nothing.
        reduction: "mean" (Σ values / Σ w_y; / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does, and for smoothing outside [0, 1),
            pos_weight < 0 or not (C,).

    Example:
        >>> import torch
        >>> probs = torch.tensor([0.1, 0.9, 0.8, 0.3])
        >>> one_vs_rest_bce_loss(probs.logit(), torch.tensor([0.0, 1.0, 1.0, 0.0]))
        tensor(0.1976)
    """
    check_fraction("smoothing", smoothing, below_one=True)
    batch = Batch(input, target, weight, ignore_index)
    q = (1 - smoothing) * batch.q + smoothing / batch.classes if smoothing else batch.q
    values = F.binary_cross_entropy_with_logits(
        batch.logits,
        q,
        None if batch.weight is None else batch.spread(batch.weight),
        pos_weight=_positive_factor(pos_weight, batch),
        reduction="none",
    ).mean(batch.dim)
    if not batch.soft:
        values = values.masked_fill(batch.ignored, 0.0)
    return batch.reduce(values, reduction)


def _positive_factor(pos_weight: float | Tensor | None, batch: Batch) -> Tensor | None:
    if pos_weight is None:
        return None
    if isinstance(pos_weight, Tensor):
        check_per_class("pos_weight", pos_weight, batch.classes)
        return batch.spread(pos_weight)
    check_not_negative("pos_weight", pos_weight)
    return torch.full((), pos_weight, dtype=batch.logits.dtype, device=batch.logits.device)


class OneVsRestBCELoss(Loss, name="bce"):
    """Binary cross-entropy of each class against the rest; see `one_vs_rest_bce_loss`."""

    pos_weight: float | Tensor | None

    def __init__(
        self,
        pos_weight: float | Tensor | Sequence[float] | None = None,
        smoothing: float = 0.0,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_fraction("smoothing", smoothing, below_one=True)
        self.smoothing = smoothing
        self.keep("pos_weight", number_or_class_numbers("pos_weight", pos_weight))

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The mean over classes of the binary cross-entropy, of each example."""
        return one_vs_rest_bce_loss(input, target, self.pos_weight, self.smoothing, **self.shared)
