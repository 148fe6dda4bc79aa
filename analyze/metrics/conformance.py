"""`python -m analyze conformance`: cases with known answers, for us and for other libraries."""

import importlib
import importlib.util
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from analyze.metrics.binned import ada_ece, ece
from analyze.metrics.calibration import metrics
from analyze.metrics.predictions import Floats, Integers
from analyze.metrics.smooth import smece

Answer = Callable[[], float | tuple[float, ...]]


@dataclass(frozen=True)
class Case:
    """An input with a known answer.

    Attributes:
        title: The metric and the input.
        expected: The value by definition.
        ours: Computes our value.
        others: Computes the value of each other library; several values where the result
            depends on the order of the rows.
        reason: Why the values differ.
    """

    title: str
    expected: float
    ours: Callable[[], float]
    others: dict[str, Answer]
    reason: str


def cases() -> list[Case]:
    """All cases. Values are computed on demand."""
    return [_edges(), _exactly_one(), _least_confident(), _saturated(), _ends(), _ties(), _range()]


def run_conformance(console: Console) -> bool:
    """Prints every case and returns whether all our values are as expected."""
    fine = True
    for case in cases():
        ours = case.ours()
        right = math.isclose(ours, case.expected, abs_tol=5e-4)
        fine &= right
        table = Table(title=case.title, title_justify="left", min_width=60)
        table.add_column("computed by", min_width=24)
        table.add_column("value", justify="right")
        table.add_row("the definition", f"{case.expected:.3f}")
        table.add_row("analyze", f"{ours:.3f}" + ("" if right else "  WRONG"))
        for library, answer in case.others.items():
            table.add_row(library, _value_text(answer))
        console.print(table)
        console.print(f"{case.reason}\n")
    missing = [
        name for name, module in PACKAGES.items() if importlib.util.find_spec(module) is None
    ]
    if missing:
        console.print(f"to compare with the missing libraries: pip install {' '.join(missing)}")
    return fine


def _value_text(answer: Answer) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = answer()
    except ImportError as error:
        return "not installed" if error.name in _MODULES else f"needs {error.name}"
    except Exception as error:  # third-party code may raise anything; report it as the result
        return f"fails: {type(error).__name__}"
    values = value if isinstance(value, tuple) else (value,)
    return " or ".join(f"{v:.3f}" for v in values)


def _edges() -> Case:
    confidence, correct = np.array([0.5, 0.6, 0.8]), np.array([True, False, False])
    probabilities, targets = _two_classes(confidence, correct)
    return Case(
        "ECE, 2 bins: confidence .5 right, .6 wrong, .8 wrong",
        0.633,
        lambda: ece(confidence, correct, bins=2),
        _ece_of_libraries(probabilities, targets, 2),
        "Guo et al. bin as (a, b], so .5 is in the lower bin. Bins [a, b) put all three in one.",
    )


def _exactly_one() -> Case:
    confidence = np.array([1.0, 1.0, 0.95, 0.95, 0.95])
    correct = np.array([True, False, True, True, True])
    probabilities, targets = _two_classes(confidence, correct)
    return Case(
        "ECE, 15 bins: confidence 1 right, 1 wrong, three times .95 right",
        0.17,
        lambda: ece(confidence, correct),
        _ece_of_libraries(probabilities, targets, 15),
        "All five share the last bin. Bins [a, b) put confidence 1 in a hidden sixteenth bin.",
    )


def _least_confident() -> Case:
    confidence, correct = np.array([0.2, 0.5, 0.6, 0.7]), np.array([False, False, True, True])
    rest = np.repeat((1 - confidence)[:, None] / 5, 5, axis=1)
    probabilities = np.concatenate([confidence[:, None], rest], axis=1)
    targets = np.where(correct, 0, 1)
    return Case(
        "AdaECE, 2 bins: confidence .2 .5 wrong, .6 .7 right",
        0.35,
        lambda: ada_ece(confidence, correct, bins=2),
        {
            "uncertainty-calibration": lambda: float(
                _load("calibration").get_ece_em(probabilities, targets, num_bins=2)
            ),
            "torch-uncertainty": lambda: _torch_uncertainty(
                probabilities, targets, "AdaptiveCalibrationError", num_bins=2
            ),
        },
        "The bins are {.2 .5} and {.6 .7}. Bins (a, b] between quantiles lose the .2.",
    )


