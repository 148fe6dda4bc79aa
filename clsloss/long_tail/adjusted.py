"""Cross-entropy of logits that are adjusted by the class sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import check_per_class, class_dim, product, spread, widen
from clsloss.checks import IGNORE_INDEX, check_not_negative, class_numbers
from clsloss.cross_entropy import cross_entropy


def logit_adjusted_loss(
    input: Tensor,
    target: Tensor,
    class_counts: Tensor,
    tau: float = 1.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Logit-adjusted cross-entropy: the training prior is added to the logits.

    Formula:
        CE of z + τ log π,  π_c = n_c / Σ n

    With τ = 1 it is the balanced softmax of Ren et al. 2020, arXiv:2007.10740; with equal counts,
    or τ = 0, it is `cross_entropy`. A class without examples is never predicted by z + τ log π,
    and its logit has no gradient. At test the raw z are used: their softmax is the posterior under
    equal class sizes. The reading of the outputs is the other one, the posterior under the class
    sizes of training: the softmax of z + τ log π. Do not subtract τ log π from z as well: that is
    the post-hoc form, for models trained by cross-entropy.

    Source: Menon et al. 2021, "Long-tail Learning via Logit Adjustment", arXiv:2007.07314.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        class_counts: the number of training examples of each class, (C,).
        tau: τ >= 0.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if the counts are not (C,), negative,
            or all 0, or τ is negative.

    Example:
        >>> import torch
        >>> counts = torch.tensor([3.0, 1.0])
        >>> logit_adjusted_loss(torch.zeros(1, 2), torch.tensor([1]), counts)
        tensor(1.3863)
    """
    check_not_negative("tau", tau)
    shifted = adjusted(input, class_counts, tau) if input.is_floating_point() else input
    return cross_entropy(shifted, target, weight, ignore_index=ignore_index, reduction=reduction)


class LogitAdjustedLoss(Loss, name="logit_adjusted", purpose="long tail"):
    """Cross-entropy of logits with the training prior added; see `logit_adjusted_loss`."""

    class_counts: Tensor

    def __init__(
        self,
        class_counts: Tensor | Sequence[float],
        tau: float = 1.0,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        self.keep("class_counts", class_numbers("class_counts", class_counts))
        check_not_negative("tau", tau)
        self.tau = tau
        if tau:
            self.reading = f"the softmax of z + tau log prior (that of training), tau = {tau:g}"

    def log_probs(self, logits: Tensor) -> Tensor:
        """The log-softmax of z + τ log π."""
        return F.log_softmax(adjusted(logits, self.class_counts, self.tau), class_dim(logits))

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The logit-adjusted cross-entropy of each example."""
        return logit_adjusted_loss(input, target, self.class_counts, self.tau, **self.shared)


def vector_scaling_loss(
    input: Tensor,
    target: Tensor,
    class_counts: Tensor,
    gamma: float = 0.3,
    tau: float = 1.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Vector-scaling loss: logits of rare classes are scaled down as well as shifted.

    Formula:
        CE of z_c (n_c / n_max)^γ + τ log π_c,  π_c = n_c / Σ n

    With γ = 0 it is `logit_adjusted_loss`. At test, paper and code leave open whether z or the
    scaled and shifted logits are meant. Here the softmax reading is that of z, and the reading of
    the outputs is that of the scaled and shifted logits.

    Source: Kini et al. 2021, "Label-Imbalanced and Group-Sensitive Classification under
    Overparameterization", arXiv:2103.01550.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        class_counts: the number of training examples of each class, (C,).
        gamma: γ >= 0.
        tau: τ >= 0.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if the counts are not (C,), negative,
            or all 0, or γ or τ is negative.

    Example:
        >>> import torch
        >>> counts = torch.tensor([3.0, 1.0])
        >>> vector_scaling_loss(torch.zeros(1, 2), torch.tensor([1]), counts)
        tensor(1.3863)
    """
    check_not_negative("gamma", gamma)
    check_not_negative("tau", tau)
    scaled = adjusted(input, class_counts, tau, gamma) if input.is_floating_point() else input
    return cross_entropy(scaled, target, weight, ignore_index=ignore_index, reduction=reduction)


class VectorScalingLoss(Loss, name="vs", purpose="long tail"):
    """Cross-entropy of scaled and shifted logits; see `vector_scaling_loss`."""

    class_counts: Tensor

    def __init__(
        self,
        class_counts: Tensor | Sequence[float],
        gamma: float = 0.3,
        tau: float = 1.0,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        self.keep("class_counts", class_numbers("class_counts", class_counts))
        check_not_negative("gamma", gamma)
        self.gamma = gamma
        check_not_negative("tau", tau)
        self.tau = tau
        if gamma or tau:
            at = f"gamma = {gamma:g}, tau = {tau:g}"
            self.reading = f"the softmax of the scaled and shifted logits at {at}"

    def log_probs(self, logits: Tensor) -> Tensor:
        """The log-softmax of the scaled and shifted logits."""
        scaled = adjusted(logits, self.class_counts, self.tau, self.gamma)
        return F.log_softmax(scaled, class_dim(logits))

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The vector-scaling loss of each example."""
        return vector_scaling_loss(
            input, target, self.class_counts, self.gamma, self.tau, **self.shared
        )


def adjusted(logits: Tensor, class_counts: Tensor, tau: float, gamma: float = 0.0) -> Tensor:
    """The logits z (n / n_max)^γ + τ log π; -inf for a class without examples if τ > 0."""
    z = widen(logits)
    check_per_class("class_counts", class_counts, z.shape[class_dim(z)])
    counts = spread(class_counts, z)
    if gamma:
        z = product((counts / counts.max()).pow(gamma), z)
    return z + tau * (counts / counts.sum()).log() if tau else z
