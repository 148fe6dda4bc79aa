"""Other people's losses under the contract of `Loss`, one adapter for each kind of output."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from clsloss.base import Loss
from clsloss.batch import Batch, class_dim, mean, widen
from clsloss.checks import IGNORE_INDEX

Criterion = Callable[..., Any]
INPUT_KINDS = ("logits", "scores", "log_probs")


class PerExampleLoss(Loss):
    """A criterion with one value per example. Mean, weights and ignored labels are handled here.

    The criterion gets the input in float32 or wider. Ignored examples are replaced by equal logits
    with label 0 before it and masked after it: masking alone would turn an infinite gradient
    into NaN.

    Args:
        criterion: ``criterion(input, target)`` returns (N, d1, ...).
        weighted: whether its values already contain the class weights. Otherwise they are
            multiplied by w_y, or for probabilities by the mean of w under q.
        takes_probabilities: whether targets may be class probabilities.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".
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
        """The criterion's value of each example, class weight included; 0 where ignored."""
        soft = self.takes_probabilities
        batch = Batch(input, target, self.weight, self.ignore_index, probabilities=soft)
        logits, labels = batch.logits, batch.target
        if not batch.soft:
            uniform = -math.log(batch.classes)  # valid both as logits and as log-probabilities
            logits = logits.masked_fill(batch.ignored.unsqueeze(batch.dim), uniform)
            labels = batch.index.squeeze(batch.dim)
        if self.weighted:
            match_weights(self.criterion, logits)
        values: Tensor = self.criterion(logits, labels)
        expected = target.select(batch.dim, 0).shape if batch.soft else target.shape
        if values.shape != expected:
            rule = f"the loss must return one value per example, {tuple(expected)}"
            raise ValueError(f"{rule}, got {tuple(values.shape)}")
        if not self.weighted:
            values = batch.weigh(values)
        return values if batch.soft else values.masked_fill(batch.ignored, 0.0)


class CustomLoss(Loss):
    """A criterion with its own ``per_example(input, target) -> (values, weights)``.

    It is additive if the criterion also has ``example_weights(target)``, which returns those
    weights without a forward pass. Otherwise only `statistics` combines shards.

    Args:
        criterion: an object with the method. If it is a module, it is registered as a child.
        weighted: whether it has class weights.
        takes_probabilities: whether targets may be class probabilities.
        reduction: "mean" (Σ values / Σ weights), "sum" or "none".
    """

    def __init__(
        self,
        criterion: Any,  # noqa: ANN401
        *,
        weighted: bool = False,
        takes_probabilities: bool = True,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.criterion = criterion
        self.weighted = weighted
        self.input_kind = _input_kind(criterion)
        self.takes_probabilities = takes_probabilities
        self.additive = callable(getattr(criterion, "example_weights", None))

    def per_example(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The criterion's values and weights."""
        logits = widen(input)
        if self.weighted:
            match_weights(self.criterion, logits)
        values, weights = self.criterion.per_example(logits, target)
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
    """A criterion with one number per batch, and nothing for parts of a batch.

    Args:
        criterion: ``criterion(input, target)`` returns a scalar.
        weighted: whether it has class weights.
        takes_probabilities: whether targets may be class probabilities.
        reduction: "mean", which here stands for the criterion's number.

    Raises:
        ValueError: if the reduction is another.
    """

    additive = False
    per_batch = True

    def __init__(
        self,
        criterion: Criterion,
        *,
        weighted: bool = False,
        takes_probabilities: bool = True,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        if reduction != "mean":
            rule = "a loss with one number per batch has reduction 'mean' only"
            raise ValueError(f"{rule}, got {reduction!r}")
        self.criterion = criterion
        self.weighted = weighted
        self.takes_probabilities = takes_probabilities
        self.input_kind = _input_kind(criterion)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The criterion's number."""
        logits = widen(input)
        if self.weighted:
            match_weights(self.criterion, logits)
        value: Tensor = self.criterion(logits, target)
        if value.dim():
            raise ValueError(f"the loss must return a scalar, got shape {tuple(value.shape)}")
        return value


class Bound(nn.Module):
    """A function with its settings.

    Args:
        function: ``function(input, target, **settings)``.
        settings: its keyword arguments.
        weight: class weights (C,) for its argument ``weight``, kept as a buffer; None for its
            default.
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


class OneHot(nn.Module):
    """A criterion that takes only probabilities. Class indices become one-hot rows.

    Args:
        criterion: ``criterion(input, target)`` with targets of the input's shape.
    """

    def __init__(self, criterion: Criterion) -> None:
        super().__init__()
        self.criterion = criterion
        self.input_kind = _input_kind(criterion)

    def forward(self, input: Tensor, target: Tensor) -> Any:  # noqa: ANN401
        """The criterion's value."""
        if not target.is_floating_point():
            dim = class_dim(input)
            hot = F.one_hot(target, input.shape[dim]).movedim(-1, dim)
            target = hot.to(input.dtype)
        return self.criterion(input, target)


class OverClasses(nn.Module):
    """A criterion with one value per example and class, reduced over the classes.

    Args:
        criterion: ``criterion(input, target)`` returns (N, C, d1, ...).
        how: "mean" or "sum".
    """

    def __init__(self, criterion: Criterion, how: str) -> None:
        super().__init__()
        self.criterion = criterion
        self.how = how
        self.input_kind = _input_kind(criterion)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The mean or sum over the classes, (N, d1, ...)."""
        values: Tensor = self.criterion(input, target)
        dim = class_dim(input)
        return values.mean(dim) if self.how == "mean" else values.sum(dim)

    def extra_repr(self) -> str:
        """How it reduces."""
        return f"how={self.how!r}"


def match_weights(criterion: object, input: Tensor) -> None:
    """Moves a criterion's class weights to the input's dtype and device, as torch requires.

    Class weights are all floating tensors (C,) that are not parameters, whether buffers or plain
    attributes.
    """
    shape = (input.shape[class_dim(input)],)
    while isinstance(criterion, OneHot | OverClasses):
        criterion = criterion.criterion
    for part in criterion.modules() if isinstance(criterion, nn.Module) else [criterion]:
        kept = {**getattr(part, "__dict__", {}), **getattr(part, "_buffers", {})}
        for name, value in kept.items():
            if not isinstance(value, Tensor) or isinstance(value, nn.Parameter):
                continue
            differs = (value.dtype, value.device) != (input.dtype, input.device)
            if differs and value.is_floating_point() and value.shape == shape:
                setattr(part, name, value.to(input))


def _input_kind(criterion: object) -> Any:  # noqa: ANN401
    """The kind of input that the criterion declares; else what torch's own take, or logits."""
    function = getattr(criterion, "function", None)
    likely = "logits"
    if isinstance(criterion, nn.NLLLoss) or function is F.nll_loss:
        likely = "log_probs"
    elif isinstance(criterion, nn.MultiMarginLoss) or function is F.multi_margin_loss:
        likely = "scores"  # a margin has no scale that a softmax could read
    kind = getattr(criterion, "input_kind", likely)
    if kind not in INPUT_KINDS:
        raise ValueError(f"input_kind must be one of {', '.join(INPUT_KINDS)}, got {kind!r}")
    return kind
