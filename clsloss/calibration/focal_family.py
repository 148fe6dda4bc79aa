"""Relatives of the focal loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch
from clsloss.checks import IGNORE_INDEX, check_fraction, check_not_negative
from clsloss.focal import power
from clsloss.pointwise import label_log_p, pointwise


def sample_dependent_focal_loss(
    input: Tensor,
    target: Tensor,
    gamma: float = 3.0,
    hard_gamma: float = 5.0,
    threshold: float = 0.2,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Sample-dependent focal loss, FLSD-53: a larger γ where the label is improbable.

    Formula:
        -w_y (1 - p_y)^γ log p_y  for class indices
        Σ_c -q_c w_c (1 - p_c)^γ log p_c  for class probabilities
        γ = γ_hard where the probability is below the threshold, else γ

    γ depends on the probability alone, not on the epoch. The value jumps at the threshold, so the
    outputs have no reading of their own.

    Source: Mukhoti et al. 2020, "Calibrating Deep Neural Networks using Focal Loss",
    arXiv:2002.09437.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        gamma: γ >= 0 from the threshold on.
        hard_gamma: γ_hard >= 0, below the threshold.
        threshold: in [0, 1].
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if a γ is negative, or the threshold
            is not in [0, 1].

    Example:
        >>> import torch
        >>> sample_dependent_focal_loss(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.0866)
    """
    check_not_negative("gamma", gamma)
    check_not_negative("hard_gamma", hard_gamma)
    check_fraction("threshold", threshold)
    batch = Batch(input, target, weight, ignore_index)

    def value(log_p: Tensor) -> Tensor:
        miss = -torch.expm1(log_p)
        hard = log_p.exp() < threshold
        focus = torch.where(hard, power(miss, hard_gamma), power(miss, gamma))
        return -focus * log_p

    return batch.reduce(pointwise(batch, value), reduction)


class SampleDependentFocalLoss(Loss, name="flsd", purpose="calibration"):
    """Sample-dependent focal loss of logits; see `sample_dependent_focal_loss`."""

    reading = None

    def __init__(
        self,
        gamma: float = 3.0,
        hard_gamma: float = 5.0,
        threshold: float = 0.2,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_not_negative("gamma", gamma)
        self.gamma = gamma
        check_not_negative("hard_gamma", hard_gamma)
        self.hard_gamma = hard_gamma
        check_fraction("threshold", threshold)
        self.threshold = threshold

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The sample-dependent focal loss of each example."""
        return sample_dependent_focal_loss(
            input, target, self.gamma, self.hard_gamma, self.threshold, **self.shared
        )


def dual_focal_loss(
    input: Tensor,
    target: Tensor,
    gamma: float = 5.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Dual focal loss: the focus also depends on the runner-up of the label.

    Formula:
        -w_y (1 - p_y + p_j)^γ log p_y
        p_j = max {p_k : p_k < p_y},  0 if there is none

    The gradient flows through p_j too. With γ = 0 it is `cross_entropy`. A segmentation loss of
    2021 has the same name. The value depends on several probabilities, and the outputs have no
    reading of their own.

    Source: Tao et al. 2023, "Dual Focal Loss for Calibration", arXiv:2305.13665.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices (N, d1, ...), int64.
        gamma: γ >= 0.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if γ is negative.

    Example:
        >>> import torch
        >>> dual_focal_loss(torch.tensor([[0.0, 1.0]]), torch.tensor([1]), gamma=1.0)
        tensor(0.1685)
    """
    check_not_negative("gamma", gamma)
    batch = Batch(input, target, weight, ignore_index, probabilities=False)
    log_p = F.log_softmax(batch.logits, batch.dim)
    own = label_log_p(batch, log_p)
    if gamma:
        with torch.no_grad():
            of_label = log_p.gather(batch.dim, batch.index)
            below = log_p.masked_fill(log_p >= of_label, -math.inf)
            largest, place = below.max(batch.dim, keepdim=True)
        rival = log_p.gather(batch.dim, place).masked_fill(largest == -math.inf, -math.inf)
        own = power(rival.exp().squeeze(batch.dim) - torch.expm1(own), gamma) * own
    return batch.reduce(batch.weigh(-own.masked_fill(batch.ignored, 0.0)), reduction)


class DualFocalLoss(Loss, name="dual_focal", purpose="calibration"):
    """Dual focal loss of logits; see `dual_focal_loss`."""

    takes_probabilities = False
    reading = None

    def __init__(
        self,
        gamma: float = 5.0,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_not_negative("gamma", gamma)
        self.gamma = gamma

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The dual focal loss of each example."""
        return dual_focal_loss(input, target, self.gamma, **self.shared)


def inverse_focal_loss(
    input: Tensor,
    target: Tensor,
    gamma: float = 2.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Inverse focal loss: cross-entropy with more weight on examples that are already right.

    Formula:
        -w_y (1 + p_y)^γ log p_y  for class indices
        Σ_c -q_c w_c (1 + p_c)^γ log p_c  for class probabilities

    With γ = 0 it is `cross_entropy`. It is not convex in p_y, so its outputs have no reading of
    their own.

    Source: Wang et al. 2021, "Rethinking Calibration of Deep Neural Networks: Do Not Be Afraid of
    Overconfidence", NeurIPS 34.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        gamma: γ >= 0.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if γ is negative.

    Example:
        >>> import torch
        >>> inverse_focal_loss(torch.zeros(1, 2), torch.tensor([0]), gamma=1.0)
        tensor(1.0397)
    """
    check_not_negative("gamma", gamma)
    batch = Batch(input, target, weight, ignore_index)

    def value(log_p: Tensor) -> Tensor:
        return -((1 + log_p.exp()) ** gamma) * log_p

    return batch.reduce(pointwise(batch, value), reduction)


class InverseFocalLoss(Loss, name="inverse_focal", purpose="calibration"):
    """Inverse focal loss of logits; see `inverse_focal_loss`."""

    def __init__(
        self,
        gamma: float = 2.0,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_not_negative("gamma", gamma)
        self.gamma = gamma
        if gamma:
            self.reading = None

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The inverse focal loss of each example."""
        return inverse_focal_loss(input, target, self.gamma, **self.shared)
