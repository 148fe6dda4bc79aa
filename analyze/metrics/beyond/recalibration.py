"""Recalibration beside one temperature. Every method is fitted on validation images alone.

A method turns logits z into log-probabilities. Unlike a temperature, most can change predictions.
"""

from collections.abc import Callable

import numpy as np
from scipy import optimize, special

from analyze.metrics.predictions import Floats, Integers

Recalibrated = Callable[[Floats], Floats]  # logits (N, C) -> log-probabilities (N, C)


def vector_scaling(logits: Floats, targets: Integers, temperature: float) -> Recalibrated:
    """A scale and a shift for each class, of least NLL: log_softmax(w ∘ z + b).

    The NLL is convex in w and b. It has no minimum where they separate the classes of the
    validation images; the search then stops far out, and the NLL on other images is large.

    Source: Guo et al. 2017, arXiv:1706.04599.

    Args:
        logits: Of the validation images, (n, C).
        targets: Their labels, (n,).
        temperature: T, fitted on them.
    """
    n, classes = logits.shape
    spread = float(logits.std()) or 1.0
    z, row = logits / spread, np.arange(n)

    def objective(x: Floats) -> tuple[float, Floats]:
        log_p = special.log_softmax(z * x[:classes] + x[classes:], axis=1)
        residual = np.exp(log_p)
        value = -float(log_p[row, targets].mean())
        residual[row, targets] -= 1
        slope = np.concatenate([(residual * z).mean(axis=0), residual.mean(axis=0)])
        return value, slope

    start = np.concatenate([np.full(classes, spread / temperature), np.zeros(classes)])
    x = _minimum(objective, start)
    w, b = x[:classes] / spread, x[classes:]
    return lambda rows: special.log_softmax(rows * w + b, axis=1)


def isotonic(logits: Floats, targets: Integers, temperature: float) -> Recalibrated:
    """For each class, isotonic regression of its label on its probability; then normalised.

    Between the points of the regression, values are interpolated. They are kept at least 1/(2n)
    from 0 and 1, n the number of validation images: else a label could have probability 0.

    Source: Zadrozny & Elkan 2002, "Transforming Classifier Scores into Accurate Multiclass
    Probability Estimates".

    Args:
        logits: Of the validation images, (n, C).
        targets: Their labels, (n,).
        temperature: Not used: a monotone map of each class's probability makes up for none.
    """
    n, classes = logits.shape
    p = special.softmax(logits, axis=1)
    maps = [_isotonic_map(p[:, c], targets == c) for c in range(classes)]

    def apply(rows: Floats) -> Floats:
        q = special.softmax(rows, axis=1)
        values = np.stack([np.interp(q[:, c], *maps[c]) for c in range(classes)], axis=1)
        values = values.clip(0.5 / n, 1 - 0.5 / n)
        log_p: Floats = np.log(values / values.sum(axis=1, keepdims=True))
        return log_p

    return apply


def _isotonic_map(p: Floats, hit: np.ndarray) -> tuple[Floats, Floats]:
    """The points of the regression: probabilities, and the rate of hits there."""
    values, place = np.unique(p, return_inverse=True)
    number = np.bincount(place)
    rate = np.bincount(place, hit) / number
    return values, optimize.isotonic_regression(rate, weights=number).x


