"""`python -m analyze score`: every metric of one file of logits, before and after temperature."""

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
    """All metrics of the test split, before and, where there is validation, after temperature.

    Returns:
        `n`, `classes`, `temperature`, `temperature_at_bound`, `temperature_bound` ("zero" or
        "infinity" where it is at one), `before` and `after`, the last two with every metric as a
        fraction; NLL is infinite where a label has probability 0. The temperature and `after`
        are None without validation, and where a validation label has probability 0.
    """
    test = predictions.test
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
    }


def _temperature(val: Split | None) -> Temperature | None:
    if val is None or (val.probabilities and impossible_labels(val.logits, val.targets)):
        return None
    return fit_temperature(val.logits, val.targets, probabilities=val.probabilities)


def hints(predictions: Predictions, result: dict[str, Any]) -> list[str]:
    """What a reader of `score_predictions` should know before quoting it, a sentence each."""
    found = []
    test, val = predictions.test, predictions.val
    if test.probabilities:
        if impossible := impossible_labels(test.logits, test.targets):
            found.append(f"labels of probability 0: {impossible:,}, so that NLL is infinite")
    elif problem(test.logits, test.targets, probabilities=True) is None:
        found.append("test_logits sum to 1 as probabilities do: call them test_probs if they are")
    stages = [("before temperature", result["before"]), ("after temperature", result["after"])]
    for stage, values in stages:
        if not values:
            continue
        ece, floor, gap = values["ece"], values["null_ece"], values["signed_gap"]
        if ece < floor:
            found.append(
                f"{stage}, ECE {ece:.2%} is below the noise floor of {result['n']:,} examples "
                f"({floor:.2%}): indistinguishable from calibrated"
            )
        elif abs(gap) > floor:
            word = "over" if gap > 0 else "under"
            found.append(f"{stage}, the model is {word}-confident by {abs(gap):.2%}")
    if val is None:
        found.append("no val_logits: no temperature, since fitting it on test would be cheating")
    elif result["temperature"] is None:
        impossible = impossible_labels(val.logits, val.targets)
        found.append(
            f"no temperature: validation labels of probability 0: {impossible:,}, so that NLL is "
            "infinite at each; give logits, or leave no class without probability"
        )
    elif bound := result["temperature_bound"]:
        found.append(
            f"the temperature stopped at its bound, {result['temperature']:.4g}, which stands for "
            f"{bound}: {BOUND_REASONS[bound]}"
        )
    return found


def print_score(
    predictions: Predictions, result: dict[str, Any], title: str, console: Console
) -> None:
    """The readable form of what `score_predictions` found, with `hints`."""
    console.print(Text(title), soft_wrap=True)
    table = Table()
    table.add_column("metric")
    table.add_column("before", justify="right")
    if result["after"]:
        fitted = temperature_text(result["temperature"], 3)
        table.add_column(f"after, T = {fitted}", justify="right")
    for name in result["before"]:
        stages = [values for values in (result["before"], result["after"]) if values]
        table.add_row(METRICS[name].title, *(_number(name, values[name]) for values in stages))
    console.print(table)
    console.print(f"{result['n']:,} examples, {result['classes']:,} classes")
    for hint in hints(predictions, result):
        console.print(f"- {hint}")


def _number(name: str, value: float) -> str:
    # areas under the risk are small: four decimals of the fraction itself
    percent = METRICS[name].unit == "%" and not name.endswith("aurc")
    return f"{value:.2%}" if percent else f"{value:.4f}"
