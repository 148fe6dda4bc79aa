"""`Loss`, the base class of every loss, and the register of their names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsloss.batch import class_dim, example_weights, mean, ratio, widen
from clsloss.checks import (
    IGNORE_INDEX,
    check_fraction,
    check_integer,
    check_reduction,
    class_numbers,
)

REGISTRY: dict[str, type[Loss]] = {}

PURPOSES = ("general", "calibration", "label noise", "long tail", "margins", "overlap")
"""What losses are for, in the order in which `clsloss.describe` lists them."""

OWN_READING = "its own log_probs"
"""The reading of a loss that defines `log_probs` and does not say what it is."""


class Shared(TypedDict):
    """The settings that every function takes, as `Loss.values` passes them."""

    weight: Tensor | None
    ignore_index: int
    reduction: str


class Loss(nn.Module):
    """A classification loss, ``criterion(input, target)``, with what a trainer needs besides.

    A subclass defines `values`. The reductions, the divisor of the mean and the sums over shards
    come from here. ``class Mine(Loss, name="mine")`` also makes it known to `create`, `names` and
    `describe`.

    Args:
        weight: weight of each class, (C,), or None for ones. It is copied into a buffer, which
            moves with ``.to()`` and is saved. A weight that requires a gradient is refused, since
            the copy would lose it: pass it to the function.
        ignore_index: the label of examples that do not count.
        reduction: "mean" is Σ values / Σ weights. An example weighs w_y, 0 if ignored, or 1 if
            targets are probabilities. If the weights sum to 0, the mean is 0 with zero gradients,
            where torch gives NaN. "sum" is Σ values, "none" the values.

    Attributes:
        additive: whether the mean is Σ values / Σ weights over examples.
        per_batch: whether there is only ``forward``, with nothing for parts of a batch.
        input_kind: what ``input`` must be: "logits", "log_probs" (normalised), "scores" (of no
            scale that a softmax could read) or "cosines" (cosine similarities, in [-1, 1]).
        takes_probabilities: whether targets may be class probabilities of the input's shape.
        statistics_size: the length of `statistics` for C classes: (a, b) means a + b C.
        pairwise: whether the loss of a batch is a sum over pairs of its examples. A trainer then
            gathers the outputs of all processes.
        purpose: what the loss is for, one of `PURPOSES`.
        reading: how `log_probs` reads logits, in a few words: "softmax", or what it is instead.
            None if the outputs mean no probabilities.

    Raises:
        ValueError: if the reduction is not one of the three, or weights are negative, NaN,
            infinite, all zero, or require a gradient.
    """

    additive: bool = True
    per_batch: bool = False
    input_kind: Literal["logits", "scores", "log_probs", "cosines"] = "logits"
    takes_probabilities: bool = True
    statistics_size: tuple[int, int] = (2, 0)
    pairwise: bool = False
    purpose: str = "general"
    reading: str | None = "softmax"
    weight: Tensor | None

    def __init_subclass__(cls, name: str = "", purpose: str = "", **kwargs: Any) -> None:  # noqa: ANN401
        """Registers the class under ``name``, if one is given."""
        super().__init_subclass__(**kwargs)
        if "log_probs" in vars(cls) and cls.reading == "softmax":
            cls.reading = OWN_READING
        if cls.pairwise:
            cls.additive, cls.per_batch = False, True
        if purpose:
            if purpose not in PURPOSES:
                raise ValueError(f"purpose must be one of {', '.join(PURPOSES)}, got {purpose!r}")
            cls.purpose = purpose
        if name:
            known = REGISTRY.get(name)
            # The same class may come again: a notebook's cell run twice, a module reloaded.
            if known and (known.__module__, known.__qualname__) != (
                cls.__module__,
                cls.__qualname__,
            ):
                raise ValueError(f"the loss name {name!r} is taken by {known.__qualname__}")
            REGISTRY[name] = cls

    def __init__(
        self,
        weight: Tensor | Sequence[float] | None = None,
        *,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        check_integer("ignore_index", ignore_index)
        self.register_buffer("weight", class_numbers("weight", weight))
        self.ignore_index = ignore_index
        self.reduction = reduction
        self._progress = 0.0

    @property
    def progress(self) -> float:
        """How far the run is, in [0, 1]: the share of its steps that are done.

        A trainer sets it before each step. Losses with a schedule read it. It is not saved, since
        it follows from the step.
        """
        return self._progress

    @progress.setter
    def progress(self, progress: float) -> None:
        check_fraction("progress", progress)
        self._progress = float(progress)
        for part in self.components():
            if hasattr(part, "progress"):
                part.progress = self._progress

    def components(self) -> Sequence[Any]:
        """The criteria that this loss is made of: the terms of a sum, or the criterion adapted."""
        return ()

    def after_validation(self, logits: Tensor, target: Tensor) -> None:
        """Called after each epoch with the outputs for the validation images. By default nothing.

        A loss that learns from them, such as `AdaFocalLoss`, changes its buffers. The trainer
        calls it on every process with the same tensors, copies the buffers of the main process to
        the others, and saves them in the checkpoint of the epoch.

        Args:
            logits: (N, C), float32; log-probabilities if the loss takes those.
            target: class indices (N,), int64.
        """
        for part in self.components():
            if callable(method := getattr(part, "after_validation", None)):
                method(logits, target)

    def set_weight(self, weight: Tensor) -> None:
        """Replaces the class weights, in place: for weights that change during a run.

        Args:
            weight: (C,), for a loss that was made with class weights.

        Raises:
            ValueError: if the loss has no class weights, or a criterion that is not ours does not
                keep them as ``weight``.
        """
        if self.weight is None:
            raise ValueError(f"{type(self).__name__} was made without class weights to replace")
        self.weight.copy_(weight)

    def log_probs(self, logits: Tensor) -> Tensor | None:
        """The log-probabilities that the logits mean if they minimise this loss.

        If a model's logits minimise the expected loss at class probabilities η, this gives log η.
        It is the log-softmax for most losses. Class weights and settings such as α are not
        undone: the minimiser is then the posterior under these weights.

        Args:
            logits: (N, C, d1, ...), or (C,) unbatched.

        Returns:
            log-probabilities of the same shape, float32 or wider; None if the loss has no such
            reading (`reading` is None).
        """
        if self.reading is None:
            return None
        return F.log_softmax(widen(logits), class_dim(logits))

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of each example, class weight included; 0 where ignored.

        Returns:
            (N, d1, ...), a scalar if unbatched; float32 or wider.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no values per example")

    def example_weights(self, target: Tensor) -> Tensor:
        """What each example adds to the divisor of the mean. Needs no forward pass.

        Returns:
            (N, d1, ...): w_y for class indices (0 where ignored), 1 for probabilities.
        """
        return example_weights(target, self.weight, self.ignore_index)

    def per_example(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Values and weights with ``mean = values.sum() / weights.sum()``, each (N, d1, ...)."""
        return self.values(input, target), self.example_weights(target)

    def statistics(self, input: Tensor, target: Tensor) -> Tensor:
        """Sums over the examples, from which `from_statistics` computes the mean.

        The statistics of a batch are the sum of those of its shards. They are differentiable.

        Returns:
            A vector; (Σ values, Σ weights) for an additive loss.
        """
        values, weights = self.per_example(input, target)
        return torch.stack([values.sum(), weights.sum(dtype=values.dtype)])

    def from_statistics(self, statistics: Tensor) -> Tensor:
        """The mean loss of the examples that `statistics` were summed over."""
        return ratio(statistics[0], statistics[1])

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch, reduced as ``reduction`` says."""
        values = self.values(input, target)
        if self.reduction != "mean":
            return values.sum() if self.reduction == "sum" else values
        return mean(values, self.example_weights(target))

    def extra_repr(self) -> str:
        """Every setting, by the constructor's names."""
        keys = argument_names(type(self))
        # A module among the settings is a child, which torch prints itself.
        settings = [key for key in keys if hasattr(self, key) and key not in self._modules]
        return ", ".join(f"{key}={_shown(getattr(self, key))}" for key in settings)

    def keep(self, name: str, value: float | Tensor | None) -> None:
        """Stores a setting; a number per class becomes a buffer, as the class weights are."""
        if isinstance(value, Tensor):
            self.register_buffer(name, value)
        else:
            setattr(self, name, value)

    @property
    def shared(self) -> Shared:
        """The settings that `values` passes: ``focal_loss(input, target, **self.shared)``."""
        return {"weight": self.weight, "ignore_index": self.ignore_index, "reduction": "none"}


def argument_names(criterion: Callable[..., Any]) -> list[str]:
    """The arguments of a class or function, including those a `Loss` gets by ``**kwargs``."""
    parameters = inspect.signature(criterion).parameters.values()
    names = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    passes_on = len(names) < len(parameters)
    if passes_on and isinstance(criterion, type) and issubclass(criterion, Loss):
        names += [name for name in inspect.signature(Loss).parameters if name not in names]
    return names


def _shown(value: object) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    if value.numel() > 20:
        return f"<{value.numel()} numbers>"
    return "[" + ", ".join(f"{number:.6g}" for number in value.tolist()) + "]"
