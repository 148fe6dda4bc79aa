"""One temperature per run, fitted on the validation split."""

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from analyze.metrics.binned import ece
from analyze.metrics.predictions import Floats, Integers, blocks, check, log_probabilities, score

Bound = Literal["zero", "infinity"]
# Finite stand-ins for T = 0 and T = infinity, in units of the spread of the logits.
AT_BOUND: dict[Bound, float] = {"zero": 0.01, "infinity": 100.0}
BOUND_REASONS: dict[Bound, str] = {
    "zero": "every validation example is classified correctly, so none bounds T from below",
    "infinity": "the scores are no better than chance on the validation examples",
}
GRID = np.arange(1, 101) / 10
ROUNDING = 1e-14  # relative rounding error of a sum of N x C differences


class Temperature(NamedTuple):
    """A fitted temperature, and the bound that it stands for if NLL has no minimum.

    Attributes:
        value: T.
        bound: "zero" if NLL falls as T → 0, "infinity" if it falls as T → ∞, else None.
    """

    value: float
    bound: Bound | None = None

    @property
    def at_bound(self) -> bool:
        """Whether no finite temperature is the best."""
        return self.bound is not None


def fit_temperature(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    criterion: Literal["nll", "ece"] = "nll",
    probabilities: bool = False,
) -> Temperature:
    """The temperature T that minimizes the NLL of softmax(z / T), for z on any scale.

    NLL is convex in 1/T, so T is the only root of its derivative. The root is found on a log
    scale to 1e-12; a search on the values of NLL would stop at about 1e-8.

    Formula:
        NLL'(β) = Σ_i (E_p[z] - z_y)  β = 1/T and p = softmax(β z), summed over examples i

    Two cases have no root and are flagged. T → 0 is optimal if every z_y is the maximum of its
    row. T → ∞ is optimal if Σ_i (mean_c z_c - z_y) >= 0: the scores are no better than chance.
    One hundredth and one hundred times the spread of the logits stand for these limits. The
    spread is the root mean square deviation from the mean of the row, or 1 if that is 0.

    Args:
        logits: Raw validation logits, shape (N, C).
        targets: Their labels, integers, shape (N,).
        criterion: "ece" takes the first minimum of the 15-bin ECE on the grid 0.1, 0.2 ... 10.
            Use it only to reproduce Mukhoti et al. 2020, arXiv:2002.09437.
        probabilities: Whether `logits` holds probabilities p; then z = log p.

    Raises:
        ValueError: As in `check`, or a label of probability 0, which makes NLL infinite.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599.

    Example:
        >>> temperature = fit_temperature([[4.0, 0.0]] * 4, [0, 0, 0, 1])
        >>> round(math.exp(4 / temperature.value), 9)  # three of four are right: odds 3
        3.0
        >>> fit_temperature([[4.0, 0.0]], [0])
        Temperature(value=0.02, bound='zero')
    """
    logits, targets = check(logits, targets, probabilities=probabilities)
    if criterion == "ece":
        scores = (
            score(logits, targets, temperature=float(t), probabilities=probabilities) for t in GRID
        )
        best = np.argmin([ece(s.confidence, s.correct) for s in scores])
        return Temperature(float(GRID[best]))
    if probabilities and impossible_labels(logits, targets):
        raise ValueError("a label has probability 0: its NLL is infinite at every temperature")

    def float64_blocks() -> Iterator[tuple[Floats, Integers]]:
        for rows in blocks(*logits.shape):
            z = logits[rows].astype(np.float64, order="C")
            yield (log_probabilities(z)[0] if probabilities else z), targets[rows]

    spread, bound = _limits(float64_blocks())
    if bound:
        return Temperature(AT_BOUND[bound] * spread, bound)

    def slope(log_t: float) -> float:
        """The derivative of NLL with respect to 1/T, with T in units of the spread."""
        return sum(_slope(z / spread, y, math.exp(-log_t)) for z, y in float64_blocks())

    return Temperature(spread * math.exp(_root(slope)))


def impossible_labels(probabilities: NDArray[np.floating], targets: Integers) -> int:
    """The number of labels with a probability of exactly 0."""
    return int((probabilities[np.arange(len(targets)), targets] == 0).sum())


def temperature_text(value: float, decimals: int = 2) -> str:
    """A temperature with this many decimals, or with three digits if it is tiny or huge.

    Example:
        >>> temperature_text(1.7886), temperature_text(0.006274), temperature_text(313567.0)
        ('1.79', '0.00627', '3.14e+05')
    """
    return f"{value:.{decimals}f}" if 0.1 <= value < 1e5 else f"{value:.3g}"


def _limits(blocks: Iterator[tuple[Floats, Integers]]) -> tuple[float, Bound | None]:
    """The spread of the logits, and the bound towards which NLL falls without a minimum."""
    squares = deviations = apart = size = 0.0
    perfect = certain = True
    for z, y in blocks:
        finite = z > -np.inf
        rest = np.where(finite, z - z.max(axis=1, keepdims=True), 0.0)
        count = finite.sum(axis=1)
        mean, own = rest.sum(axis=1) / count, rest[np.arange(len(z)), y]
        perfect &= bool((own == 0).all())
        certain &= bool((count == 1).all())
        deviations += float((mean - own).sum())
        apart -= float((mean + own).sum())
        # scale first, so that squares neither overflow nor underflow
        largest = float(-rest.min()) or 1.0
        away = np.where(finite, rest - mean[:, None], 0.0) / largest
        squares = math.hypot(squares, largest * math.sqrt(float((away**2).sum())))
        size += float(count.sum())
    spread = squares / math.sqrt(size) or 1.0
    if perfect and certain:  # all other classes have probability 0 at every temperature
        return spread, "zero"
    if deviations >= -ROUNDING * apart:
        return spread, "infinity"
    return spread, "zero" if perfect else None


def _slope(z: Floats, y: Integers, inverse: float) -> float:
    """The sum of E_p[z] - z_y over a block, with p = softmax(z times `inverse`)."""
    z = z - z.max(axis=1, keepdims=True)
    p = np.exp(z * inverse)
    expected = np.einsum("nc,nc->n", p, np.where(p > 0, z, 0.0)) / p.sum(axis=1)
    return float((expected - z[np.arange(len(z)), y]).sum())


def _root(slope: Callable[[float], float]) -> float:
    """The zero of a decreasing function."""
    low, high, step = -1.0, 1.0, 2.0
    while slope(low) < 0:
        low, step = low - step, 2 * step
    step = 2.0
    while slope(high) > 0:
        high, step = high + step, 2 * step
    return float(brentq(slope, low, high, xtol=1e-12))
