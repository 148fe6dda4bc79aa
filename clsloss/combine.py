"""Weighted sums of losses."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsloss.base import OWN_READING, Loss
from clsloss.batch import class_dim, widen
from clsloss.checks import check_positive


class SumLoss(Loss):
    """A weighted sum of losses, each a mean over the batch.

    Formula:
        Σ_k a_k L_k

    The input is logits; terms that take log-probabilities get their log_softmax. If all terms
    take one other kind of input, so does the sum. If all terms read their outputs alike, so does
    the sum; otherwise it has no reading. The sum is additive if all terms are additive and have
    the same divisor of the mean. Then its values per example are those of the terms, added up
    with a_k. Otherwise its `statistics` are those of its terms, concatenated.

    Args:
        terms: the losses, each with reduction "mean".
        coefficients: a_k, finite and > 0.
        reduction: "mean"; also "sum" and "none" if the sum is additive.

    Raises:
        ValueError: if a term has another reduction, a coefficient is not > 0, or the sum cannot
            have the reduction.

    Example:
        >>> from clsloss import CrossEntropyLoss, DiceLoss
        >>> loss = SumLoss([CrossEntropyLoss(), DiceLoss()], [1.0, 0.5])
        >>> loss(torch.zeros(2, 2), torch.tensor([0, 1]))
        tensor(0.8598)
    """

    def __init__(
        self, terms: Sequence[Loss], coefficients: Sequence[float], *, reduction: str = "mean"
    ) -> None:
        if not terms:
            raise ValueError("a sum needs a term, got none")
        first = terms[0]
        super().__init__(first.weight, ignore_index=first.ignore_index, reduction=reduction)
        if len(coefficients) != len(terms):
            raise ValueError(f"{len(terms)} terms need as many coefficients, got {coefficients}")
        for term, coefficient in zip(terms, coefficients, strict=True):
            check_positive("coefficient", coefficient)
            if term.reduction != "mean":
                raise ValueError(f"terms of a sum must have reduction 'mean', got {term}")
        self.terms = nn.ModuleList(terms)
        self.coefficients = tuple(coefficients)
        self.per_batch = any(term.per_batch for term in terms)
        self.additive = all(t.additive for t in terms) and all(
            _same_divisor(first, t) for t in terms
        )
        self.takes_probabilities = all(term.takes_probabilities for term in terms)
        self.pairwise = any(term.pairwise for term in terms)
        if all(term.input_kind == first.input_kind for term in terms):
            self.input_kind = first.input_kind
        # Terms that read alike say so in the same words, settings included.
        alike = all(term.reading == first.reading != OWN_READING for term in terms)
        self.reading = first.reading if alike or len(terms) == 1 else None
        if not self.additive:
            sizes = [term.statistics_size for term in terms]
            self.statistics_size = (sum(a for a, _ in sizes), sum(b for _, b in sizes))
            if reduction != "mean":
                rule = (
                    "a sum with a term that is not a mean over examples has reduction 'mean' only"
                )
                raise ValueError(f"{rule}, got {reduction!r}")

    def components(self) -> Sequence[Loss]:
        """The terms."""
        return list(self)

    def log_probs(self, logits: Tensor) -> Tensor | None:
        """The terms' log-probabilities, if all read their logits alike; else None."""
        return None if self.reading is None else next(iter(self)).log_probs(logits)

    def set_weight(self, weight: Tensor) -> None:
        """Replaces the class weights of the sum and of its terms."""
        super().set_weight(weight)
        for term in self:
            term.set_weight(weight)

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The weighted sum of the terms' values. Only if the sum is additive."""
        if not self.additive:
            return super().values(input, target)
        return self._sum([term.values(self._input_of(term, input), target) for term in self])

    def statistics(self, input: Tensor, target: Tensor) -> Tensor:
        """(Σ values, Σ weights) if the sum is additive, else the terms' statistics, in order."""
        if self.additive:
            return super().statistics(input, target)
        return torch.cat([t.statistics(self._input_of(t, input), target) for t in self])

    def from_statistics(self, statistics: Tensor) -> Tensor:
        """The loss of the batch that `statistics` were summed over."""
        if self.additive:
            return super().from_statistics(statistics)
        fixed, per_class = self.statistics_size
        classes = (len(statistics) - fixed) // max(per_class, 1)
        parts = torch.split(
            statistics, [t.statistics_size[0] + t.statistics_size[1] * classes for t in self]
        )
        return self._sum([t.from_statistics(part) for t, part in zip(self, parts, strict=True)])

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch."""
        if self.additive:
            return super().forward(input, target)
        return self._sum([term(self._input_of(term, input), target) for term in self])

    def extra_repr(self) -> str:
        """The coefficients and the reduction. The terms print themselves."""
        return f"coefficients={self.coefficients}, reduction={self.reduction!r}"

    def __iter__(self) -> Iterator[Loss]:
        """The terms."""
        return (cast("Loss", term) for term in self.terms)

    def _input_of(self, term: Loss, input: Tensor) -> Tensor:
        if term.input_kind != "log_probs" or self.input_kind == "log_probs":
            return input
        return F.log_softmax(widen(input), class_dim(input))

    def _sum(self, parts: list[Tensor]) -> Tensor:
        weighted = (a * part for a, part in zip(self.coefficients, parts, strict=True))
        return functools.reduce(torch.add, weighted)


def _same_divisor(loss: Loss, other: Loss) -> bool:
    """Whether both divide their means by the same weights for all targets."""
    if not type(loss).example_weights is type(other).example_weights is Loss.example_weights:
        return False
    if loss.weight is None or other.weight is None:
        same = loss.weight is other.weight
    else:
        same = torch.equal(loss.weight, other.weight)
    return same and loss.ignore_index == other.ignore_index
