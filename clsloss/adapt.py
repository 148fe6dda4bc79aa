"""From anyone's loss, torch.nn's or a user's own, to a `Loss`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Container
from typing import Any

import torch
from torch import Tensor, nn

from clsloss.adapters import Bound, Criterion, OwnLoss, PerBatchLoss, PerExampleLoss
from clsloss.base import Loss, argument_names
from clsloss.checks import IGNORE_INDEX, check_reduction


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
    accepted = argument_names(criterion)
    if isinstance(criterion, type) and issubclass(criterion, Loss):
        loss = criterion(**settings, **_shared(accepted, weight, ignore_index))
        loss.reduction = reduction
        return loss
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
    if hasattr(own, "per_example"):
        return OwnLoss(own, reduction=reduction)
    output = _trial(own, weight)
    if not isinstance(output, Exception) and getattr(output, "shape", None) != ():
        shown = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"a loss must give a scalar or a value per example, gave {shown}")
    soft = isinstance(output, Exception) or isinstance(_trial(own, weight, soft=True), Tensor)
    return PerBatchLoss(own, takes_probabilities=soft, reduction=reduction)


def _instance(criterion: Criterion, settings: dict[str, Any]) -> Criterion:
    if isinstance(criterion, type):
        return criterion(**settings)  # type: ignore[no-any-return]
    if isinstance(criterion, nn.Module):
        if settings:
            raise ValueError(f"an instance takes no settings, got {', '.join(settings)}")
        return criterion
    weight = settings.get("weight")
    return Bound(criterion, {k: v for k, v in settings.items() if k != "weight"}, weight)


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
    like = torch.empty(0) if weight is None else weight
    logits = torch.linspace(-1, 1, 2 * classes).view(2, classes).to(like)
    target = logits.softmax(1) if soft else torch.tensor([0, 1], device=like.device)
    with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return copy.deepcopy(criterion)(logits, target)
        except Exception as error:  # a stranger's code may raise anything
            return error


def _is_per_example(output: object) -> bool:
    return isinstance(output, Tensor) and output.shape == (2,)


def _torch_s(criterion: Criterion) -> bool:
    module = getattr(criterion, "__module__", None) or type(criterion).__module__
    return module.partition(".")[0] == "torch"
