"""Cross-entropy weighted by the distance of prediction and label."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, least
from clsloss.checks import IGNORE_INDEX, check_flag, check_integer, check_not_negative
from clsloss.focal import power
from clsloss.pointwise import label_log_p


def brier_weighted_cross_entropy_loss(
    input: Tensor,
    target: Tensor,
    gamma: float = 2.0,
    norm: int = 2,
    detached: bool = True,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """BSCE-GRA: cross-entropy weighted by the distance of prediction and label.

    Formula:
        -w_y ‖p - e_y‖^γ log p_y

    The distance is a constant in the gradient; ``detached=false`` gives BSCE, which differentiates
    it. The paper has the Euclidean norm. The authors' code has the norm 1 by default, which is 2^γ
    times a focal loss whose focus is a constant: ``norm=1``. The expected loss has no minimum in
    the usual sense, and the outputs have no reading of their own.

    Source: Lin et al. 2025, "Uncertainty Weighted Gradients for Model Calibration",
    arXiv:2503.22725.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices (N, d1, ...), int64.
        gamma: γ >= 0.
        norm: 1 or 2.
        detached: whether the distance is a constant in the gradient.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if γ is negative, or the norm is
            neither 1 nor 2.

    Example:
        >>> import torch
        >>> brier_weighted_cross_entropy_loss(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.3466)
    """
    check_not_negative("gamma", gamma)
    check_norm(norm)
    check_flag("detached", detached)
    batch = Batch(input, target, weight, ignore_index, probabilities=False)
    log_p = F.log_softmax(batch.logits, batch.dim)
    own = label_log_p(batch)
    known = log_p.detach() if detached else log_p
    miss = -torch.expm1(own.detach() if detached else own)
    if norm == 1:
        distance = 2 * miss
    else:
        others = known.exp().scatter(batch.dim, batch.index, 0.0).square().sum(batch.dim)
        distance = (others + miss.square()).clamp_min(least(miss)).sqrt()
    values = -power(distance, gamma) * own
    return batch.reduce(batch.weigh(values.masked_fill(batch.ignored, 0.0)), reduction)


class BrierWeightedCrossEntropyLoss(Loss, name="bsce_gra", purpose="calibration"):
    """Cross-entropy weighted by the error; see `brier_weighted_cross_entropy_loss`."""

    takes_probabilities = False
    reading = None

    def __init__(
        self,
        gamma: float = 2.0,
        norm: int = 2,
        detached: bool = True,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_not_negative("gamma", gamma)
        self.gamma = gamma
        check_norm(norm)
        self.norm = norm
        check_flag("detached", detached)
        self.detached = detached

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The weighted cross-entropy of each example."""
        return brier_weighted_cross_entropy_loss(
            input, target, self.gamma, self.norm, self.detached, **self.shared
        )


def check_norm(norm: int) -> None:
    """Raises ValueError unless the norm is 1 or 2."""
    check_integer("norm", norm)
    if norm not in (1, 2):
        raise ValueError(f"norm must be 1 or 2, got {norm}")
