"""AdaFocal: a focal loss whose γ follows the calibration on validation images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch
from clsloss.calibration.batch_terms import check_bins
from clsloss.checks import IGNORE_INDEX, check_not_negative, check_positive
from clsloss.focal import power
from clsloss.pointwise import pointwise


def adaptive_focal_loss(
    input: Tensor,
    target: Tensor,
    gammas: Tensor,
    edges: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Focal loss with a γ for each bin of the label's probability.

    Formula:
        -w_y (1 - p_y)^γ log p_y  where γ >= 0
        -w_y (1 + p_y)^|γ| log p_y  where γ < 0, the inverse focal loss
        γ = γ_b for the bin b of p_y

    For class probabilities it is Σ_c q_c w_c times the value of label c.

    Source: Ghosh et al. 2022, "AdaFocal: Calibration-aware Adaptive Focal Loss",
    arXiv:2211.11838.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        gammas: γ_b, (B,).
        edges: the inner edges of the bins, ascending, (B - 1,).
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if there is not one edge less than
            gammas.

    Example:
        >>> import torch
        >>> gammas, edges = torch.tensor([1.0, -1.0]), torch.tensor([0.4])
        >>> adaptive_focal_loss(torch.zeros(1, 2), torch.tensor([0]), gammas, edges)
        tensor(1.0397)
    """
    if edges.shape != (len(gammas) - 1,):
        raise ValueError(f"{len(gammas)} gammas need one edge less, got {tuple(edges.shape)}")
    batch = Batch(input, target, weight, ignore_index)

    def value(log_p: Tensor) -> Tensor:
        p = log_p.exp()
        inside = torch.bucketize(p.detach(), edges.to(p.dtype))
        gamma = gammas.to(p.dtype)[inside]
        miss = -torch.expm1(log_p)
        base = torch.where(gamma >= 0, power(miss, 1.0), 1 + p)
        return -base.pow(gamma.abs()) * log_p

    return batch.reduce(pointwise(batch, value), reduction)


class AdaptiveFocalLoss(Loss, name="adafocal", purpose="calibration"):
    """AdaFocal, a focal loss that follows the validation images; see `adaptive_focal_loss`.

    After each epoch, `after_validation` forms bins of equal mass of the validation confidences,
    and in each bin multiplies γ_b by exp(λ (confidence - accuracy)), or divides if γ_b < 0.
    A γ_b that gets closer to 0 than the switch changes sign. γ_b stays with its bin, counted from
    the lowest confidence. The outputs have no reading of their own.

    Args:
        bins: B.
        rate: λ >= 0.
        start: γ_b at the start, at least the switch.
        highest: the largest γ_b.
        lowest: the largest |γ_b| of a negative one.
        switch: |γ_b| below which it changes sign, > 0.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean", "sum" or "none".
    """

    reading = None
    gammas: Tensor
    edges: Tensor
    highest: float
    lowest: float
    switch: float

    def __init__(
        self,
        bins: int = 15,
        rate: float = 1.0,
        start: float = 1.0,
        highest: float = 20.0,
        lowest: float = 2.0,
        switch: float = 0.2,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_bins(bins)
        check_not_negative("rate", rate)
        for name, value in (("highest", highest), ("lowest", lowest), ("switch", switch)):
            check_positive(name, value)
            setattr(self, name, value)
        if not switch <= start <= highest:
            raise ValueError(f"start must be from switch to highest, got {start}")
        self.bins = bins
        self.rate = rate
        self.start = start
        self.register_buffer("gammas", torch.full((bins,), float(start)))
        self.register_buffer("edges", torch.linspace(0, 1, bins + 1)[1:-1])

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The focal loss of each example at the γ of its bin."""
        return adaptive_focal_loss(input, target, self.gammas, self.edges, **self.shared)

    @torch.no_grad()
    def after_validation(self, logits: Tensor, target: Tensor) -> None:
        """Sets the bins and their γ for the next epoch."""
        confidence, predicted = F.softmax(logits, 1).max(1)
        order = confidence.argsort(stable=True)
        ranked = confidence[order]
        right = (predicted == target)[order].to(confidence.dtype)
        parts = zip(ranked.tensor_split(self.bins), right.tensor_split(self.bins), strict=True)
        gap = torch.stack([(c - a).mean() if len(c) else c.sum() for c, a in parts])
        firsts = [part[:1] for part in ranked.tensor_split(self.bins)[1:]]
        edges = [first if len(first) else ranked[-1:] for first in firsts]
        self.edges.copy_(torch.cat(edges) if edges else self.edges)
        self.gammas.copy_(self._next(self.gammas, gap))

    def _next(self, gammas: Tensor, gap: Tensor) -> Tensor:
        """γ_b after a gap of confidence over accuracy."""
        focal = gammas >= 0
        size = gammas.abs() * torch.exp(torch.where(focal, 1.0, -1.0) * self.rate * gap)
        crossed = size < self.switch
        size = torch.where(crossed, self.switch, size)
        positive = focal ^ crossed
        return torch.where(positive, size.clamp_max(self.highest), -size.clamp_max(self.lowest))
