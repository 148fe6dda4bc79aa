"""Cross-entropy, cross-entropy with label smoothing, and negative log-likelihood."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, inner_product
from clsloss.checks import IGNORE_INDEX, check_fraction
from clsloss.smoothed import smoothed_nll


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of logits.

    Formula:
        -w_y log p_y  for class indices
        -Σ_c w_c q_c log p_c  for class probabilities

    Equal to `torch.nn.functional.cross_entropy` with three exceptions. A mean over no weight is 0
    with zero gradients, where torch gives NaN. Half precision is computed and returned in float32.
    A masked class (logit -inf) has p_c = 0. It costs nothing and gets no gradient where q_c = 0,
    where torch gives NaN for probabilities. As the label it costs inf.

    Args:
        input: logits (N, C, d1, ...), or (C,) unbatched; float16, bfloat16, float32 or float64.
        target: class indices (N, d1, ...), int64; or class probabilities of the input's shape.
        weight: class weights (C,), finite and >= 0.
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError: if the targets are neither int64 nor floating.
        ValueError: if shapes do not fit, a label is outside [0, C), or weights are not valid.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[1.5, 0.5, -0.5], [-0.5, 1.5, 0.5], [0.5, -0.5, 1.5]])
        >>> cross_entropy(logits, torch.tensor([0, 1, 2]))
        tensor(0.4076)
    """
    batch = Batch(input, target, weight, ignore_index)
    if batch.soft:
        return batch.reduce(_to_probabilities(batch, batch.q), reduction)
    # The weights are applied here: torch's kernel has no derivative with respect to them, and
    # silently drops their tangents in forward mode.
    values = F.cross_entropy(batch.logits, target, ignore_index=ignore_index, reduction="none")
    return batch.reduce(batch.weigh(values), reduction)


def _to_probabilities(batch: Batch, q: Tensor) -> Tensor:
    log_p = F.log_softmax(batch.logits, batch.dim)
    return -inner_product(batch.weighted(q), log_p, batch.dim)


def label_smoothing_cross_entropy(
    input: Tensor,
    target: Tensor,
    smoothing: float = 0.1,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy with smoothed labels.

    Formula:
        -(1 - ε) w_y log p_y - ε / C Σ_c w_c log p_c  for class indices
        -Σ_c w_c ((1 - ε) q_c + ε / C) log p_c  for class probabilities

    Equal to torch's ``label_smoothing``, with the exceptions listed at `cross_entropy`. With ε = 0
    it is `cross_entropy`. With ε > 0 a masked class (logit -inf) costs inf, as in torch, unless
    its weight is 0.

    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision",
    arXiv:1512.00567.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        smoothing: ε in [0, 1).
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if smoothing is outside [0, 1).

    Example:
        >>> import torch
        >>> label_smoothing_cross_entropy(torch.tensor([[4.0, 0.0]]), torch.tensor([0]))
        tensor(0.2181)
    """
    check_fraction("smoothing", smoothing, below_one=True)
    if not smoothing:
        return cross_entropy(input, target, weight, ignore_index=ignore_index, reduction=reduction)
    batch = Batch(input, target, weight, ignore_index)
    if batch.soft:
        values = _to_probabilities(batch, batch.smoothed(smoothing))
    else:
        values = smoothed_nll(F.log_softmax(batch.logits, batch.dim), batch, smoothing)
    return batch.reduce(values, reduction)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of log-probabilities.

    Formula:
        -w_y input_y

    Equal to `torch.nn.functional.nll_loss`, with the exceptions listed at `cross_entropy`. A
    masked class (input -inf) costs nothing; as the label it costs inf.

    Args:
        input: log-probabilities (N, C, d1, ...), or (C,) unbatched.
        target: class indices (N, d1, ...), int64.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if targets are class probabilities.

    Example:
        >>> import torch
        >>> nll_loss(torch.tensor([[0.25, 0.75]]).log(), torch.tensor([1]))
        tensor(0.2877)
    """
    batch = Batch(input, target, weight, ignore_index, probabilities=False)
    return batch.reduce(batch.weigh(-batch.own()), reduction)


class CrossEntropyLoss(Loss, name="ce"):
    """Cross-entropy of logits with class indices or probabilities; see `cross_entropy`."""

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The cross-entropy of each example."""
        return cross_entropy(input, target, **self.shared)


class LabelSmoothingCrossEntropyLoss(Loss, name="label_smoothing"):
    """Cross-entropy with smoothed labels; see `label_smoothing_cross_entropy`."""

    def __init__(
        self,
        smoothing: float = 0.1,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_fraction("smoothing", smoothing, below_one=True)
        self.smoothing = smoothing
        if smoothing:  # the minimiser is the smoothed posterior, and a model may go below ε / C
            self.reading = None

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The smoothed cross-entropy of each example."""
        return label_smoothing_cross_entropy(input, target, self.smoothing, **self.shared)


class NLLLoss(Loss, name="nll"):
    """Negative log-likelihood of log-probabilities; see `nll_loss`."""

    input_kind = "log_probs"
    takes_probabilities = False

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The negative log-likelihood of each example."""
        return nll_loss(input, target, **self.shared)
