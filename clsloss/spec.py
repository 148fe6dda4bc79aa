"""Losses by name: ``create("focal:gamma=3")``.

A spec is ``NAME[:key=value[,key=value]]``, or a weighted sum such as ``ce+0.5*dice``. NAME is one
of `names`, or the path to any other loss: ``module:attribute`` or ``file.py:attribute``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clsloss.adapt import adapt, is_class
from clsloss.base import PURPOSES, REGISTRY, Loss
from clsloss.batch import check_per_class
from clsloss.checks import IGNORE_INDEX, check_integer, class_numbers
from clsloss.combine import SumLoss
from clsloss.load import load, suggest
from clsloss.trial import STAND_IN, ClassesNeeded

RESERVED = ("weight", "ignore_index", "reduction", "size_average", "reduce")
"""Settings that a spec cannot give: arguments of `create`, and torch's two deprecated ones."""


class Term(NamedTuple):
    """One term of a spec: coefficient, name of the loss, settings."""

    coefficient: float
    name: str
    settings: dict[str, object]


def names() -> list[str]:
    """The names of the registered losses.

    Example:
        >>> "focal" in names()
        True
    """
    return sorted(REGISTRY)


def describe() -> str:
    """The losses, grouped by purpose: name, settings with defaults, and a summary of each.

    Example:
        >>> describe().splitlines()[0]
        'general:'
        >>> describe().splitlines()[2].split(maxsplit=1)
        ['brier', 'Brier score, the squared error of the probabilities']
    """
    heads = {name: _head(name, REGISTRY[name]) for name in names()}
    width = max(map(len, heads.values())) + 2
    lines = []
    for purpose in PURPOSES:
        group = [name for name in names() if REGISTRY[name].purpose == purpose]
        lines += [f"{purpose}:"] if group else []
        lines += [f"  {heads[name]:{width}}{_summary(REGISTRY[name])}" for name in group]
    return "\n".join(lines)


def create(
    spec: str,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
    classes: int | None = None,
    class_counts: Tensor | Sequence[float] | None = None,
) -> Loss:
    """The loss that a spec names.

    Args:
        spec: ``focal``, ``focal:gamma=3``, ``ce+0.5*dice``, ``torch.nn:MultiMarginLoss:margin=2``,
            ``mypackage.mymodule:MyLoss:epsilon=1``, ``./losses.py:MyLoss``. Modules are found as
            ``import`` finds them or in the current directory; ``__main__`` is the running script
            or notebook. Values are true, false, none, numbers, words, or a number for each class
            such as ``0.25|0.5|1``.
        weight: class weights (C,), or None for ones.
        ignore_index: the label of examples that do not count.
        reduction: "mean", "sum" or "none".
        classes: C, with which losses that are not ours are tried. The default is the number of
            weights or of counts, or else ten. It fills an argument ``classes`` of a loss.
        class_counts: the number of training examples of each class, (C,). It fills an argument
            ``class_counts`` of a loss, if the spec does not give it. Other losses ignore it.

    Returns:
        The loss of that name; for an import path, what `clsloss.adapt.adapt` makes of it.

    Raises:
        ValueError: if the spec is wrong, in one line with the place and the rule.
        ClassesNeeded: if a loss may need another number of classes than ten, or has an argument
            ``classes`` or ``class_counts`` that nobody gives.

    Example:
        >>> create("focal:gamma=3,alpha=0.5", ignore_index=255)
        FocalLoss(gamma=3, alpha=0.5, weight=None, ignore_index=255, reduction='mean')
    """
    terms = parse(spec)
    single = len(terms) == 1 and terms[0].coefficient == 1
    try:
        weight = class_numbers("weight", weight)
        class_counts = class_numbers("class_counts", class_counts)
        given = {
            "weight": weight,
            "ignore_index": ignore_index,
            "classes": _number_of_classes(classes, weight, class_counts),
            "class_counts": class_counts,
        }
        if single:
            return _build(terms[0], reduction=reduction, **given)
        losses = [_build(term, **given) for term in terms]
        return SumLoss(losses, [term.coefficient for term in terms], reduction=reduction)
    except (TypeError, ValueError) as error:
        raise _in(f"loss {spec!r}", error) from error


def parse(spec: str) -> list[Term]:
    """The terms of a spec, with its grammar checked.

    Example:
        >>> parse("ce+0.5*dice:squared=true")[1]
        Term(coefficient=0.5, name='dice', settings={'squared': True})
    """
    # A plus sign after a digit and an e belongs to an exponent, as in 1e+3.
    return [_parse_term(text.strip(), spec) for text in re.split(r"(?<!\d[eE])\+", spec)]


