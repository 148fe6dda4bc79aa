"""Calibration terms that are functions of sums over the batch, for sums such as ``ce+mdca``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, least, ratio
from clsloss.checks import IGNORE_INDEX, check_integer, check_positive


class BatchTerm(Loss):
    """A function of sums over the batch; the base of `MDCALoss` and `SoftECELoss`.

    There are no values per example: `statistics` combines shards exactly.

    Args:
        weight: class weights (C,). An example weighs w_y in the sums, or for probabilities the
            mean of w under q.
        ignore_index: the label of examples that do not count.
        reduction: "mean".

    Raises:
        ValueError: if the reduction is another.
    """

    additive = False

    def __init__(
        self,
        weight: Tensor | Sequence[float] | None = None,
        *,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        if reduction != "mean":
            rule = "a function of the whole batch has reduction 'mean' only"
            raise ValueError(f"{rule}, got {reduction!r}")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The term of a batch."""
        return self.from_statistics(self.statistics(input, target))


def mdca_loss(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """MDCA: for each class, the distance of its mean probability and its share in the batch.

    Formula:
        mean_c |mean_i p_ic - mean_i q_ic|

    A mean over i weighs the examples. It is a term to be added to another loss, as in
    ``focal+mdca``; alone it does not tell which example belongs to which class.

    Source: Hebbalaguppe et al. 2022, "A Stitch in Time Saves Nine: A Train-Time Regularizing Loss
    for Improved Neural Network Calibration", arXiv:2203.13834.

    Args:
        input: logits, as in `cross_entropy`; dense inputs are one set of examples.
        target: class indices or probabilities, as in `cross_entropy`.
        weight: class weights (C,): an example weighs w_y, or the mean of w under q.
        ignore_index: the label of examples that do not count.

    Returns:
        A scalar, float32 or wider; 0 if no example counts.

    Raises:
        TypeError, ValueError: as `cross_entropy` does.

    Example:
        >>> import torch
        >>> mdca_loss(torch.zeros(2, 2), torch.tensor([0, 0]))
        tensor(0.5000)
    """
    return _mdca(_class_sums(Batch(input, target, weight, ignore_index)))


def _class_sums(batch: Batch) -> Tensor:
    """Σ v, Σ v p_c and Σ v q_c over the examples of weight v, (1 + 2 C,)."""
    v, _, p, q = examples(batch)
    return torch.cat([v.sum().view(1), p.T @ v, q.T @ v])


def _mdca(sums: Tensor) -> Tensor:
    predicted, true = sums[1:].view(2, -1)
    return ratio((predicted - true).abs().mean(), sums[0])


class MDCALoss(BatchTerm, name="mdca", purpose="calibration"):
    """Distance of mean probabilities and class shares, a term over the batch; see `mdca_loss`."""

    statistics_size = (1, 2)

    def statistics(self, input: Tensor, target: Tensor) -> Tensor:
        """Σ v, Σ v p_c and Σ v q_c, (1 + 2 C,)."""
        return _class_sums(Batch(input, target, self.weight, self.ignore_index))

    def from_statistics(self, statistics: Tensor) -> Tensor:
        """The term of the batch that `statistics` were summed over."""
        return _mdca(statistics)


def soft_ece_loss(
    input: Tensor,
    target: Tensor,
    bins: int = 15,
    temperature: float = 0.01,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Soft-binned ECE: the calibration error with bins that an example belongs to by degrees.

    Formula:
        sqrt(Σ_b S_b / S (A_b - C_b)²),  S = Σ_b S_b
        u_ib = softmax_b(-(c_i - (b - 1/2) / M)² / T),  b = 1 ... M
        S_b = Σ_i u_ib,  C_b = Σ_i u_ib c_i / S_b,  A_b = Σ_i u_ib a_i / S_b

    c is the largest probability, and a whether its class is the label. a has no gradient. It is a
    term to be added to another loss, as in ``ce+soft_ece``.

    Source: Karandikar et al. 2021, "Soft Calibration Objectives for Neural Networks",
    arXiv:2108.00106.

    Args:
        input: logits, as in `cross_entropy`; dense inputs are one set of examples.
        target: class indices or probabilities, as in `cross_entropy`. For probabilities, a is
            that of the predicted class.
        bins: M >= 1.
        temperature: T > 0; the smaller, the harder the bins.
        weight: class weights (C,): an example weighs w_y, or the mean of w under q.
        ignore_index: the label of examples that do not count.

    Returns:
        A scalar, float32 or wider; 0 if no example counts.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if the bins are not a positive
            integer, or the temperature is not positive.

    Example:
        >>> import torch
        >>> soft_ece_loss(torch.zeros(2, 2), torch.tensor([0, 0]))
        tensor(0.5000)
    """
    check_bins(bins)
    check_positive("temperature", temperature)
    return _soft_ece(_bin_sums(Batch(input, target, weight, ignore_index), bins, temperature))


def _bin_sums(batch: Batch, bins: int, temperature: float) -> Tensor:
    """Σ v u, Σ v u c and Σ v u a of each bin, (3 M,)."""
    v, _, p, q = examples(batch)
    confidence, predicted = p.max(1)
    right = q.gather(1, predicted.unsqueeze(1)).squeeze(1).detach()
    centres = (torch.arange(bins, device=p.device, dtype=p.dtype) + 0.5) / bins
    degrees = F.softmax(-((confidence.unsqueeze(1) - centres) ** 2) / temperature, 1)
    return torch.cat([degrees.T @ v, degrees.T @ (v * confidence), degrees.T @ (v * right)])


def _soft_ece(sums: Tensor) -> Tensor:
    size, confidence, accuracy = sums.view(3, -1)
    # S_b (A_b - C_b)² = (Σ u a - Σ u c)² / S_b
    square = ratio(((accuracy - confidence) ** 2 / size.clamp_min(least(size))).sum(), size.sum())
    return root(square)


class SoftECELoss(BatchTerm, name="soft_ece", purpose="calibration"):
    """Soft-binned calibration error, a term over the batch; see `soft_ece_loss`."""

    def __init__(
        self,
        bins: int = 15,
        temperature: float = 0.01,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_bins(bins)
        check_positive("temperature", temperature)
        self.bins = bins
        self.temperature = temperature
        self.statistics_size = (3 * bins, 0)

    def statistics(self, input: Tensor, target: Tensor) -> Tensor:
        """Sums of weights, confidences and hits of each bin, (3 M,)."""
        batch = Batch(input, target, self.weight, self.ignore_index)
        return _bin_sums(batch, self.bins, self.temperature)

    def from_statistics(self, statistics: Tensor) -> Tensor:
        """The term of the batch that `statistics` were summed over."""
        return _soft_ece(statistics)


def examples(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights (M,), and logits, probabilities and targets (M, C) of all examples of a call."""

    def flat(tensor: Tensor) -> Tensor:
        return tensor.movedim(batch.dim, -1).reshape(-1, batch.classes)

    z, q = flat(batch.logits), flat(batch.q)
    ones = torch.ones_like(batch.logits.detach().select(batch.dim, 0))
    weights = batch.weigh(ones if batch.soft else ones.masked_fill(batch.ignored, 0.0))
    return weights.reshape(-1), z, F.softmax(z, 1), q


def root(square: Tensor) -> Tensor:
    """The square root, with derivative 0 at 0."""
    tiny = least(square)
    return square.clamp_min(tiny).sqrt() - math.sqrt(tiny)


def check_bins(bins: int) -> None:
    """Raises ValueError unless the number of bins is a positive integer."""
    check_integer("bins", bins)
    check_positive("bins", bins)
