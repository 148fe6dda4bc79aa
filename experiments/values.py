"""Values of options: rules, and conversion from command lines, study files and W&B."""

from __future__ import annotations

import ast
import math
import os
import re
from collections.abc import Callable, Collection
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from analyze.errors import UsageError
from analyze.metrics.margins import margins_of
from analyze.metrics.table import PRIMARY
from analyze.runs.tuned import Tuned
from experiments import suggestions

LONGEST_NAME = 255  # bytes that file systems allow


class Rule(NamedTuple):
    """A rule for the values of an option.

    Attributes:
        text: the rule in words, to follow "must be".
        holds: whether a value follows the rule.
        choices: the possible values, if they have names.
    """

    text: str
    holds: Callable[[Any], bool]
    choices: Collection[str] = ()

    def require(self, option: str, value: object) -> None:
        """Refuse a value of an option that breaks the rule."""
        if not self.holds(value):
            hint = suggestions.for_value(str(value), self.choices)
            raise UsageError(
                f"{flag(option)} must be {self.text}, got {str(value)!r}{hint}", option
            )


class Neutral(NamedTuple):
    """The value at which an option changes nothing and stays out of a run's hash.

    New options have one, so that earlier runs keep their names.
    """

    value: Any


class Mark(Enum):
    """Properties of an option."""

    BOOKKEEPING = "it takes no part in the hash of a run"
    JUDGES = "it says nothing of what the model learns, but takes part in the hash"
    PATH = "it is a path, or empty"
    LIST = "study files may give a list"


def one_of(choices: Collection[str], *others: str) -> Rule:
    """The rule that a value is one of the choices, or of another form such as timm:NAME."""
    *first, last = [*choices, *others]
    prefixes = tuple(other.partition(":")[0] + ":" for other in others)
    text = f"one of {', '.join(first)}, or {last}" if others else f"one of {', '.join(choices)}"
    return Rule(text, lambda v: v in choices or v.startswith(prefixes), tuple(choices))


FRACTION_OR_NUMBER = Rule(
    "a fraction below 1, or a whole number of images", lambda v: v < 1 or v == int(v)
)
AT_LEAST_0 = Rule("at least 0", lambda v: v >= 0)
AT_LEAST_1 = Rule("at least 1", lambda v: v >= 1)
POSITIVE = Rule("a positive number", lambda v: 0 < v < math.inf)
FROM_1 = Rule("a number >= 1", lambda v: 1 <= v < math.inf)
NOT_NEGATIVE = Rule("a number >= 0", lambda v: 0 <= v < math.inf)
BELOW_1 = Rule("in [0, 1)", lambda v: 0 <= v < 1)
SEED = Rule("from 0 to 2**63 - 1", lambda v: 0 <= v < 2**63)
SPLIT_SEED = Rule("from 0 to 2**63 - 1, or -1 for that of --seed", lambda v: -1 <= v < 2**63)
STRENGTH = Rule("0, or from 0.01 to 100", lambda v: v == 0 or 0.01 <= v <= 100)
NOT_EMPTY = Rule("not empty", bool)
PRINTABLE = Rule("without line breaks and control characters", str.isprintable)
BETAS = Rule("two numbers in [0, 1), such as 0.9,0.999", lambda v: parse_betas(v) is not None)
FRACTION = Rule("in [0, 1]", lambda v: 0 <= v <= 1)
MARGINS = Rule(
    f"empty, or METRIC=NUMBER,... with metrics of {', '.join(PRIMARY)}",
    lambda text: not text or _are_margins(text),
)
TUNED = Rule(
    "empty, or the record that `python -m experiments tune` writes",
    lambda text: not text or Tuned.read(text) is not None,
)
FOLDER_NAME = Rule(
    f"a folder's name of at most {LONGEST_NAME} bytes, without / and not starting with a dot",
    lambda v: "/" not in v and not v.startswith(".") and len(os.fsencode(v)) <= LONGEST_NAME,
)


def _are_margins(text: str) -> bool:
    try:
        return bool(margins_of(text))
    except UsageError:
        return False


def parse_betas(text: str) -> tuple[float, float] | None:
    """The two numbers of ``--betas``; None if they are not two in [0, 1)."""
    try:
        first, second = map(float, text.split(","))
    except ValueError:
        return None
    return (first, second) if 0 <= first < 1 and 0 <= second < 1 else None


def data_seed(split_seed: int, seed: int) -> int:
    """The seed of the choices of images and labels: ``split_seed``, or ``seed`` for -1."""
    return seed if split_seed == -1 else split_seed


def flag(option: str) -> str:
    """The flag of an option: ``batch_size`` -> ``--batch-size``."""
    return "--" + option.replace("_", "-")


