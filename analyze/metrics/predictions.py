"""The input of every metric: validated logits, reduced to a few numbers per example."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

BINS = 15
LARGEST = 1e100  # no model yields a larger logit, and differences of such would overflow
SUM_TOLERANCE = 1e-3  # on the sum of a row of probabilities: float16 is no more precise
CHUNK = 2**18  # elements in a block of rows: 2 MiB in float64, which fits the cache


@dataclass(frozen=True)
class Scores:
    """Per-example quantities of N predictions over C classes, all float64.

    Attributes:
        nll: logsumexp(z) - z_y, shape (N,).
        brier: Σ_c (p_c - 1[y=c])^2, from 0 to 2, shape (N,).
        confidence: the largest probability, shape (N,).
        log_uncertainty: log(1 - confidence), shape (N,), accurate even where confidence rounds
            to 1.
        correct: whether the predicted class is the target, shape (N,).
        predicted: the class of the largest logit, the lowest one at ties, shape (N,).
        target_rank: how many classes are ranked above the target, shape (N,).
        class_gaps: sum of p_c - 1[y=c] over the examples whose p_c lies in bin b, shape
            (C, BINS); None unless requested.
    """

    nll: Floats
    brier: Floats
    confidence: Floats
    log_uncertainty: Floats
    correct: Booleans
    predicted: Integers
    target_rank: Integers
    class_gaps: Floats | None = None


def check(
    logits: ArrayLike, targets: ArrayLike, *, probabilities: bool = False
) -> tuple[NDArray[Any], Integers]:
    """Validates the arrays: returns logits (N, C) of any real dtype and int64 targets (N,).

    Args:
        logits: Raw logits, or probabilities.
        targets: Class labels.
        probabilities: Whether `logits` holds probabilities, which may be exactly 0.

    Raises:
        ValueError: The message of `problem`.
    """
    logits, targets = np.asarray(logits), np.asarray(targets)
    if message := problem(logits, targets, probabilities=probabilities):
        raise ValueError(message)
    return logits, targets.astype(np.int64, copy=False)


def problem(
    logits: NDArray[Any], targets: NDArray[Any], *, probabilities: bool = False
) -> str | None:
    """Why the arrays cannot be scored, in one line; None if they can.

    Reasons are: wrong shapes or dtypes, N = 0, C < 2, a target outside 0 ... C - 1, a non-finite
    logit, a negative probability, or a row of probabilities that does not sum to 1.
    """
    what = "probs" if probabilities else "logits"
    if logits.ndim == 1 or (logits.ndim == 2 and logits.shape[1] == 1):
        column, both = ("p", "1 - p, p") if probabilities else ("z", "0 * z, z")
        return (
            f"{what} must be N x C with N >= 1 and C >= 2, got shape {logits.shape}; of two "
            f"classes with one number {column} a row: np.column_stack([{both}])"
        )
    if logits.ndim != 2 or logits.shape[0] < 1 or logits.shape[1] < 2:
        return f"{what} must be N x C with N >= 1 and C >= 2, got shape {logits.shape}"
    if logits.dtype.kind not in "fiu":
        return f"{what} must be real numbers, got dtype {logits.dtype}"
    if targets.shape != logits.shape[:1]:
        return (
            f"targets must have one label for each of the {len(logits)} rows of {what}, "
            f"got shape {targets.shape}"
        )
    if targets.dtype.kind not in "iu":
        return f"targets must be integers, got dtype {targets.dtype}"
    if targets.min() < 0 or targets.max() >= logits.shape[1]:
        wrong = targets[(targets < 0) | (targets >= logits.shape[1])][0]
        return f"targets must be in 0 ... {logits.shape[1] - 1}, got {wrong}"
    usable = _are_probabilities if probabilities else _are_finite
    for rows in blocks(*logits.shape):
        fine = usable(logits[rows])
        if not fine.all():
            row = rows.start + int(np.argmin(fine))
            if probabilities:
                return f"probs must be >= 0 and sum to 1 in every row, row {row} does not"
            return f"logits must be finite, row {row} has NaN or infinity"
    return None


def _are_finite(logits: NDArray[Any]) -> Booleans:
    fine: Booleans = np.abs(logits).max(axis=1) <= np.float64(LARGEST)  # False for NaN
    return fine


def _are_probabilities(p: NDArray[Any]) -> Booleans:
    sums = np.abs(p.sum(axis=1, dtype=np.float64) - 1) <= SUM_TOLERANCE  # False for NaN
    fine: Booleans = sums & (p.min(axis=1) >= 0)
    return fine


def blocks(n: int, classes: int) -> Iterator[slice]:
    """Slices that cover n rows, each of about CHUNK elements."""
    step = max(1, CHUNK // classes)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def bin_index(values: Floats, bins: int = BINS) -> Integers:
    """The equal-width bin (a, b] of each value in [0, 1]; the first bin includes 0.

    The edges are i / bins, correctly rounded, so that 1/3 lies on an edge of 15 bins.
    """
    edges = np.arange(1, bins) / bins
    return np.searchsorted(edges, values, side="left").astype(np.int64, copy=False)


def score(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    temperature: float = 1.0,
    class_gaps: bool = False,
    probabilities: bool = False,
) -> Scores:
    """Reduces logits to what the metrics need, in float64, block by block.

    Args:
        logits: Raw logits of any real dtype, shape (N, C).
        targets: Class labels, integers, shape (N,).
        temperature: Divides the logits, in float64.
        class_gaps: Whether to compute `Scores.class_gaps`, which is costly for large C.
        probabilities: Whether `logits` holds probabilities p. The temperature then divides
            log p, which is -inf where p = 0. NLL is infinite where a label has p = 0.

    Raises:
        ValueError: As in `check`, or a temperature that is not positive.

    Example:
        >>> score([[2.0, 2.0], [0.0, 40.0]], [1, 1]).confidence.tolist()
        [0.5, 1.0]
        >>> score([[2.0, 2.0], [0.0, 40.0]], [1, 1]).log_uncertainty.round(2).tolist()
        [-0.69, -40.0]
        >>> score([[0.6, 0.4, 0.0]] * 2, [0, 2], probabilities=True).nll.round(2).tolist()
        [0.51, inf]
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    logits, targets = check(logits, targets, probabilities=probabilities)
    scored_blocks = []
    for rows in blocks(*logits.shape):
        # C order fixes the order of summation: another one changes last digits and breaks ties.
        z, p = logits[rows].astype(np.float64, order="C"), None
        if probabilities:
            z, p = log_probabilities(z)
        z /= temperature
        exact = p if temperature == 1 else None
        scored_blocks.append(_score_block(z, targets[rows], class_gaps, exact))
    columns = {
        name: np.concatenate([getattr(block, name) for block in scored_blocks])
        for name in Scores.__dataclass_fields__
        if name != "class_gaps"
    }
    gaps = [block.class_gaps for block in scored_blocks if block.class_gaps is not None]
    return Scores(**columns, class_gaps=np.sum(gaps, axis=0) if gaps else None)


