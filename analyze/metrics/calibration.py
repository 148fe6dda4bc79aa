"""Metrics of a classifier from its raw logits: accuracy, proper scores, calibration, ranking.

All arithmetic is in float64. Confidence is the largest softmax probability. The prediction is the
class with the largest logit, the lowest such class at ties. Values are fractions, not percent.
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
    """The metrics of one set of predictions: all of NAMES, or those requested.

    Args:
        logits: Raw logits of any real dtype, shape (N, C).
        targets: Class labels, integers, shape (N,).
        names: Which metrics, from NAMES and MORE_NAMES. Fewer metrics cost less.
        temperature: Divides the logits.
        null_draws: Simulations behind `null_ece`.
        rng: Generator for these simulations. By default each call starts one with seed 0.
        probabilities: Whether `logits` holds probabilities p, which may be exactly 0. NLL is
            infinite where a label has p = 0. The temperature divides log p.

    Returns:
        Name -> value, as fractions (accuracy .95, not 95).

    Raises:
        ValueError: An unknown name, or as in `analyze.metrics.predictions.check`.

    Example:
        >>> metrics([[1.0, 0.0], [0.0, 3.0]], [0, 0], names=("accuracy", "top5"))
        {'accuracy': 0.5, 'top5': 1.0}
    """
    names = _checked_names(names)
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
    """As `metrics`, from the result of `score`; `classwise_ece` needs its class_gaps."""
    formulas = {name: METRICS[name].formula for name in _checked_names(names)}
    if "null_ece" in formulas:
        rng = np.random.default_rng(0) if rng is None else rng
        formulas["null_ece"] = lambda s: binned.null_ece(s.confidence, rng, null_draws)
    return {name: float(formula(scores)) for name, formula in formulas.items()}


def per_example(scores: Scores) -> dict[str, Floats]:
    """The per-example terms, shape (N,), of each metric that is a mean over examples."""
    return {name: metric.terms(scores) for name, metric in METRICS.items() if metric.terms}


def evaluate(
    val_logits: ArrayLike,
    val_targets: ArrayLike,
    test_logits: ArrayLike,
    test_targets: ArrayLike,
    test_log_probs: ArrayLike | None = None,
) -> dict[str, Any]:
    """The metrics in a run's summary: the temperature, and the metrics of both splits.

    Args:
        val_logits: Raw logits of the validation split, as in `metrics`.
        val_targets: Its labels.
        test_logits: Raw logits of the test split.
        test_targets: Its labels.
        test_log_probs: The log-probabilities that the loss reads from the test logits, (N, C), if
            it reads them otherwise than by softmax.

    Returns:
        `temperature`, fitted on the validation split, and `temperature_at_bound`, whether NLL
        has no minimum; if so, also `temperature_bound`, "zero" or "infinity". For each NAME of
        NAMES: `val/NAME`, `test/NAME` and, at the fitted temperature, `test/NAME_ts`; with
        `test_log_probs` also `test/NAME_own`.

    Raises:
        ValueError: As in `analyze.metrics.predictions.check`, for either split.
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
    values |= {f"test/{name}_ts": v for name, v in after.items()}
    if test_log_probs is not None:
        own = metrics(test_log_probs, test_targets)
        values |= {f"test/{name}_own": v for name, v in own.items()}
    return values


def human_agreement(logits: ArrayLike, probabilities: ArrayLike) -> dict[str, float]:
    """Agreement of p = softmax(logits) with human label distributions q, as in CIFAR-10H.

    Both values are means over examples.

    Formula:
        -Σ_c q_c log p_c  `human_cross_entropy`
        1/2 Σ_c |q_c - p_c|  `human_total_variation`

    Args:
        logits: Raw logits, shape (N, C).
        probabilities: Human label distributions over the same classes, shape (N, C). Each row
            sums to 1.

    Raises:
        ValueError: Shapes that differ, or a row that is no distribution.

    Source: CIFAR-10H: Peterson et al. 2019, "Human uncertainty makes classification more
    robust", arXiv:1908.07086.
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


def _checked_names(names: Iterable[str]) -> tuple[str, ...]:
    names = tuple(names)
    if unknown := [name for name in names if name not in METRICS]:
        raise ValueError(f"unknown metric {unknown[0]!r}; there are: {', '.join(METRICS)}")
    return names
