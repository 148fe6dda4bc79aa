"""The metrics of a classifier from its raw logits: accuracy, proper scores, calibration, ranking.

Everything is computed in float64. Confidence is the largest softmax probability; the prediction
is the largest logit, at ties the lowest class. All values are fractions, not percent.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from analyze.metrics import binned
from analyze.metrics.predictions import Floats, Scores, blocks, check, score
from analyze.metrics.table import METRICS
from analyze.metrics.temperature import Temperature, fit_temperature

__all__ = [
    "MORE_NAMES",
    "NAMES",
    "Scores",
    "Temperature",
    "evaluate",
    "fit_temperature",
    "human_agreement",
    "metrics",
    "metrics_of",
    "per_example",
    "score",
]

NAMES = tuple(name for name, metric in METRICS.items() if metric.in_summary)
MORE_NAMES = tuple(name for name in METRICS if name not in NAMES)


def metrics(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    names: Iterable[str] = NAMES,
    temperature: float = 1.0,
    null_draws: int = 200,
    rng: np.random.Generator | None = None,
    probabilities: bool = False,
) -> dict[str, float]:
    """Every metric of NAMES, or those asked for, of one set of predictions.

    Args:
        logits: Raw logits of any real dtype, shape (N, C).
        targets: Class labels, integers, shape (N,).
        names: Which metrics, from NAMES and MORE_NAMES; a few of them cost less than all.
        temperature: Divides the logits.
        null_draws: Draws of labels behind `null_ece`.
        rng: Draws them; the default is the same generator, seeded with 0, at every call.
        probabilities: Whether `logits` are probabilities p instead, exact zeros among them: NLL
            is infinite where a label has p = 0, and the temperature divides log p.

    Returns:
        Name -> value, as fractions (accuracy .95, not 95).

    Raises:
        ValueError: An unknown name, or as `analyze.metrics.predictions.check`.

    Example:
        >>> metrics([[1.0, 0.0], [0.0, 3.0]], [0, 0], names=("accuracy", "top5"))
        {'accuracy': 0.5, 'top5': 1.0}
    """
    names = _known(names)
    scores = score(
        logits,
        targets,
        temperature=temperature,
        class_gaps=any(METRICS[name].class_gaps for name in names),
        probabilities=probabilities,
    )
    return metrics_of(scores, names=names, null_draws=null_draws, rng=rng)


def metrics_of(
    scores: Scores,
    *,
    names: Iterable[str] = NAMES,
    null_draws: int = 200,
    rng: np.random.Generator | None = None,
) -> dict[str, float]:
    """As `metrics`, of what `score` returned (with its class_gaps, for `classwise_ece`)."""
    formulas = {name: METRICS[name].formula for name in _known(names)}
    if "null_ece" in formulas:
        rng = np.random.default_rng(0) if rng is None else rng
        formulas["null_ece"] = lambda s: binned.null_ece(s.confidence, rng, null_draws)
    return {name: float(formula(scores)) for name, formula in formulas.items()}


def per_example(scores: Scores) -> dict[str, Floats]:
    """The metrics that are means over examples, as what each example adds, shape (N,) each."""
    return {name: one.terms(scores) for name, one in METRICS.items() if one.terms}


def evaluate(
    val_logits: ArrayLike,
    val_targets: ArrayLike,
    test_logits: ArrayLike,
    test_targets: ArrayLike,
) -> dict[str, Any]:
    """What a run's summary holds: the temperature, and the metrics on both splits.

    Returns:
        `temperature` (fitted on validation), `temperature_at_bound`, whether NLL has no minimum
        there, with `temperature_bound` ("zero" or "infinity") where it is so, and for each NAME
        of NAMES `val/NAME`, `test/NAME` and, at that temperature, `test/NAME_ts`.

    Raises:
        ValueError: As `analyze.metrics.predictions.check`, for either split.
    """
    temperature = fit_temperature(val_logits, val_targets)
    values: dict[str, Any] = {
        "temperature": temperature.value,
        "temperature_at_bound": temperature.at_bound,
    }
    if temperature.bound:
        values["temperature_bound"] = temperature.bound
    after = metrics(test_logits, test_targets, temperature=temperature.value)
    values |= {f"val/{name}": v for name, v in metrics(val_logits, val_targets).items()}
    values |= {f"test/{name}": v for name, v in metrics(test_logits, test_targets).items()}
    return values | {f"test/{name}_ts": v for name, v in after.items()}


def human_agreement(logits: ArrayLike, probabilities: ArrayLike) -> dict[str, float]:
    """How close softmax(logits) is to what people answered, as on CIFAR-10H.

    With q a person's distribution and p the model's: the cross-entropy -sum_c q_c log p_c and
    the total variation 1/2 sum_c |q_c - p_c|, both averaged over examples.

    Args:
        logits: Raw logits, shape (N, C).
        probabilities: People's distributions over the same classes, shape (N, C), rows sum to 1.

    Raises:
        ValueError: Shapes that differ, or rows that are no distributions.
    """
    q = np.asarray(probabilities, dtype=np.float64)
    logits, _ = check(logits, np.zeros(len(np.asarray(logits)), dtype=np.int64))
    if q.shape != logits.shape:
        raise ValueError(f"probabilities must be {logits.shape} like the logits, got {q.shape}")
    if not ((q >= 0).all() and np.allclose(q.sum(axis=1), 1, atol=1e-5)):
        raise ValueError("probabilities must be >= 0 and sum to 1 in every row")
    cross_entropy = variation = 0.0
    for rows in blocks(*logits.shape):
        z = logits[rows].astype(np.float64)
        z -= z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        cross_entropy -= float((q[rows] * log_p).sum())
        variation += 0.5 * float(np.abs(q[rows] - np.exp(log_p)).sum())
    n = len(q)
    return {"human_cross_entropy": cross_entropy / n, "human_total_variation": variation / n}


def _known(names: Iterable[str]) -> tuple[str, ...]:
    names = tuple(names)
    if unknown := [name for name in names if name not in METRICS]:
        raise ValueError(f"unknown metric {unknown[0]!r}; there are: {', '.join(METRICS)}")
    return names
