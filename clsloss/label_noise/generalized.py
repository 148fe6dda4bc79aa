"""Generalised cross-entropy, symmetric and asymmetric."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch
from clsloss.checks import IGNORE_INDEX, check_fraction, check_positive
from clsloss.pointwise import pointwise


def generalized_cross_entropy_loss(
    input: Tensor,
    target: Tensor,
    power: float = 0.7,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Generalised cross-entropy, between cross-entropy and the absolute error.

    Formula:
        w_y (1 - p_y^q) / q  for class indices
        Σ_c q_c w_c (1 - p_c^q) / q  for class probabilities

    With q → 0 it is `cross_entropy`, and with q = 1 half of `mae_loss`. Where public code clamps
    p, or leaves out the gradient at small p, this does not. The truncated form of the paper needs
    to know which examples it has dropped, and is not here.

    Source: Zhang and Sabuncu 2018, "Generalized Cross Entropy Loss for Training Deep Neural
    Networks with Noisy Labels", arXiv:1805.07836.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        power: the exponent q, in (0, 1]; the larger, the more robust and the slower to learn.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if the power is not in (0, 1].

    Example:
        >>> import torch
        >>> generalized_cross_entropy_loss(torch.zeros(1, 2), torch.tensor([0]), power=1.0)
        tensor(0.5000)
    """
    check_power(power)
    batch = Batch(input, target, weight, ignore_index)

    def value(log_p: Tensor) -> Tensor:
        return -torch.expm1(power * log_p) / power

    return batch.reduce(pointwise(batch, value), reduction)


class GeneralizedCrossEntropyLoss(Loss, name="gce", purpose="label noise"):
    """Generalised cross-entropy of logits; see `generalized_cross_entropy_loss`."""

    def __init__(
        self,
        power: float = 0.7,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_power(power)
        self.power = power
        power_of_p = "the softmax to the power 1 - q, normalised"
        self.reading = None if power == 1 else power_of_p

    def log_probs(self, logits: Tensor) -> Tensor | None:
        """η_k ∝ p_k^(1-q); None for q = 1, whose minimiser is a vertex."""
        return None if self.power == 1 else super().log_probs((1 - self.power) * logits)

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The generalised cross-entropy of each example."""
        return generalized_cross_entropy_loss(input, target, self.power, **self.shared)


def asymmetric_gce_loss(
    input: Tensor,
    target: Tensor,
    a: float = 0.6,
    q: float = 0.6,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Asymmetric generalised cross-entropy, for noise that leaves the true label the likeliest.

    Formula:
        w_y ((a + 1)^q - (a + p_y)^q) / q  for class indices
        Σ_c q_c w_c ((a + 1)^q - (a + p_c)^q) / q  for class probabilities

    The paper trains with it in a sum: ``nce+4*agce:a=6,q=1.5`` on CIFAR-10. Its minimiser leaves
    unlikely classes no probability, so its outputs have no reading of their own.

    Source: Zhou et al. 2021, "Asymmetric Loss Functions for Learning with Noisy Labels",
    arXiv:2106.03110.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        a: a > 0.
        q: the exponent q > 0.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if a or q is not positive.

    Example:
        >>> import torch
        >>> asymmetric_gce_loss(torch.zeros(1, 2), torch.tensor([0]), a=1.0, q=1.0)
        tensor(0.5000)
    """
    check_positive("a", a)
    check_positive("q", q)
    batch = Batch(input, target, weight, ignore_index)

    def value(log_p: Tensor) -> Tensor:
        # (a + p)^q = (a + 1)^q (1 - m)^q: the difference keeps its digits at p near 1
        m = -torch.expm1(log_p) / (a + 1)
        largest: float = (a + 1) ** q / q
        return -largest * torch.expm1(q * torch.log1p(-m))

    return batch.reduce(pointwise(batch, value), reduction)


class AsymmetricGCELoss(Loss, name="agce", purpose="label noise"):
    """Asymmetric generalised cross-entropy of logits; see `asymmetric_gce_loss`."""

    reading = None

    def __init__(
        self,
        a: float = 0.6,
        q: float = 0.6,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_positive("a", a)
        self.a = a
        check_positive("q", q)
        self.q = q

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The asymmetric generalised cross-entropy of each example."""
        return asymmetric_gce_loss(input, target, self.a, self.q, **self.shared)


def check_power(power: float) -> None:
    """Raises ValueError unless the power is in (0, 1]."""
    check_fraction("power", power)
    check_positive("power", power)
