"""Losses of others behind the contract of `Loss`: one class for each degree of what they give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from clsloss.base import Loss
from clsloss.batch import Batch, mean, widen
from clsloss.checks import IGNORE_INDEX

Criterion = Callable[..., Any]


class PerExampleLoss(Loss):
    """A criterion with one value per example; its mean, weights and ignored labels are ours.

    It gets the input in float32 or wider, and label 0 for ignored examples, whose values are
    dropped.

    Args:
        criterion: ``criterion(input, target)`` gives (N, d1, ...).
        weighted: whether its values hold the class weights already. Otherwise they are multiplied
            by w_y, or by the mean of w under q where targets are probabilities.
        takes_probabilities: whether targets may be class probabilities.
        weight: class weights (C,).
        ignore_index: the label whose examples count for nothing.
        reduction: "mean" (Σ values / Σ w_y; / N for probabilities), "sum" or "none".
    """

    def __init__(
        self,
        criterion: Criterion,
        *,
        weighted: bool = False,
        takes_probabilities: bool = False,
        weight: Tensor | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        self.criterion = criterion
        self.weighted = weighted
        self.takes_probabilities = takes_probabilities
        self.input_kind = _input_kind(criterion)

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The criterion's value of each example, with its class weight; 0 where ignored."""
        soft = self.takes_probabilities
        batch = Batch(input, target, self.weight, self.ignore_index, probabilities=soft)
        labels = batch.target if batch.soft else batch.index.squeeze(batch.dim)
        values: Tensor = self.criterion(batch.logits, labels)
        expected = target.select(batch.dim, 0).shape if batch.soft else target.shape
        if values.shape != expected:
            rule = f"the loss must give one value per example, {tuple(expected)}"
            raise ValueError(f"{rule}, got {tuple(values.shape)}")
        if not self.weighted:
            values = batch.weigh(values)
        return values if batch.soft else values.masked_fill(batch.ignored, 0.0)


class OwnLoss(Loss):
    """A criterion with its own ``per_example(input, target) -> (values, weights)``.

    Additive where it also has ``example_weights(target)``, which gives those weights without a
    forward pass; otherwise only `statistics` combines shards.

    Args:
        criterion: an object with the method; a module's parameters are its own.
        reduction: "mean" (Σ values / Σ weights), "sum" or "none".
    """

    def __init__(self, criterion: Any, *, reduction: str = "mean") -> None:  # noqa: ANN401
        super().__init__(reduction=reduction)
        self.criterion = criterion
        self.input_kind = _input_kind(criterion)
        self.takes_probabilities = getattr(criterion, "takes_probabilities", True)
        self.additive = hasattr(criterion, "example_weights")

    def per_example(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The criterion's values and weights."""
        values, weights = self.criterion.per_example(input, target)
        return values, weights

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The criterion's values."""
        return self.per_example(input, target)[0]

    def example_weights(self, target: Tensor) -> Tensor:
        """The criterion's weights."""
        weights: Tensor = self.criterion.example_weights(target)
        return weights

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch, reduced as ``reduction`` says."""
        values, weights = self.per_example(input, target)
        if self.reduction != "mean":
            return values.sum() if self.reduction == "sum" else values
        return mean(values, weights)


class PerBatchLoss(Loss):
    """A criterion with one number per batch, of which nothing is known for parts of the batch.

    Args:
        criterion: ``criterion(input, target)`` gives a scalar.
        takes_probabilities: whether targets may be class probabilities.
        reduction: "mean", which is the criterion's number, whatever it is.

    Raises:
        ValueError: for another reduction.
    """

    additive = False
    per_batch = True

    def __init__(
        self, criterion: Criterion, *, takes_probabilities: bool = True, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction=reduction)
        if reduction != "mean":
            rule = "a loss with one number per batch has reduction 'mean' only"
            raise ValueError(f"{rule}, got {reduction!r}")
        self.criterion = criterion
        self.takes_probabilities = takes_probabilities
        self.input_kind = _input_kind(criterion)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The criterion's number."""
        value: Tensor = self.criterion(widen(input), target)
        if value.dim():
            raise ValueError(f"the loss must give a scalar, got shape {tuple(value.shape)}")
        return value


class Bound(nn.Module):
    """A function with its settings.

    Args:
        function: ``function(input, target, **settings)``.
        settings: its keyword arguments.
        weight: class weights (C,) for its argument ``weight``, a buffer; None for its default.
    """

    weight: Tensor | None

    def __init__(
        self, function: Criterion, settings: dict[str, Any], weight: Tensor | None = None
    ) -> None:
        super().__init__()
        self.function = function
        self.settings = settings
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Any:  # noqa: ANN401
        """The function's value."""
        weights = {} if self.weight is None else {"weight": self.weight}
        return self.function(input, target, **self.settings, **weights)

    def extra_repr(self) -> str:
        """The function's name and its settings."""
        name = getattr(self.function, "__qualname__", repr(self.function))
        return ", ".join([name, *(f"{key}={value}" for key, value in self.settings.items())])


def _input_kind(criterion: object) -> Any:  # noqa: ANN401
    """What the criterion says it takes; of torch's what is known of them; else logits."""
    function = getattr(criterion, "function", None)
    likely = "logits"
    if isinstance(criterion, nn.NLLLoss) or function is F.nll_loss:
        likely = "log_probs"
    elif isinstance(criterion, nn.MultiMarginLoss) or function is F.multi_margin_loss:
        likely = "scores"  # a margin has no scale that a softmax could read
    return getattr(criterion, "input_kind", likely)
