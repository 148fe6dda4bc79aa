"""Other people's losses under the contract of `Loss`, one adapter for each kind of output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from clsloss.base import OWN_READING, Loss
from clsloss.batch import Batch, mean, widen
from clsloss.checks import IGNORE_INDEX
from clsloss.criterion import Criterion, declared, match_class_numbers, unwrapped

INPUT_KINDS = ("logits", "scores", "log_probs", "cosines")


class Adapter(Loss):
    """A criterion that is not ours; the base of the adapters.

    The criterion may have any of these, which then become those of the loss: ``input_kind``,
    ``pairwise``, ``log_probs(logits)`` with ``reading``, ``progress``, and
    ``after_validation(logits, target)``.

    Args:
        criterion: any callable. If it is a module, it is registered as a child.
        weighted: whether it has class weights.
        takes_probabilities: whether targets may be class probabilities.
        weight, ignore_index, reduction: as in `Loss`.
    """

    def __init__(
        self,
        criterion: Any,  # noqa: ANN401
        *,
        weighted: bool,
        takes_probabilities: bool,
        weight: Tensor | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        self.criterion = criterion
        self.weighted = weighted
        self.takes_probabilities = takes_probabilities
        self.input_kind = _input_kind(criterion)
        self.pairwise = bool(declared(criterion, "pairwise", False))
        self.reading = _reading(criterion, self.input_kind)

    def components(self) -> Sequence[Any]:
        """The criterion, without what `create` has wrapped around it."""
        return (unwrapped(self.criterion),)

    def log_probs(self, logits: Tensor) -> Tensor | None:
        """What the criterion's own ``log_probs`` returns, if it has one."""
        own = declared(self.criterion, "log_probs", None)
        if self.reading is None or not callable(own):
            return super().log_probs(logits)
        log_probs: Tensor = own(widen(logits))
        return log_probs

    def set_weight(self, weight: Tensor) -> None:
        """Replaces the class weights, in the criterion if it applies them itself."""
        if not self.weighted:
            super().set_weight(weight)
            return
        criterion = unwrapped(self.criterion)
        kept = getattr(criterion, "weight", None)
        if not isinstance(kept, Tensor) or kept.shape != weight.shape:
            rule = "must keep its class weights as `weight`, so that they can change during a run"
            raise ValueError(f"{type(criterion).__name__} {rule}")
        criterion.weight = weight.to(kept)
        if self.weight is not None:
            super().set_weight(weight)


class PerExampleLoss(Adapter):
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
        super().__init__(
            criterion,
            weighted=weighted,
            takes_probabilities=takes_probabilities,
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
        )

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The criterion's value of each example, class weight included; 0 where ignored."""
        soft = self.takes_probabilities
        batch = Batch(input, target, self.weight, self.ignore_index, probabilities=soft)
        logits, labels = batch.logits, batch.target
        if not batch.soft:
            uniform = -math.log(batch.classes)  # valid both as logits and as log-probabilities
            logits = logits.masked_fill(batch.ignored.unsqueeze(batch.dim), uniform)
            labels = batch.index.squeeze(batch.dim)
        match_class_numbers(self.criterion, logits)
        values: Tensor = self.criterion(logits, labels)
        expected = target.select(batch.dim, 0).shape if batch.soft else target.shape
        if values.shape != expected:
            rule = f"the loss must return one value per example, {tuple(expected)}"
            raise ValueError(f"{rule}, got {tuple(values.shape)}")
        if not self.weighted:
            values = batch.weigh(values)
        return values if batch.soft else values.masked_fill(batch.ignored, 0.0)


class CustomLoss(Adapter):
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
        super().__init__(
            criterion,
            weighted=weighted,
            takes_probabilities=takes_probabilities,
            reduction=reduction,
        )
        self.additive = callable(getattr(criterion, "example_weights", None))

    def per_example(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The criterion's values and weights."""
        logits = widen(input)
        match_class_numbers(self.criterion, logits)
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


class PerBatchLoss(Adapter):
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
        super().__init__(
            criterion,
            weighted=weighted,
            takes_probabilities=takes_probabilities,
            reduction=reduction,
        )
        if reduction != "mean":
            rule = "a loss with one number per batch has reduction 'mean' only"
            raise ValueError(f"{rule}, got {reduction!r}")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The criterion's number."""
        logits = widen(input)
        match_class_numbers(self.criterion, logits)
        value: Tensor = self.criterion(logits, target)
        if value.dim():
            raise ValueError(f"the loss must return a scalar, got shape {tuple(value.shape)}")
        return value


def _reading(criterion: object, input_kind: str) -> str | None:
    """How the criterion reads its outputs: as it declares, else by softmax, but not scores."""
    if callable(declared(criterion, "log_probs", None)):
        reading = declared(criterion, "reading", OWN_READING)
        if reading is not None and not isinstance(reading, str):
            raise ValueError(f"reading must say in words what log_probs is, got {reading!r}")
        return reading
    return None if input_kind == "scores" else "softmax"


def _input_kind(criterion: object) -> Any:  # noqa: ANN401
    """The kind of input that the criterion declares; else what torch's own take, or logits."""
    criterion = unwrapped(criterion)
    function = getattr(criterion, "function", None)
    likely = "logits"
    if isinstance(criterion, nn.NLLLoss) or function is F.nll_loss:
        likely = "log_probs"
    elif isinstance(criterion, nn.MultiMarginLoss) or function is F.multi_margin_loss:
        likely = "scores"  # a margin has no scale that a softmax could read
    kind = declared(criterion, "input_kind", likely)
    if kind not in INPUT_KINDS:
        raise ValueError(f"input_kind must be one of {', '.join(INPUT_KINDS)}, got {kind!r}")
    return kind
