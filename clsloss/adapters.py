"""Losses of others, torch.nn's and users' own, behind the contract of `Loss`."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Container
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsloss.base import Loss
from clsloss.batch import Batch, mean, widen
from clsloss.checks import IGNORE_INDEX, check_reduction

Criterion = Callable[..., Any]


def adapt(
    criterion: Criterion,
    settings: dict[str, Any],
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Loss:
    """Anyone's loss as a `Loss`, with as much of the contract as can be kept exactly.

    A subclass of `Loss` is made as it is. Other criteria are asked for ``reduction="none"`` and
    for the class weights where they take them, and tried on two examples: one with a method
    ``per_example`` becomes an `OwnLoss`, one that gives a value per example a `PerExampleLoss`,
    any other a `PerBatchLoss`.

    Args:
        criterion: a class to make an instance of, a function, or an instance.
        settings: keyword arguments of the class or function.
        weight: class weights (C,).
        ignore_index: the label whose examples count for nothing.
        reduction: "mean", "sum" or "none".

    Raises:
        TypeError: for settings that do not fit.
        ValueError: for a loss of torch's that does not take logits (N, C) and class indices (N),
            a criterion that gives neither a scalar nor a value per example, and a reduction that
            it cannot have.
    """
    check_reduction(reduction)
    accepted = inspect.signature(criterion).parameters
    if isinstance(criterion, type) and issubclass(criterion, Loss):
        return criterion(
            **settings, **_shared(accepted, weight, ignore_index), reduction=reduction
        )
    weighted = {"weight": weight} if weight is not None and "weight" in accepted else {}
    unreduced = {"reduction": "none"} if "reduction" in accepted else {}
    own = _instance(criterion, {**settings, **weighted, **unreduced})
    if not hasattr(own, "per_example"):
        output = _trial(own, weight)
        if _is_per_example(output):
            return PerExampleLoss(
                own,
                weighted=bool(weighted),
                takes_probabilities=_is_per_example(_trial(own, weight, soft=True)),
                weight=weight,
                ignore_index=ignore_index,
                reduction=reduction,
            )
        if isinstance(output, TypeError) or (
            isinstance(output, Exception) and _torch_s(criterion)
        ):
            reason = str(output).partition("\n")[0]
            raise ValueError(f"does not take logits (N, C) and class indices (N): {reason}")
    own = _instance(criterion, {**settings, **_shared(accepted, weight, ignore_index)})
    kind = OwnLoss if hasattr(own, "per_example") else PerBatchLoss
    return kind(own, reduction=reduction)


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
        reduction: "mean", which is the criterion's number, whatever it is.

    Raises:
        ValueError: for another reduction.
    """

    additive = False
    per_batch = True

    def __init__(self, criterion: Criterion, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        if reduction != "mean":
            rule = "a loss with one number per batch has reduction 'mean' only"
            raise ValueError(f"{rule}, got {reduction!r}")
        self.criterion = criterion
        self.input_kind = _input_kind(criterion)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The criterion's number."""
        value: Tensor = self.criterion(widen(input), target)
        if value.dim():
            raise ValueError(f"the loss must give a scalar, got shape {tuple(value.shape)}")
        return value


class Bound(nn.Module):
    """A function with its settings, of which tensors are buffers.

    Args:
        function: ``function(input, target, **settings)``.
        settings: its keyword arguments.
    """

    def __init__(self, function: Criterion, settings: dict[str, Any]) -> None:
        super().__init__()
        self.function = function
        self.settings = tuple(settings)
        for key, value in settings.items():
            if isinstance(value, Tensor):
                self.register_buffer(key, value)
            else:
                setattr(self, key, value)

    def forward(self, input: Tensor, target: Tensor) -> Any:  # noqa: ANN401
        """The function's value."""
        return self.function(input, target, **{key: getattr(self, key) for key in self.settings})

    def extra_repr(self) -> str:
        """The function's name and its settings."""
        name = getattr(self.function, "__qualname__", repr(self.function))
        return ", ".join([name, *(f"{key}={getattr(self, key)}" for key in self.settings)])


def _instance(criterion: Criterion, settings: dict[str, Any]) -> Criterion:
    if isinstance(criterion, type):
        return criterion(**settings)  # type: ignore[no-any-return]
    if isinstance(criterion, nn.Module):
        if settings:
            raise ValueError(f"an instance takes no settings, got {', '.join(settings)}")
        return criterion
    return Bound(criterion, settings)


def _shared(accepted: Container[str], weight: Tensor | None, ignore_index: int) -> dict[str, Any]:
    """The class weights and ignore_index for a criterion that applies them itself."""
    rule = "the loss needs an argument of that name, or to give one value per example"
    if weight is not None and "weight" not in accepted:
        raise ValueError(f"for class weights (weight) {rule}")
    if ignore_index != IGNORE_INDEX and "ignore_index" not in accepted:
        raise ValueError(f"for ignore_index={ignore_index} {rule}")
    shared: dict[str, Any] = {} if weight is None else {"weight": weight}
    return {**shared, "ignore_index": ignore_index} if "ignore_index" in accepted else shared


def _trial(criterion: Criterion, weight: Tensor | None, *, soft: bool = False) -> object:
    """What a copy of the criterion gives for two examples, or the exception that it raises."""
    classes = 10 if weight is None else len(weight)
    logits = torch.linspace(-1, 1, 2 * classes).view(2, classes)
    target = logits.softmax(1) if soft else torch.tensor([0, 1])
    with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return copy.deepcopy(criterion)(logits, target)
        except Exception as error:  # a stranger's code may raise anything
            return error


def _is_per_example(output: object) -> bool:
    return isinstance(output, Tensor) and output.shape == (2,)


def _input_kind(criterion: object) -> Any:  # noqa: ANN401
    """What the criterion says it takes; log-probabilities for torch's NLLLoss; else logits."""
    likely = isinstance(criterion, nn.NLLLoss) or getattr(criterion, "function", 0) is F.nll_loss
    return getattr(criterion, "input_kind", "log_probs" if likely else "logits")


def _torch_s(criterion: Criterion) -> bool:
    module = getattr(criterion, "__module__", None) or type(criterion).__module__
    return module.partition(".")[0] == "torch"