def _saturated() -> Case:
    logits = np.array([[40.0, 0.0]], dtype=np.float32)

    def log_loss(dtype: str) -> float:
        z = logits.astype(dtype)
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        return float(_load("sklearn.metrics").log_loss([1], p, labels=[0, 1]))

    return Case(
        "NLL: logits 40 and 0, the second is right",
        40.0,
        lambda: metrics(logits, [1], names=["nll"])["nll"],
        {
            "scikit-learn, float32 softmax": lambda: log_loss("float32"),
            "scikit-learn, float64 softmax": lambda: log_loss("float64"),
        },
        "Probabilities are clipped at the precision of their dtype. Logits keep the full value.",
    )


def _ends() -> Case:
    confidence = np.array([1.0, 1.0, 0.7, 0.7])
    correct = np.array([True, True, True, False])
    return Case(
        "smECE: half at confidence 1 and right, half at .7 and half right",
        0.1,
        lambda: smece(confidence, correct),
        {"relplot": lambda: float(_load("relplot").smECE(confidence, correct.astype(float)))},
        "The reflected kernel doubles the mass at exactly 0 and 1. Without the reflection, half "
        "of the weight there is lost.",
    )


def _ties() -> Case:
    n = 200
    right = np.arange(n) % 8 != 0
    orders = (np.argsort(~right, kind="stable"), np.argsort(right, kind="stable"))
    logits = np.stack([np.full(n, 50.0), np.zeros(n)], axis=1)
    targets = (~right).astype(np.int64)
    probabilities = np.stack([np.ones(n), np.zeros(n)], axis=1)
    return Case(
        "AURC: 200 examples of confidence 1, 25 of them wrong",
        0.125,
        lambda: metrics(logits[orders[0]], targets[orders[0]], names=["aurc"])["aurc"],
        {
            "torch-uncertainty": lambda: tuple(
                _torch_uncertainty(probabilities, targets[order], "AURC") for order in orders
            )
        },
        "No order of equal confidences is better than another. If row order breaks the ties, the "
        "value depends on it.",
    )


def _range() -> Case:
    logits = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.6]])
    targets = np.array([0, 1, 0])
    return Case(
        "ECE, 15 bins: logits that all lie in [0, 1]",
        0.413,
        lambda: metrics(logits, targets, names=["ece"])["ece"],
        {"torchmetrics": lambda: _torchmetrics_ece(logits, targets, 15)},
        "The logits give confidences .69 and .65 (right) and .57 (wrong), each in its own bin. A "
        "library that guesses from the range takes the logits for probabilities.",
    )


def _two_classes(
    confidence: Floats, correct: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], Integers]:
    return np.stack([confidence, 1 - confidence], axis=1), (~correct).astype(np.int64)


# Libraries load on demand: none is required, and some import torch.

# Package name -> module name
PACKAGES = {
    "torchmetrics": "torchmetrics",
    "torch-uncertainty": "torch_uncertainty",
    "netcal": "netcal",
    "uncertainty-calibration": "calibration",
    "relplot": "relplot",
}
_MODULES = ("torch", *PACKAGES.values())


def _load(module: str) -> Any:  # noqa: ANN401 - a module
    return importlib.import_module(module)


def _ece_of_libraries(probabilities: Floats, targets: Integers, bins: int) -> dict[str, Answer]:
    return {
        "torchmetrics": lambda: _torchmetrics_ece(probabilities, targets, bins),
        "torch-uncertainty": lambda: _torch_uncertainty(
            probabilities, targets, "CalibrationError", num_bins=bins
        ),
        "netcal": lambda: float(_load("netcal.metrics").ECE(bins).measure(probabilities, targets)),
        "uncertainty-calibration": lambda: float(
            _load("calibration").get_ece(probabilities, targets, num_bins=bins)
        ),
    }


def _torchmetrics_ece(scores: Floats, targets: Integers, bins: int) -> float:
    functional, torch = _load("torchmetrics.functional.classification"), _load("torch")
    value = functional.multiclass_calibration_error(
        torch.tensor(scores), torch.tensor(targets), num_classes=scores.shape[1], n_bins=bins
    )
    return float(value)


def _torch_uncertainty(
    probabilities: Floats, targets: Integers, name: str, **options: int
) -> float:
    torch = _load("torch")
    kind = getattr(_load("torch_uncertainty.metrics.classification"), name)
    task: dict[str, Any] = {"task": "multiclass", "num_classes": probabilities.shape[1]}
    metric = kind(**(task | options if options else {}))
    metric.update(torch.tensor(probabilities), torch.tensor(targets))
    return float(metric.compute())
