"""Trial of an unknown loss on a few examples: its output shows what kind it is."""

from __future__ import annotations

import copy
import traceback
import warnings
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

STAND_IN = 10
"""The number of classes of a trial, if unknown."""


WAY_OUT = "a function loss(logits, target) of your own can call it as it needs"


class ClassesNeeded(ValueError):
    """A loss failed its trial, perhaps because it needs another number of classes."""


class Trial:
    """A few examples to try a criterion on.

    The number of examples differs from that of classes, to expose a loss that confuses the two.
    The labels are the first and the last class, to expose a loss with too few class numbers.

    Args:
        classes: C; None if unknown, for which `STAND_IN` is taken.
        weight: class weights (C,), which set the dtype and device of the logits.
    """

    def __init__(self, classes: int | None, weight: Tensor | None = None) -> None:
        self.known = classes is not None
        self.classes = classes or STAND_IN
        self.examples = 3 if self.classes == 2 else 2
        like = torch.empty(0) if weight is None else weight
        steps = torch.linspace(-1, 1, self.examples * self.classes, dtype=like.dtype)
        # Log-probabilities are valid logits, and some losses take nothing else.
        self.logits = steps.view(self.examples, -1).log_softmax(1).to(like.device)
        labels = torch.linspace(0, self.classes - 1, self.examples).long()
        self.target = labels.to(like.device)

    def call(self, criterion: Any, *, soft: bool = False) -> object:  # noqa: ANN401
        """The output of a copy of the criterion for the examples, or the exception it raises.

        Args:
            criterion: any callable.
            soft: whether the targets are probabilities.
        """
        target = self.logits.exp() if soft else self.target
        logits = self.logits.clone().requires_grad_()
        devices: list[int] = []
        with torch.random.fork_rng(devices), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return _copied(criterion)(logits, target)
            except Exception as error:  # other people's code may raise anything
                return error

    def check_log_probs(self, loss: Any) -> None:  # noqa: ANN401
        """Raises ValueError unless a loss's ``log_probs`` returns normalised log-probabilities.

        An error in it is reported only if the number of classes is known: it may be the reason.
        """
        rule = "log_probs must return log-probabilities of the logits' shape"
        try:
            with torch.no_grad():
                found = _copied(loss).log_probs(self.logits.clone())
        except Exception as error:  # other people's code may raise anything
            if self.known:
                raise ValueError(f"{rule}: {_told(error)}") from error
            return
        if found is None:
            return
        if not isinstance(found, Tensor) or found.shape != self.logits.shape:
            shown = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"{rule} {tuple(self.logits.shape)}, got {shown}")
        sums = found.exp().sum(1)
        if not (sums - 1).abs().max() <= 1e-3:  # so that NaN is refused too
            raise ValueError(f"{rule}, whose exp sums to 1, got a sum of {sums[0].item():.4g}")

    def is_per_example(self, output: object) -> TypeGuard[Tensor]:
        """Whether an output is one value per example, (N,)."""
        return isinstance(output, Tensor) and output.shape == (self.examples,)

    def is_per_class(self, output: object) -> TypeGuard[Tensor]:
        """Whether an output is one value per example and class, (N, C)."""
        return isinstance(output, Tensor) and output.shape == self.logits.shape

    def refusal(self, error: Exception, *, sure: bool = False) -> ValueError:
        """The error to report for a criterion that failed its trial.

        Args:
            error: what the criterion raised.
            sure: whether the number of classes is certainly not the reason.
        """
        reason = _told(error)
        rule = "does not take logits (N, C) and class indices (N)"
        if sure or isinstance(error, TypeError):
            return ValueError(f"{rule}: {reason}; {WAY_OUT}")
        tried = f"{rule}, tried with C = {self.classes}: {reason}"
        if self.known:
            return ValueError(f"{tried}; {WAY_OUT}")
        return ClassesNeeded(f"{tried}; give yours, create(..., classes=C), or {WAY_OUT}")


def is_scalar(output: object) -> TypeGuard[Tensor]:
    """Whether an output is one number."""
    return isinstance(output, Tensor) and output.dim() == 0


def _copied(criterion: Any) -> Any:  # noqa: ANN401
    try:
        return copy.deepcopy(criterion)
    except Exception:  # what cannot be copied is tried as it is
        return criterion


def _told(error: Exception) -> str:
    """An exception in one line: its type, its message, and the last line outside our own code."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(ours)]
    place = f" in {Path(theirs[-1].filename).name}, line {theirs[-1].lineno}" if theirs else ""
    message = str(error).strip().partition("\n")[0]
    return ": ".join(part for part in (f"{type(error).__name__}{place}", message) if part)
