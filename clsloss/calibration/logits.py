"""Cross-entropy with a penalty on the logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch
from clsloss.calibration.penalties import class_mean, penalised
from clsloss.checks import IGNORE_INDEX, check_flag, check_not_negative


def margin_label_smoothing_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 10.0,
    alpha: float = 0.1,
    summed: bool = False,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Margin-based label smoothing: cross-entropy, and a price for logits far below the largest.

    Formula:
        CE + v α mean_k max(0, max_j z_j - z_k - m)
        v = w_y  for class indices, the mean of w under q for class probabilities

    The authors' code averages over the classes, as here; the paper sums: ``summed=true``, where
    the same α weighs C times as much. A masked class (logit -inf) is left out of the penalty. As
    long as no logit is further than m below the largest, the loss is `cross_entropy`, and its
    outputs are read by softmax.

    Source: Liu et al. 2022, "The Devil is in the Margin: Margin-based Label Smoothing for Network
    Calibration", arXiv:2111.15430.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        margin: m >= 0.
        alpha: α >= 0.
        summed: whether to sum over the classes instead of averaging.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if the margin or α is negative.

    Example:
        >>> import torch
        >>> margin_label_smoothing_loss(torch.tensor([[0.0, 20.0]]), torch.tensor([1]))
        tensor(0.5000)
    """
    check_not_negative("margin", margin)
    check_not_negative("alpha", alpha)
    check_flag("summed", summed)
    batch = Batch(input, target, weight, ignore_index)
    z, masked = batch.logits, batch.masked
    excess = F.relu((z.max(batch.dim, keepdim=True).values - margin) - z)
    penalty = class_mean(excess, masked, batch.dim)
    if summed:
        penalty = penalty * (batch.classes if masked is None else (~masked).sum(batch.dim))
    return penalised(batch, alpha * penalty, reduction)


class MarginLabelSmoothingLoss(Loss, name="mbls", purpose="calibration"):
    """Margin-based label smoothing of logits; see `margin_label_smoothing_loss`."""

    def __init__(
        self,
        margin: float = 10.0,
        alpha: float = 0.1,
        summed: bool = False,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_not_negative("margin", margin)
        self.margin = margin
        check_not_negative("alpha", alpha)
        self.alpha = alpha
        check_flag("summed", summed)
        self.summed = summed

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of each example."""
        return margin_label_smoothing_loss(
            input, target, self.margin, self.alpha, self.summed, **self.shared
        )


def max_suppression_loss(
    input: Tensor,
    target: Tensor,
    strength: float = 0.1,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Max suppression: cross-entropy, and a price for the largest logit, right or wrong.

    Formula:
        CE + v λ (max_k z_k - mean_k z_k)
        v = w_y  for class indices, the mean of w under q for class probabilities

    The paper lets λ grow over the run for some models; here it is constant. A masked class (logit
    -inf) is left out of the penalty. The minimiser gives up λ (1 - 1/C) of the largest probability
    to the other classes, and a model may go below that: the outputs have no reading of their own.

    Source: Zhou et al. 2025, "MaxSup: Overcoming Representation Collapse in Label Smoothing",
    arXiv:2502.15798.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        strength: λ >= 0.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if λ is negative.

    Example:
        >>> import torch
        >>> max_suppression_loss(torch.tensor([[0.0, 20.0]]), torch.tensor([1]))
        tensor(1.)
    """
    check_not_negative("strength", strength)
    batch = Batch(input, target, weight, ignore_index)
    top = batch.logits.max(batch.dim).values
    mean = class_mean(batch.logits, batch.masked, batch.dim)
    return penalised(batch, strength * (top - mean), reduction)


class MaxSuppressionLoss(Loss, name="maxsup", purpose="calibration"):
    """Cross-entropy with max suppression; see `max_suppression_loss`."""

    def __init__(
        self,
        strength: float = 0.1,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_not_negative("strength", strength)
        self.strength = strength
        if strength:
            self.reading = None

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of each example."""
        return max_suppression_loss(input, target, self.strength, **self.shared)


def squentropy_loss(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Squentropy: cross-entropy plus the mean square of the logits of the wrong classes.

    Formula:
        w_y (-log p_y + Σ_{j≠y} z_j² / (C - 1))

    A masked class (logit -inf) is left out of the mean. Public copies that add the Brier score
    instead are another loss: ``ce+brier``. The outputs have no reading of their own.

    Source: Hui et al. 2023, "Cut your Losses with Squentropy", arXiv:2302.03952.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices (N, d1, ...), int64.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does.

    Example:
        >>> import torch
        >>> squentropy_loss(torch.tensor([[20.0, 1.0]]), torch.tensor([0]))
        tensor(1.)
    """
    batch = Batch(input, target, weight, ignore_index, probabilities=False)
    wrong, masked = batch.logits.scatter(batch.dim, batch.index, 0.0), batch.masked
    if masked is None:
        penalty = wrong.square().sum(batch.dim) / (batch.classes - 1)
    else:
        others = ((~masked).sum(batch.dim) - 1).clamp_min(1)
        penalty = wrong.masked_fill(masked, 0.0).square().sum(batch.dim) / others
    return penalised(batch, penalty, reduction)


class SquentropyLoss(Loss, name="squentropy", purpose="calibration"):
    """Cross-entropy plus the mean square of the wrong logits; see `squentropy_loss`."""

    takes_probabilities = False
    reading = None

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of each example."""
        return squentropy_loss(input, target, **self.shared)
