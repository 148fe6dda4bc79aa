"""Binary cross-entropy of each class against the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, check_per_class, inner_product, product, spread
from clsloss.checks import (
    IGNORE_INDEX,
    check_fraction,
    check_not_negative,
    number_or_class_numbers,
)
from clsloss.links import one_vs_rest_log_probs


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
    """Binary cross-entropy of each class against the rest.

    Formula:
        -1 / C Σ_c w_c (π_c q_c log σ(z_c) + (1 - q_c) log(1 - σ(z_c)))

    π is ``pos_weight``. Targets are first smoothed to (1 - ε) q + ε / C. For probabilities it
    equals torch's ``binary_cross_entropy_with_logits``, averaged over the classes. A masked class
    (logit -inf) has σ(z_c) = 0 and still counts as one of the C. It costs nothing where q_c = 0,
    where torch gives NaN, and inf elsewhere, also where ε > 0.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices, or any q in [0, 1] of the input's shape (several classes or none
            may be true).
        pos_weight: π >= 0, the factor of the positive term; a number or (C,). None is 1.
        smoothing: ε in [0, 1).
        weight: (C,), multiplies the term of its class.
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if smoothing is outside [0, 1), or
            pos_weight is negative or not (C,).

    Example:
        >>> import torch
        >>> probs = torch.tensor([0.1, 0.9, 0.8, 0.3])
        >>> one_vs_rest_bce_loss(probs.logit(), torch.tensor([0.0, 1.0, 1.0, 0.0]))
        tensor(0.1976)
    """
    check_fraction("smoothing", smoothing, below_one=True)
    batch = Batch(input, target, weight, ignore_index)
    positive = _checked(pos_weight, batch)
    if not batch.soft and not smoothing:
        if isinstance(positive, Tensor):
            positive = batch.at_labels(positive)
        return batch.reduce(one_vs_rest_at_labels(batch, rejection_loss, positive), reduction)
    q = batch.smoothed(smoothing)
    if positive is None:
        return batch.reduce(one_vs_rest(batch, q), reduction)
    factor = q * (batch.spread(positive) if isinstance(positive, Tensor) else positive)
    return batch.reduce(one_vs_rest(batch, factor, 1 - q + factor), reduction)


def _checked(pos_weight: float | Tensor | None, batch: Batch) -> Tensor | float | None:
    if isinstance(pos_weight, Tensor):
        check_per_class("pos_weight", pos_weight, batch.classes)
    elif pos_weight is not None:
        check_not_negative("pos_weight", pos_weight)
    return pos_weight


def rejection_loss(z: Tensor) -> Tensor:
    """-log σ(-z) = softplus(z), the binary cross-entropy of a class that is not true."""
    # torch's own BCE kernel silently drops the tangents of weights. softplus becomes linear at its
    # threshold, by default 20, where a double still sees the difference; at 50 it no longer does.
    return F.softplus(z, threshold=50)


def one_vs_rest_at_labels(
    batch: Batch,
    rejection: Callable[[Tensor], Tensor],
    positive: Tensor | float | None = None,
    negative: float = 1.0,
) -> Tensor:
    """A loss of each class against the rest, where each example has one label.

    Formula:
        1 / C (w_y a_y f(-z_y) + b Σ_{c≠y} w_c f(z_c))  and 0 where ignored

    Args:
        batch: the call, with class indices.
        rejection: f, the loss of a class that is not true: 0 at -inf, infinite at inf.
        positive: a_y, of the labels' shape, or one number; None for 1.
        negative: b.

    Returns:
        (N, d1, ...).
    """
    # Computed apart from the others, the label's term keeps its precision where it is small.
    others = batch.logits.scatter(batch.dim, batch.index, -math.inf)
    rest = negative * batch.weighted(rejection(others)).sum(batch.dim)
    own = batch.own()
    masked = own == -math.inf  # inf - inf in a rejection would be NaN
    own = rejection(-own.masked_fill(masked, 0.0)).masked_fill(masked, math.inf)
    if positive is not None:
        own = product(positive, own)
    values = (batch.weigh(own) + rest) / batch.classes
    return values.masked_fill(batch.ignored, 0.0)


def one_vs_rest(batch: Batch, positive: Tensor, both: Tensor | None = None) -> Tensor:
    """The sum that `one_vs_rest_bce_loss` and `sigmoid_focal_loss` share for any targets.

    Formula:
        -1 / C Σ_c w_c (a_c log σ(z_c) + b_c log σ(-z_c))  and 0 where ignored

    Args:
        batch: the call.
        positive: a, of the logits' shape.
        both: a + b; None where that is 1.

    Returns:
        (N, d1, ...).
    """
    # -log σ(z) = softplus(z) - z
    rest = rejection_loss(batch.logits)
    rest = batch.weighted(rest if both is None else both * rest)
    own = inner_product(batch.weighted(positive), batch.logits, batch.dim)
    values = (rest.sum(batch.dim) - own) / batch.classes
    return values if batch.soft else values.masked_fill(batch.ignored, 0.0)


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
        odds = torch.as_tensor(1.0 if self.pos_weight is None else self.pos_weight)
        readable = not smoothing and bool((odds > 0).all())
        self.reading = "the sigmoid of each class, normalised" if readable else None

    def log_probs(self, logits: Tensor) -> Tensor | None:
        """σ(z_c - log π_c), normalised; None with smoothing, or if a π_c is 0."""
        if self.reading is None:
            return None
        odds = 1.0 if self.pos_weight is None else self.pos_weight
        if isinstance(odds, Tensor):
            odds = spread(odds, logits)
        return one_vs_rest_log_probs(logits, odds=odds)

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The binary cross-entropy of each example, averaged over the classes."""
        return one_vs_rest_bce_loss(input, target, self.pos_weight, self.smoothing, **self.shared)