def convert(option: str, value: object, kind: object, marks: Collection[object]) -> Any:  # noqa: ANN401
    """Convert a text from a command line, or a value from a study file, to an option's type.

    Raises:
        UsageError: if it is not of that type.
    """
    try:
        text = _join(value) if Mark.LIST in marks else str(value)
        if text.startswith("~") and (kind is Path or Mark.PATH in marks):
            text = str(expanded(flag(option), text, option))
        return _convert(text, kind)
    except ValueError as error:
        raise UsageError(f"{flag(option)} must be {error}, got {str(value)!r}", option) from None


def _convert(text: str, kind: object) -> Any:  # noqa: ANN401 (as `kind` says)
    """Convert a text to a type; a ValueError says what the text must be."""
    if "\0" in text:
        raise ValueError("without the character NUL")
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("true or false")
        return text.lower() == "true"
    if kind in (int, float):
        try:
            return _integer(text) if kind is int else float(text)
        except ValueError:
            raise ValueError("an integer" if kind is int else "a number") from None
    return Path(text) if kind is Path else text


def _integer(text: str) -> int:
    """Read ``64``, and also ``64.0``, as W&B may write it."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if number.is_integer() and abs(number) < 2**53:
            return int(number)
        raise


def _join(value: object) -> str:
    """Join the list [1, 2.5] into ``1,2.5``; W&B's agent passes lists as text.

    Other values stay as they are.

    Raises:
        ValueError: saying what the value must be.
    """
    text = str(value)
    if not text.startswith("["):
        return text
    try:
        items = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        items = []
    if not items or any(type(item) not in (str, int, float) for item in items):
        raise ValueError("a list of numbers or texts")
    # W&B may write the same number as 1.0 or 1.
    return ",".join(
        str(int(item)) if isinstance(item, float) and item.is_integer() else str(item)
        for item in items
    )


def parse_interval(text: str) -> tuple[int, float]:
    """``"200"`` -> (200 steps, inf seconds); ``"5m"`` -> (no steps: 0, 300 seconds).

    Raises:
        UsageError: if it is neither.
    """
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)m", text):
        if float(match[1]) > 0:
            return 0, 60 * float(match[1])
    elif text.isdecimal() and int(text) > 0:
        return int(text), math.inf
    raise UsageError(
        f"--checkpoint-every must be a number of steps (200) or minutes (5m), got {text!r}",
        "checkpoint_every",
    )


def parse_milestones(text: str, epochs: int) -> list[Fraction]:
    """``"0.5,0.75"`` or, in epochs, ``"150,250"`` -> fractions of the run, exact and ascending.

    Raises:
        UsageError: if they are not ascending numbers within the run, all fractions or all epochs.
    """
    try:
        values = [Fraction(number) for number in text.split(",")]
    except (ValueError, ZeroDivisionError):
        values = []
    in_epochs = all(v >= 1 for v in values)
    fractions = [v / epochs for v in values] if in_epochs else values
    ascending = fractions == sorted(fractions)
    if not (fractions and ascending and all(0 < v < 1 for v in fractions)):
        raise UsageError(
            "--milestones must be ascending fractions of the run (0.5,0.75), or epochs before its "
            f"last (150,250), got {text!r} with --epochs {epochs}",
            "milestones",
        )
    return fractions


def parse_class_weights(text: str) -> tuple[str, list[float]]:
    """``"effective:0.999"`` -> ("effective", [0.999]); ``"1,2"`` -> ("given", [1.0, 2.0]).

    ``none`` and ``balanced`` have no numbers.

    Raises:
        UsageError: if it is none of these.
    """
    if text in ("none", "balanced"):
        return text, []
    kind = "effective" if text.startswith("effective:") else "given"
    try:
        numbers = [float(number) for number in text.removeprefix("effective:").split(",")]
    except ValueError:
        numbers = []
    if kind == "effective":
        fits = len(numbers) == 1 and 0 <= numbers[0] < 1
    else:
        fits = all(0 <= w < math.inf for w in numbers) and any(numbers)
    if not fits:
        raise UsageError(
            "--class-weights must be none, balanced, effective:BETA with BETA in [0, 1), or a "
            f"weight >= 0 for each class (1,2.5,...), not all zero, got {text!r}",
            "class_weights",
        )
    return kind, numbers


LINEAR, COSINE = "linear", "cosine"


def parse_head(text: str) -> float | None:
    """``"cosine:16"`` -> 16.0; ``"cosine"`` and ``"linear"`` have no number.

    Raises:
        UsageError: if it is none of these.
    """
    if text in (LINEAR, COSINE):
        return None
    kind, _, number = text.partition(":")
    try:
        scale = float(number)
    except ValueError:
        scale = 0.0
    if kind != COSINE or not 0 < scale < math.inf:
        raise UsageError(
            "--head must be linear, cosine, or cosine:S with the scale S > 0 of the cosines, got "
            f"{text!r}",
            "head",
        )
    return scale


def expanded(what: str, path: str, option: str = "") -> Path:
    """Expand ~ in a path. Shells do not expand it in ``--output=~/x`` or in a file.

    Raises:
        UsageError: naming the path and its option, if there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{what} {path}: there is no such home folder", option) from error
