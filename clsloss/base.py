"""`Loss`, the base class of every loss, and the register of their names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor, nn

from clsloss.batch import example_weights, mean, ratio
from clsloss.checks import IGNORE_INDEX, check_integer, check_reduction, class_numbers

REGISTRY: dict[str, type[Loss]] = {}


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
        input_kind: what ``input`` must be.
        takes_probabilities: whether targets may be class probabilities of the input's shape.
        statistics_size: the length of `statistics` for C classes: (a, b) means a + b C.

    Raises:
        ValueError: if the reduction is not one of the three, or weights are negative, NaN,
            infinite, all zero, or require a gradient.
    """

    additive: bool = True
    per_batch: bool = False
    input_kind: Literal["logits", "scores", "log_probs"] = "logits"
    takes_probabilities: bool = True
    statistics_size: tuple[int, int] = (2, 0)
    weight: Tensor | None

    def __init_subclass__(cls, name: str = "", **kwargs: Any) -> None:  # noqa: ANN401
        """Registers the class under ``name``, if one is given."""
        super().__init_subclass__(**kwargs)
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
