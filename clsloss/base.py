"""`Loss`, the module that every loss here is, and the register of their names."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from clsloss.checks import IGNORE_INDEX, as_class_vector, check_reduction
from clsloss.reduction import example_weights, ratio, reduce

REGISTER: dict[str, type[Loss]] = {}


class Loss(nn.Module):
    """A loss of classification: ``criterion(input, target)`` with one contract.

    A subclass gives `values`; the reductions, the class weights in the mean's divisor and the
    sums that a distributed trainer needs come from here. ``class Mine(Loss, name="mine")`` also
    makes it known to `create`, `names` and `describe`.

    Args:
        weight: weight of each class, (C,), or None for ones. A buffer: it moves with ``.to()``
            and is saved.
        ignore_index: the class index whose examples count for nothing.
        reduction: "mean" (Σ values / Σ weights; 0 where the weights sum to 0), "sum" or "none".
    """

    additive: bool = True
    """Whether the mean is Σ values / Σ weights over examples, so that shards can be added."""
    per_batch: bool = False
    """Whether only ``forward`` is there: nothing can be said about parts of a batch."""
    input_kind: Literal["logits", "scores", "log_probs"] = "logits"
    takes_probabilities: bool = True
    """Whether the target may be class probabilities of the input's shape."""
    weight: Tensor | None
    name: ClassVar[str] = ""

    def __init_subclass__(cls, name: str = "", **kwargs: Any) -> None:  # noqa: ANN401
        """Registers the class under ``name``, where one is given."""
        super().__init_subclass__(**kwargs)
        if name:
            cls.name = name
            REGISTER[name] = cls

    def __init__(
        self,
        weight: Tensor | Sequence[float] | None = None,
        *,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        self.register_buffer("weight", as_class_vector("weight", weight))
        self.ignore_index = ignore_index
        self.reduction = reduction

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of each example, its class weight included; 0 where ignored.

        Returns:
            (N, d1, ...), a scalar where unbatched; float32 or wider.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no values per example")

    def example_weights(self, target: Tensor) -> Tensor:
        """What each example adds to the mean's divisor; needs no forward pass.

        Returns:
            (N, d1, ...): w_y for class indices (0 where ignored), 1 for probabilities.
        """
        return example_weights(target, self.weight, self.ignore_index)

    def per_example(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Values and weights with ``mean = values.sum() / weights.sum()``, both (N, d1, ...)."""
        return self.values(input, target), self.example_weights(target)

    def statistics(self, input: Tensor, target: Tensor) -> Tensor:
        """Sums over the examples that `from_statistics` makes the loss of; differentiable.

        The statistics of a batch are the sum of those of its parts.

        Returns:
            A vector; here (Σ values, Σ weights).
        """
        values, weights = self.per_example(input, target)
        return torch.stack([values.sum(), weights.sum().to(values.dtype)])

    def from_statistics(self, statistics: Tensor) -> Tensor:
        """The mean loss of the examples whose summed `statistics` these are."""
        return ratio(statistics[0], statistics[1])

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch, reduced."""
        values = self.values(input, target)
        return reduce(values, target, self.weight, self.ignore_index, self.reduction)

    def extra_repr(self) -> str:
        """Every setting, as the constructor takes it."""
        settings = [n for n in inspect.signature(type(self)).parameters if hasattr(self, n)]
        return ", ".join(f"{name}={_shown(getattr(self, name))}" for name in settings)


def _shown(value: object) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    if value.numel() > 10:
        return f"<{value.numel()} numbers>"
    return "[" + ", ".join(f"{number:.6g}" for number in value.tolist()) + "]"