def log_probabilities(p: Floats) -> tuple[Floats, Floats]:
    """Log p, with -inf for p = 0, and p, both of shape (N, C), after normalizing the rows.

    Rows that sum to 1 within rounding stay unchanged. Division could move a value off the edge
    of a bin or break a tie.
    """
    total = p.sum(axis=1, keepdims=True)
    close = np.abs(total - 1) <= 4 * p.shape[1] * np.finfo(np.float64).eps
    p = p / np.where(close, 1.0, total)
    with np.errstate(divide="ignore"):
        return np.log(p), p


def _score_block(z: Floats, y: Integers, class_gaps: bool, p: Floats | None = None) -> Scores:
    """The scores of a block; `p` is softmax(z) if known exactly."""
    row = np.arange(len(z))
    predicted = z.argmax(axis=1)
    z_y = z[row, y][:, None]
    before = np.arange(z.shape[1]) < y[:, None]
    target_rank = ((z > z_y) | ((z == z_y) & before)).sum(axis=1)

    top = z[row, predicted]
    exponentials = np.exp(z - top[:, None])
    total = exponentials.sum(axis=1)
    log_uncertainty = _log_others(z, exponentials, predicted) - np.log(total)
    if p is None:
        exponentials /= total[:, None]
        p = exponentials
    confidence = p[row, predicted]

    p_y = p[row, y]
    p[row, y] -= 1.0
    brier: Floats = np.einsum("nc,nc->n", p, p)
    gaps: Floats | None = None
    if class_gaps:
        residual = p.copy()
        p[row, y] = p_y
        cell = bin_index(p) + BINS * np.arange(z.shape[1])
        gaps = np.zeros(z.shape[1] * BINS) + np.bincount(
            cell.ravel(), residual.ravel(), z.shape[1] * BINS
        )
        gaps = gaps.reshape(z.shape[1], BINS)
    return Scores(
        nll=np.log(total) + (top - z_y[:, 0]),
        brier=brier,
        confidence=confidence,
        log_uncertainty=log_uncertainty,
        correct=predicted == y,
        predicted=predicted,
        target_rank=target_rank,
        class_gaps=gaps,
    )


def _log_others(z: Floats, exponentials: Floats, predicted: Integers) -> Floats:
    """Log of the sum of exp(z - max z) over all classes but the predicted one, shape (N,).

    It is -inf where all other classes have z = -inf.
    """
    row = np.arange(len(z))
    exponentials[row, predicted] = 0.0
    others = exponentials.sum(axis=1)
    exponentials[row, predicted] = 1.0
    # exp underflows at a gap of 745 and loses digits from 708: subtract the runner-up there.
    small = np.flatnonzero(others < 1e-300)
    rest = z[small].copy()
    rest[np.arange(len(small)), predicted[small]] = -np.inf
    second = rest.max(axis=1)
    some = second > -np.inf
    small, rest, second = small[some], rest[some], second[some]
    others[small] = np.exp(rest - second[:, None]).sum(axis=1)
    with np.errstate(divide="ignore"):
        logs: Floats = np.log(others)
    logs[small] += second - z[small, predicted[small]]
    return logs
