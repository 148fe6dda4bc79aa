"""From anyone's loss, torch.nn's or a user's own, to a `Loss`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clsloss.adapters import (
    Bound,
    Criterion,
    OneHot,
    OverClasses,
    OwnLoss,
    PerBatchLoss,
    PerExampleLoss,
)
from clsloss.base import Loss, argument_names
from clsloss.checks import IGNORE_INDEX, check_flag, check_reduction
from clsloss.trial import WAY_OUT, Trial, is_scalar

Form = Callable[[Criterion], Criterion]


def adapt(
    criterion: Criterion,
    settings: dict[str, Any],
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
    classes: int | None = None,
) -> Loss:
    """Anyone's loss as a `Loss`, with as much of the contract as can be kept exactly.

    A subclass of `Loss` is made as it is. Other criteria are asked for ``reduction="none"`` and
    for the class weights where they take them, and tried on a few examples of C classes: one with
    a method ``per_example`` becomes an `OwnLoss`, one that gives a value per example a
    `PerExampleLoss`, any other a `PerBatchLoss`. One that takes no class indices, but
    probabilities, gets one-hot rows. Values per example and class are averaged or added up over
    the classes, as the criterion's own reduction does, by default or for "mean".

    Args:
        criterion: a class to make an instance of, a function, or an instance.
        settings: keyword arguments of the class or function.
        weight: class weights (C,).
        ignore_index: the label whose examples count for nothing.
        reduction: "mean", "sum" or "none".
        classes: C; without it and without weights ten are tried.

    Raises:
        TypeError: for settings that do not fit.
        ValueError: for a criterion that takes neither class indices (N) nor probabilities (N, C)
            with its logits (N, C), or gives neither a scalar nor a value per example, and for a
            reduction that it cannot have. `clsloss.trial.ClassesNeeded` where the number of
            classes may be the reason, and was not given.
    """
    check_reduction(reduction)
    stranger = _Stranger(criterion, settings, weight, ignore_index, reduction)
    trial = Trial(classes if weight is None else len(weight), weight)
    if isinstance(criterion, type) and issubclass(criterion, Loss):
        return stranger.as_it_is(trial)
    return stranger.with_own_values(trial) or stranger.adapted(trial)


@dataclass(frozen=True)
class _Stranger:
    """A criterion of someone's, and what it is to be adapted to."""

    criterion: Criterion
    settings: dict[str, Any]
    weight: Tensor | None
    ignore_index: int
    reduction: str

    @functools.cached_property
    def arguments(self) -> list[str]:
        return argument_names(self.criterion)

    @property
    def weighted(self) -> bool:
        """Whether it has the class weights, and applies them itself."""
        return self.weight is not None and "weight" in self.arguments

    @property
    def torch_s(self) -> bool:
        inner = _inner(self.criterion)
        module = getattr(inner, "__module__", None) or type(inner).__module__
        return module.partition(".")[0] == "torch"

    def made(self, **extra: object) -> Criterion:
        """An instance with its settings, the class weights where it takes them, and more."""
        shared = {"weight": self.weight} if self.weighted else {}
        return _instance(self.criterion, {**self.settings, **shared, **extra})

    def made_alone(self, **extra: object) -> Criterion:
        """An instance that also applies ignore_index itself."""
        if "ignore_index" in self.arguments:
            extra["ignore_index"] = self.ignore_index
        return self.made(**extra)

    def check_shared(self) -> None:
        """Raises ValueError where it would have to apply weights or ignore_index, and cannot."""
        rule = "the loss needs an argument of that name, or to give one value per example"
        if self.weight is not None and not self.weighted:
            raise ValueError(f"for class weights (weight) {rule}")
        if self.ignore_index != IGNORE_INDEX and "ignore_index" not in self.arguments:
            raise ValueError(f"for ignore_index={self.ignore_index} {rule}")

    def as_it_is(self, trial: Trial) -> Loss:
        """A subclass of `Loss`."""
        self.check_shared()
        loss = self.made_alone()
        assert isinstance(loss, Loss)
        output = trial.call(loss)
        if isinstance(output, Exception) and trial.known:
            raise trial.refusal(output)
        loss.reduction = self.reduction
        return loss

    def with_own_values(self, trial: Trial) -> Loss | None:
        """What has a method ``per_example``; None for anything else."""
        own = self.made_alone()
        method = getattr(own, "per_example", None)
        if not callable(method):  # a setting may have that name
            return None
        self.check_shared()
        output = trial.call(method)
        if isinstance(output, Exception):
            raise trial.refusal(output)
        if not _are_values_and_weights(output, trial):
            rule = "per_example must give values and weights, one of each per example"
            raise ValueError(f"{rule}, gave {_shown(output)}")
        soft = getattr(own, "takes_probabilities", None)
        if soft is None:
            soft = _are_values_and_weights(trial.call(method, soft=True), trial)
        check_flag("takes_probabilities", soft)
        return OwnLoss(
            own, weighted=self.weighted, takes_probabilities=soft, reduction=self.reduction
        )

    def adapted(self, trial: Trial) -> Loss:
        """Any other, with its labels as they are, else one-hot."""
        # of torch's, those with targets of the input's shape are for other tasks
        forms: list[Form] = [_as_it_is] if self.torch_s else [_as_it_is, OneHot]
        errors = []
        for form in forms:
            loss = self.per_example(trial, form) or self.per_batch(trial, form)
            if isinstance(loss, Loss):
                return loss
            errors.append(loss)
        raise trial.refusal(errors[0], sure=self.torch_s) from errors[0]

    def per_example(self, trial: Trial, form: Form) -> Loss | None:
        """With one value per example; None where it gives none."""
        unreduced = {"reduction": "none"} if "reduction" in self.arguments else {}
        try:
            own = form(self.made(**unreduced))
        except Exception:  # not every reduction argument knows "none"
            return None
        if unreduced and (how := self._over_classes(trial, form)):
            own = OverClasses(own, how)
        output = trial.call(own)
        if not trial.is_per_example(output):
            return None
        _check_gradient(output)
        return PerExampleLoss(
            own,
            weighted=self.weighted,
            takes_probabilities=trial.is_per_example(trial.call(own, soft=True)),
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def per_batch(self, trial: Trial, form: Form) -> Loss | Exception:
        """With one number per batch; the exception where it takes no such targets."""
        own = form(self.made_alone())
        output = trial.call(own)
        if trial.is_per_class(output) and "reduction" in self.arguments:
            own = form(self.made_alone(reduction="mean"))
            output = trial.call(own)
        if isinstance(output, Exception):
            return output
        if not is_scalar(output):
            rule = f"a loss must give a scalar or a value per example, gave {_shown(output)}"
            raise ValueError(f"{rule}: {WAY_OUT}")
        self.check_shared()
        _check_gradient(output)
        return PerBatchLoss(
            own,
            weighted=self.weighted,
            takes_probabilities=is_scalar(trial.call(own, soft=True)),
            reduction=self.reduction,
        )

    def _over_classes(self, trial: Trial, form: Form) -> str | None:
        """How it reduces values (N, C) over the classes, "mean" or "sum"; None for anything else.

        Tried without class weights, which might be in a divisor.
        """

        def result(**reduction: str) -> object:
            return trial.call(form(_instance(self.criterion, {**self.settings, **reduction})))

        each = result(reduction="none")
        if not trial.is_per_class(each):
            return None
        ways = {"mean": each.mean(), "sum": each.sum(1).mean()}
        for own in (result(), result(reduction="mean")):
            for how, value in ways.items():
                if is_scalar(own) and torch.allclose(own, value, rtol=1e-4):
                    return how
        return None


def is_class(criterion: Criterion) -> bool:
    """Whether a loss has to be made of it: a class, or a `functools.partial` of one."""
    return isinstance(_inner(criterion), type)


def _inner(criterion: Criterion) -> Criterion:
    return criterion.func if isinstance(criterion, functools.partial) else criterion


def _instance(criterion: Criterion, settings: dict[str, Any]) -> Criterion:
    if is_class(criterion):
        return criterion(**settings)  # type: ignore[no-any-return]
    if isinstance(criterion, nn.Module):
        if settings:
            raise ValueError(f"an instance takes no settings, got {', '.join(settings)}")
        return criterion
    weight = settings.get("weight")
    return Bound(criterion, {k: v for k, v in settings.items() if k != "weight"}, weight)


def _as_it_is(criterion: Criterion) -> Criterion:
    return criterion


def _are_values_and_weights(output: object, trial: Trial) -> bool:
    if not isinstance(output, tuple) or len(output) != 2:
        return False
    return all(map(trial.is_per_example, output))


def _check_gradient(output: Tensor) -> None:
    if not output.requires_grad:
        raise ValueError("a loss must have a gradient with respect to the logits, has none")


def _shown(output: object) -> str:
    return str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__
