"""Cross-entropy and its relatives: with smoothed labels, and of log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.checks import IGNORE_INDEX, check_batch, check_smoothing
from clsloss.reduction import poison, reduce, widen


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy."""
    return label_smoothing_cross_entropy(
        input, target, 0.0, weight=weight, ignore_index=ignore_index, reduction=reduction
    )


def label_smoothing_cross_entropy(
    input: Tensor,
    target: Tensor,
    smoothing: float = 0.1,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy against labels smoothed towards the uniform distribution."""
    check_smoothing(smoothing)
    dim = check_batch(input, target, weight, ignore_index)
    z = widen(input)
    values = F.cross_entropy(
        z,
        target.to(z.dtype) if target.is_floating_point() else target,
        weight=None if weight is None else weight.to(z.dtype),
        ignore_index=ignore_index,
        reduction="none",
        label_smoothing=smoothing,
    )
    if not target.is_floating_point():
        values = poison(values, target, z.shape[dim], ignore_index)
    return reduce(values, target, weight, ignore_index, reduction)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of log-probabilities."""
    dim = check_batch(input, target, weight, ignore_index, probabilities=False)
    log_p = widen(input)
    w = None if weight is None else weight.to(log_p.dtype)
    values = F.nll_loss(log_p, target, w, ignore_index=ignore_index, reduction="none")
    values = poison(values, target, log_p.shape[dim], ignore_index)
    return reduce(values, target, weight, ignore_index, reduction)


class CrossEntropyLoss(Loss, name="ce"):
    """Cross-entropy of logits; see `cross_entropy`."""

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of each example."""
        return cross_entropy(
            input, target, self.weight, ignore_index=self.ignore_index, reduction="none"
        )


class LabelSmoothingCrossEntropyLoss(Loss, name="label_smoothing"):
    """Cross-entropy against smoothed labels; see `label_smoothing_cross_entropy`."""

    def __init__(
        self,
        smoothing: float = 0.1,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_smoothing(smoothing)
        self.smoothing = smoothing

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of each example."""
        return label_smoothing_cross_entropy(
            input,
            target,
            self.smoothing,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction="none",
        )


class NLLLoss(Loss, name="nll"):
    """Negative log-likelihood of log-probabilities; see `nll_loss`."""

    input_kind = "log_probs"
    takes_probabilities = False

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of each example."""
        return nll_loss(
            input, target, self.weight, ignore_index=self.ignore_index, reduction="none"
        )
