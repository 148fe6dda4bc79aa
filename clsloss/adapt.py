"""From any loss, torch's or a user's own, to a `Loss`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clsloss.adapters import CustomLoss, PerBatchLoss, PerExampleLoss
from clsloss.base import Loss, argument_names
from clsloss.checks import IGNORE_INDEX, check_flag, check_reduction
from clsloss.criterion import Bound, Criterion, OneHot, OverClasses, declared
from clsloss.trial import WAY_OUT, ClassesNeeded, Trial, is_scalar

Form = Callable[[Criterion], Criterion]


def adapt(
    criterion: Criterion,
    settings: dict[str, Any],
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
    classes: int | None = None,
    class_counts: Tensor | None = None,
) -> Loss:
    """Any loss as a `Loss`, with as much of the contract as can be kept exactly.

    A subclass of `Loss` is instantiated unchanged. Any other criterion gets ``reduction="none"``
    and the class weights if it takes them, and is tried on a few examples of C classes:

    - with a method ``per_example`` it becomes an `CustomLoss`,
    - with one value per example a `PerExampleLoss`,
    - with one number per batch a `PerBatchLoss`.

    If it takes probabilities but no class indices, it gets one-hot rows. Values per example and
    class are averaged or summed over the classes, as the criterion itself does, by default or
    with reduction "mean".

    Arguments named ``classes`` and ``class_counts`` that the settings do not give are filled with
    C and with the number of training examples of each class.

    Args:
        criterion: a class to instantiate, a function, or an instance.
        settings: keyword arguments of the class or function.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean", "sum" or "none".
        classes: C. The default is the number of weights or counts, or else ten.
        class_counts: the number of training examples of each class, (C,).

    Raises:
        TypeError: if the settings do not fit.
        ValueError: if the criterion takes neither class indices (N) nor probabilities (N, C) with
            logits (N, C), returns neither a scalar nor a value per example, or cannot have the
            reduction.
        ClassesNeeded: if the number of classes may be the reason and was not given, or the loss
            needs it or the counts.
    """
    check_reduction(reduction)
    settings = _filled(criterion, settings, classes, class_counts)
    stranger = _Stranger(criterion, settings, weight, ignore_index, reduction)
    trial = Trial(classes, weight)
    if isinstance(criterion, type) and issubclass(criterion, Loss):
        loss = stranger.as_it_is(trial)
    else:
        loss = stranger.with_own_values(trial) or stranger.adapted(trial)
    trial.check_log_probs(loss)
    return loss


def _filled(
    criterion: Criterion,
    settings: dict[str, Any],
    classes: int | None,
    class_counts: Tensor | None,
) -> dict[str, Any]:
    """The settings with what the criterion asks to know of the data: C and the class counts."""
    filled = dict(settings)
    parameters = inspect.signature(criterion).parameters
    for name, value in (("classes", classes), ("class_counts", class_counts)):
        if name not in parameters or name in settings:
            continue
        if value is not None:
            filled[name] = value
        elif parameters[name].default is inspect.Parameter.empty:
            what = "the number of classes" if name == "classes" else "the examples of each class"
            raise ClassesNeeded(f"needs {what}: give them, create(..., {name}=...)")
    return filled


@dataclass(frozen=True)
class _Stranger:
    """A criterion that is not ours, and what to adapt it to."""

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
        """Whether the criterion takes the class weights and applies them itself."""
        return self.weight is not None and "weight" in self.arguments

    @property
    def torch_s(self) -> bool:
        inner = _inner(self.criterion)
        module = getattr(inner, "__module__", None) or type(inner).__module__
        return module.partition(".")[0] == "torch"

    def made(self, **extra: object) -> Criterion:
        """An instance with its settings, the class weights if it takes them, and ``extra``."""
        shared = {"weight": self.weight} if self.weighted else {}
        return _instance(self.criterion, {**self.settings, **shared, **extra})

    def made_alone(self, **extra: object) -> Criterion:
        """An instance that also applies ignore_index itself."""
        if "ignore_index" in self.arguments:
            extra["ignore_index"] = self.ignore_index
        return self.made(**extra)

    def check_shared(self) -> None:
        """Raises ValueError if it would have to apply weights or ignore_index but cannot."""
        rule = "the loss needs an argument of that name or one value per example"
        if self.weight is not None and not self.weighted:
            raise ValueError(f"for class weights (weight) {rule}")
        if self.ignore_index != IGNORE_INDEX and "ignore_index" not in self.arguments:
            raise ValueError(f"for ignore_index={self.ignore_index} {rule}")

    def as_it_is(self, trial: Trial) -> Loss:
        """A subclass of `Loss`, instantiated."""
        self.check_shared()
        loss = self.made_alone()
        assert isinstance(loss, Loss)
        output = trial.call(loss)
        if isinstance(output, Exception) and trial.known:
            raise trial.refusal(output)
        loss.reduction = self.reduction
        return loss

    def with_own_values(self, trial: Trial) -> Loss | None:
        """The loss if it has a method ``per_example``, else None."""
        own = self.made_alone()
        method = getattr(own, "per_example", None)
        if not callable(method):  # it may be a setting of that name
            return None
        self.check_shared()
        output = trial.call(method)
        if isinstance(output, Exception):
            raise trial.refusal(output)
        if not _are_values_and_weights(output, trial):
            rule = "per_example must return a value and a weight for each example"
            raise ValueError(f"{rule}, got {_shown(output)}")
        soft = getattr(own, "takes_probabilities", None)
        if soft is None:
            soft = _are_values_and_weights(trial.call(method, soft=True), trial)
        check_flag("takes_probabilities", soft)
        return CustomLoss(
            own, weighted=self.weighted, takes_probabilities=soft, reduction=self.reduction
        )

    def adapted(self, trial: Trial) -> Loss:
        """Any other loss, tried with class indices, then with one-hot rows."""
        # torch's own losses with targets of the input's shape are not for classification
        forms: list[Form] = [_as_it_is] if self.torch_s else [_as_it_is, OneHot]
        errors = []
        for form in forms:
            loss = self.per_example(trial, form) or self.per_batch(trial, form)
            if isinstance(loss, Loss):
                return loss
            errors.append(loss)
        raise trial.refusal(errors[0], sure=self.torch_s) from errors[0]

    def per_example(self, trial: Trial, form: Form) -> Loss | None:
        """The loss if it gives one value per example, else None."""
        unreduced = {"reduction": "none"} if "reduction" in self.arguments else {}
        try:
            own = form(self.made(**unreduced))
        except Exception:  # not every loss with a reduction accepts "none"
            return None
        if unreduced and (how := self._over_classes(trial, form)):
            own = OverClasses(own, how)
        output = trial.call(own)
        if not trial.is_per_example(output):
            return None
        if declared(own, "pairwise", False):
            rule = "a pairwise loss must return one number for the batch"
            raise ValueError(f"{rule}, got one for each example")
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
        """The loss if it gives one number per batch; the exception if it rejects the targets."""
        own = form(self.made_alone())
        output = trial.call(own)
        if trial.is_per_class(output) and "reduction" in self.arguments:
            own = form(self.made_alone(reduction="mean"))
            output = trial.call(own)
        if isinstance(output, Exception):
            return output
        if not is_scalar(output):
            rule = f"a loss must return a scalar or a value per example, got {_shown(output)}"
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
        """How it reduces values (N, C) over the classes: "mean", "sum", or None if neither.

        It is tried without class weights, which might enter a divisor.
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
    """Whether it must be instantiated: a class, or a `functools.partial` of one."""
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
        raise ValueError("a loss must have a gradient with respect to the logits; it has none")


def _shown(output: object) -> str:
    return str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__