def check(spec: str) -> Loss | None:
    """Refuses a wrong spec without calling anyone's loss: others' are imported, ours are made.

    Returns:
        The loss, without class weights and made for as many classes of equal size as the spec has
        numbers per class, or else ten; None where it is not all ours.

    Raises:
        ValueError: as `create`.

    Example:
        >>> check("ce+0.5*dice").takes_probabilities, check("torch.nn:MultiMarginLoss")
        (True, None)
    """
    terms = parse(spec)
    if all(term.name in REGISTRY for term in terms):
        settings = (value for term in terms for value in term.settings.values())
        classes = next((len(value) for value in settings if isinstance(value, list)), STAND_IN)
        return create(spec, class_counts=torch.ones(classes))
    for term in terms:
        try:
            _find(term)
        except ValueError as error:
            raise _in(f"loss {spec!r}", error) from error
    return None


def _parse_term(text: str, spec: str) -> Term:
    coefficient, star, rest = text.rpartition("*")
    number = parse_value(coefficient) if star else 1.0
    if isinstance(number, bool) or not isinstance(number, int | float) or not rest:
        raise ValueError(
            f"a term of a loss is [NUMBER*]NAME[:key=value,...], got {text!r} in {spec!r}"
        )
    name, *parts = (part.strip() for part in rest.split(":"))
    if parts and "=" not in parts[0] and name not in REGISTRY:
        name = f"{name}:{parts.pop(0)}"
    settings: dict[str, object] = {}
    for pair in ":".join(parts).split(",") if parts else []:
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not (key and equals and value):
            raise ValueError(f"settings of a loss are key=value, got {pair!r} in {spec!r}")
        if key in settings:
            raise ValueError(f"setting {key!r} is given twice in {spec!r}")
        settings[key] = parse_value(value)
    return Term(float(number), name, settings)


def parse_value(text: str) -> object:
    """The value that a text stands for: true, false, none, a number, numbers, or the text itself.

    Example:
        >>> [parse_value(text) for text in ("true", "3", "1e-3", "hard", "0.5|1")]
        [True, 3, 0.001, 'hard', [0.5, 1]]
    """
    if "|" in text:
        parts = [parse_value(part.strip()) for part in text.split("|")]
        numbers = all(isinstance(p, int | float) and not isinstance(p, bool) for p in parts)
        return parts if numbers else text
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _number_of_classes(
    classes: int | None, weight: Tensor | None, class_counts: Tensor | None
) -> int | None:
    """C, as given or as the number of weights or counts; None if nothing tells.

    Raises:
        ValueError: if they disagree.
    """
    vectors = {"weight": weight, "class_counts": class_counts}
    known = {name: vector for name, vector in vectors.items() if vector is not None}
    if classes is not None:
        check_integer("classes", classes)
        if classes < 2:
            raise ValueError(f"classes must be >= 2, got {classes}")
    elif known:
        classes = len(next(iter(known.values())))
    if classes is not None:
        for name, vector in known.items():
            check_per_class(name, vector, classes)
    return classes


def _in(place: str, error: Exception) -> ValueError:
    """The error with its place before the message."""
    kind = ClassesNeeded if isinstance(error, ClassesNeeded) else ValueError
    return kind(f"{place}: {error}")


def _find(term: Term) -> Callable[..., Any]:
    """What a term names, which takes its settings."""
    criterion = REGISTRY[term.name] if term.name in REGISTRY else load(term.name, names())
    known = _settings(criterion)
    for key in term.settings:
        if known is not None and key not in known:
            raise ValueError(f"{term.name} has no setting {key!r}{suggest(key, known)}")
    return criterion


def _build(term: Term, **given: Any) -> Loss:  # noqa: ANN401
    criterion = _find(term)
    try:
        return adapt(criterion, term.settings, **given)
    except (TypeError, ValueError) as error:
        raise _in(term.name, error) from error


def _settings(criterion: Callable[..., Any]) -> dict[str, object] | None:
    """The settings that a spec may give, with defaults; None if any name is accepted."""
    parameters = list(inspect.signature(criterion).parameters.values())
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    if not is_class(criterion):
        parameters = parameters[2:]  # input and target
    return {p.name: p.default for p in parameters if p.name not in RESERVED}


def _head(name: str, cls: type[Loss]) -> str:
    known = (_settings(cls) or {}).items()
    # What has no default is filled from the data: the number of classes, and their counts.
    given = [(key, value) for key, value in known if value is not inspect.Parameter.empty]
    settings = (f"{key}={_written(value)}" for key, value in given)
    return ":".join(part for part in (name, ",".join(settings)) if part)


def _summary(cls: type[Loss]) -> str:
    return (inspect.getdoc(cls) or "").partition("\n")[0].partition(";")[0]


def _written(value: object) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
