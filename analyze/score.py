"""`python -m analyze score`: every metric of one file of logits, before and after temperature."""

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analyze.archive import Predictions
from analyze.calibration import fit_temperature, metrics

TITLES = {
    "accuracy": "accuracy",
    "top5": "top-5 accuracy",
    "nll": "NLL",
    "brier": "Brier",
    "ece": "ECE (15 bins)",
    "ada_ece": "AdaECE",
    "classwise_ece": "classwise ECE",
    "mce": "MCE",
    "l2_debiased": "L2² debiased",
    "ece_sweep": "ECE-sweep",
    "smece": "smECE",
    "signed_gap": "signed gap",
    "aurc": "AURC",
    "e_aurc": "E-AURC",
    "null_ece": "null ECE",
}
NOT_PERCENT = ("nll", "brier", "l2_debiased", "aurc", "e_aurc")


def score_predictions(predictions: Predictions) -> dict[str, Any]:
    """All metrics of the test split, before and, where there is validation, after temperature.

    Returns:
        `n`, `classes`, `temperature`, `temperature_at_bound`, `before` and `after`, the last two
        with every metric as a fraction; the temperature and `after` are None without validation.
    """
    test, val = predictions.test, predictions.val
    temperature = fit_temperature(val.logits, val.targets) if val else None
    return {
        "n": len(test.targets),
        "classes": test.logits.shape[1],
        "temperature": temperature.value if temperature else None,
        "temperature_at_bound": temperature.at_bound if temperature else None,
        "before": metrics(test.logits, test.targets),
        "after": metrics(test.logits, test.targets, temperature=temperature.value)
        if temperature
        else None,
    }


def hints(predictions: Predictions, result: dict[str, Any]) -> list[str]:
    """What a reader of `score_predictions` should know before quoting it, a sentence each."""
    found = []
    logits = predictions.test.logits
    if logits.min() >= 0 and np.allclose(logits.sum(axis=1, dtype=np.float64), 1, atol=1e-3):
        found.append("test_logits sum to 1 as probabilities do: pass logits, or log-probabilities")
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
    if result["temperature"] is None:
        found.append("no val_logits: no temperature, since fitting it on test would be cheating")
    elif result["temperature_at_bound"]:
        found.append(
            f"the temperature stopped at its bound, {result['temperature']:g}: "
            "validation is all right, or worse than chance"
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
        table.add_column(f"after, T = {result['temperature']:.3f}", justify="right")
    for name in result["before"]:
        stages = [values for values in (result["before"], result["after"]) if values]
        table.add_row(TITLES[name], *(_number(name, values[name]) for values in stages))
    console.print(table)
    console.print(f"{result['n']:,} examples, {result['classes']:,} classes")
    for hint in hints(predictions, result):
        console.print(f"- {hint}")


def _number(name: str, value: float) -> str:
    return f"{value:.4f}" if name in NOT_PERCENT else f"{value:.2%}"
