"""`python -m analyze score`: every metric of a file of logits, before and after temperature."""

from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analyze.metrics.calibration import fit_temperature, metrics
from analyze.metrics.predictions import problem
from analyze.metrics.table import METRICS
from analyze.metrics.temperature import (
    BOUND_REASONS,
    Temperature,
    impossible_labels,
    temperature_text,
)
from analyze.runs.archive import Predictions, Split


def score_predictions(predictions: Predictions) -> dict[str, Any]:
    """All metrics of the test split, before temperature and, given validation, after it.

    Returns:
        `n`, `classes`, `temperature`, `temperature_at_bound`, `temperature_bound` ("zero",
        "infinity" or None), `before`, `after` and `own`. The last three hold every metric as a
        fraction. NLL is infinite where a label has probability 0. The temperature and `after` are
        None without validation, or if a validation label has probability 0. `own` is None unless
        the file says how the loss reads the logits.
    """
    test = predictions.test
    own = test.own
    temperature = _temperature(predictions.val)
    test_metrics = partial(metrics, test.logits, test.targets, probabilities=test.probabilities)
    return {
        "n": len(test.targets),
        "classes": test.logits.shape[1],
        "temperature": temperature.value if temperature else None,
        "temperature_at_bound": temperature.at_bound if temperature else None,
        "temperature_bound": temperature.bound if temperature else None,
        "before": test_metrics(),
        "after": test_metrics(temperature=temperature.value) if temperature else None,
        "own": metrics(own.logits, own.targets, probabilities=own.probabilities) if own else None,
    }


def _temperature(val: Split | None) -> Temperature | None:
    if val is None or (val.probabilities and impossible_labels(val.logits, val.targets)):
        return None
    return fit_temperature(val.logits, val.targets, probabilities=val.probabilities)


def hints(predictions: Predictions, result: dict[str, Any]) -> list[str]:
    """Caveats about a result of `score_predictions`, a sentence each."""
    sentences = []
    test, val = predictions.test, predictions.val
    if test.probabilities:
        if impossible := impossible_labels(test.logits, test.targets):
            sentences.append(f"labels with probability 0: {impossible:,}, so NLL is infinite")
    elif problem(test.logits, test.targets, probabilities=True) is None:
        sentences.append(
            "test_logits sum to 1 in every row: if they are probabilities, call them test_probs"
        )
    stages = [("before temperature", result["before"]), ("after temperature", result["after"])]
    stages.append(("as the loss reads it", result["own"]))
    for stage, values in stages:
        if not values:
            continue
        ece, floor, gap = values["ece"], values["null_ece"], values["signed_gap"]
        if ece < floor:
            sentences.append(
                f"{stage}, ECE {ece:.2%} is below the noise floor of {result['n']:,} examples "
                f"({floor:.2%}): indistinguishable from calibrated"
            )
        elif abs(gap) > floor:
            word = "over" if gap > 0 else "under"
            sentences.append(f"{stage}, the model is {word}confident by {abs(gap):.2%}")
    if val is None:
        sentences.append(
            "no val_logits, so no temperature: fitting it on test data would be cheating"
        )
    elif result["temperature"] is None:
        impossible = impossible_labels(val.logits, val.targets)
        sentences.append(
            f"no temperature: validation labels with probability 0: {impossible:,}, so NLL is "
            "infinite at every temperature; provide logits, or probabilities above 0"
        )
    elif bound := result["temperature_bound"]:
        sentences.append(
            f"the temperature stopped at its bound, {result['temperature']:.4g}, which stands for "
            f"{bound}: {BOUND_REASONS[bound]}"
        )
    return sentences


def print_score(
    predictions: Predictions, result: dict[str, Any], title: str, console: Console
) -> None:
    """Prints a result of `score_predictions` as a table, with its `hints`."""
    console.print(Text(title), soft_wrap=True)
    table = Table()
    table.add_column("metric")
    table.add_column("before", justify="right")
    if result["after"]:
        fitted = temperature_text(result["temperature"], 3)
        table.add_column(f"after, T = {fitted}", justify="right")
    if result["own"]:
        table.add_column("as the loss reads it", justify="right")
    for name in result["before"]:
        kinds = ("before", "after", "own")
        stages = [values for values in map(result.get, kinds) if values]
        table.add_row(METRICS[name].title, *(_number(name, values[name]) for values in stages))
    console.print(table)
    console.print(f"{result['n']:,} examples, {result['classes']:,} classes")
    for hint in hints(predictions, result):
        console.print(f"- {hint}")


def _number(name: str, value: float) -> str:
    # AURC and E-AURC are small: show four decimals of the fraction
    percent = METRICS[name].unit == "%" and not name.endswith("aurc")
    return f"{value:.2%}" if percent else f"{value:.4f}"