def ensemble_temperature(logits: Floats, targets: Integers, temperature: float) -> Recalibrated:
    """A mixture of the probabilities at T, the raw ones and 1/C, with weights of least NLL.

    It keeps the order of the classes, and so the predictions.

    Source: Zhang, Kailkhura & Han 2020, "Mix-n-Match: Ensemble and Compositional Methods for
    Uncertainty Calibration in Deep Learning", arXiv:2003.07329.

    Args:
        logits: Of the validation images, (n, C).
        targets: Their labels, (n,).
        temperature: T, fitted on them.
    """
    rows = np.arange(len(logits))
    p = np.stack([part[rows, targets] for part in _parts(logits, temperature)], axis=1)
    scale = p.max(axis=1, keepdims=True)
    p = p / scale

    def objective(w: Floats) -> tuple[float, Floats]:
        mixed = p @ w
        return -float(np.log(mixed).mean()), -(p / mixed[:, None]).mean(axis=0)

    found = optimize.minimize(
        objective,
        np.array([0.98, 0.01, 0.01]),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * 3,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    w = found.x.clip(0.0)
    w = w / w.sum()

    def apply(other: Floats) -> Floats:
        mixed = sum(
            share * part for share, part in zip(w, _parts(other, temperature), strict=True)
        )
        with np.errstate(divide="ignore"):
            logs: Floats = np.log(mixed)
        return logs

    return apply


def _parts(logits: Floats, temperature: float) -> list[Floats]:
    tempered, raw = (special.softmax(z, axis=1) for z in (logits / temperature, logits))
    return [tempered, raw, np.full_like(raw, 1 / logits.shape[1])]


def structured_matrix(logits: Floats, targets: Integers, temperature: float) -> Recalibrated:
    """A matrix and a shift on top of the temperature, kept small by ridge penalties.

    Formula:
        log_softmax((I + D) x + b) of least NLL + (C / n) (|b|² + |diag D|²)
        + (C (C - 1) / n) |D - diag D|²
        x = log((n p + 1/C) / (n + 1)),  p = softmax(z / T)

    The penalties, with n validation images and C classes, are those of the paper's ridge variant.
    Adding one image's worth of uniform probability keeps x finite.

    Source: Berta, Holzmüller, Jordan & Bach 2026, "Structured Matrix Scaling for Multi-Class
    Calibration", arXiv:2511.03685.

    Args:
        logits: Of the validation images, (n, C).
        targets: Their labels, (n,).
        temperature: T, fitted on them.
    """
    n, classes = logits.shape
    rows = np.arange(n)
    penalty = np.full((classes, classes), classes * (classes - 1) / n)
    np.fill_diagonal(penalty, classes / n)

    def features(z: Floats) -> Floats:
        p = special.softmax(z / temperature, axis=1)
        logs: Floats = np.log((n * p + 1 / classes) / (n + 1))
        return logs

    x = features(logits)

    def objective(parameters: Floats) -> tuple[float, Floats]:
        d, b = parameters[classes:].reshape(classes, classes), parameters[:classes]
        log_p = special.log_softmax(x + x @ d.T + b, axis=1)
        residual = np.exp(log_p)
        residual[rows, targets] -= 1
        value = -log_p[rows, targets].mean() + classes / n * (b**2).sum() + (penalty * d**2).sum()
        of_b = residual.mean(axis=0) + 2 * classes / n * b
        of_d = residual.T @ x / n + 2 * penalty * d
        return float(value), np.concatenate([of_b, of_d.ravel()])

    found = _minimum(objective, np.zeros(classes * (classes + 1)))
    d, b = found[classes:].reshape(classes, classes), found[:classes]
    matrix = np.eye(classes) + d
    return lambda z: special.log_softmax(features(z) @ matrix.T + b, axis=1)


def _minimum(objective: Callable[[Floats], tuple[float, Floats]], start: Floats) -> Floats:
    """The minimum of a smooth convex function that comes with its gradient."""
    options = {"maxiter": 2000, "maxfun": 5000, "ftol": 1e-15, "gtol": 1e-9}
    found: Floats = optimize.minimize(
        objective, start, jac=True, method="L-BFGS-B", options=options
    ).x
    return found


METHODS: dict[str, Callable[[Floats, Integers, float], Recalibrated]] = {
    "vector": vector_scaling,
    "isotonic": isotonic,
    "ensemble": ensemble_temperature,
    "matrix": structured_matrix,
}
TITLES = {
    "vector": "vector scaling",
    "isotonic": "isotonic regression",
    "ensemble": "ensemble temperature",
    "matrix": "structured matrix scaling",
}
