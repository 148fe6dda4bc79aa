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
# Where there is no best temperature: what stands for 0 and for infinity, in units of the spread.
AT_BOUND: dict[Bound, float] = {"zero": 0.01, "infinity": 100.0}
BOUND_REASONS: dict[Bound, str] = {
    "zero": "every validation example is classified correctly, so that they cannot tell it",
    "infinity": "on the validation examples the scores are no better than chance",
}
GRID = np.arange(1, 101) / 10
ROUNDING = 1e-14  # a sum of N x C differences is this exact, relative to their size


class Temperature(NamedTuple):
    """A fitted temperature, and what it stands for where NLL has no minimum.

    Attributes:
        value: T.
        bound: "zero" where NLL falls as T -> 0, "infinity" where it falls as T -> infinity.
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
    """The temperature T at which softmax(z / T) has the lowest NLL, on whatever scale z is.

    NLL is convex in 1/T, with the derivative sum(E_p[z] - z_y), so that T is that derivative's
    only root: found on a log scale to 1e-12, where a search on the values of NLL stops at about
    1e-8. There is no root in two cases alone, which are flagged. T -> 0 is best where every z_y
    is its row's maximum, T -> infinity where sum(mean_c z - z_y) >= 0: no better than chance.
    A hundredth and a hundred times the spread of the logits stand for these: the root mean
    square of what they are apart from their row's mean (1 where they are all equal).

    Args:
        logits: Raw validation logits, shape (N, C).
        targets: Their labels, integers, shape (N,).
        criterion: "ece" takes the first minimum of the 15-bin ECE over the grid 0.1, 0.2 ... 10,
            as Mukhoti et al. 2020 do: to reproduce them, not to be preferred.
        probabilities: Whether `logits` are probabilities instead: z = log p.

    Raises:
        ValueError: As `check`, or a label of probability 0, with which no NLL is finite.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks.

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

    def parts() -> Iterator[tuple[Floats, Integers]]:
        for rows in blocks(*logits.shape):
            z = logits[rows].astype(np.float64, order="C")
            yield (log_probabilities(z)[0] if probabilities else z), targets[rows]

    spread, bound = _limits(parts())
    if bound:
        return Temperature(AT_BOUND[bound] * spread, bound)

    def slope(log_t: float) -> float:
        """The derivative of NLL by 1/T, T in units of the spread."""
        return sum(_slope(z / spread, y, math.exp(-log_t)) for z, y in parts())

    return Temperature(spread * math.exp(_root(slope)))


def impossible_labels(probabilities: NDArray[np.floating], targets: Integers) -> int:
    """How many labels have a probability of exactly 0."""
    return int((probabilities[np.arange(len(targets)), targets] == 0).sum())


def temperature_text(value: float, decimals: int = 2) -> str:
    """A temperature with so many decimals, or three digits where these would say little.

    Example:
        >>> temperature_text(1.7886), temperature_text(0.006274), temperature_text(313567.0)
        ('1.79', '0.00627', '3.14e+05')
    """
    return f"{value:.{decimals}f}" if 0.1 <= value < 1e5 else f"{value:.3g}"


def _limits(parts: Iterator[tuple[Floats, Integers]]) -> tuple[float, Bound | None]:
    """The spread of the logits, and where NLL falls for ever."""
    squares = deviations = apart = size = 0.0
    perfect = certain = True
    for z, y in parts:
        finite = z > -np.inf
        rest = np.where(finite, z - z.max(axis=1, keepdims=True), 0.0)
        count = finite.sum(axis=1)
        mean, own = rest.sum(axis=1) / count, rest[np.arange(len(z)), y]
        perfect &= bool((own == 0).all())
        certain &= bool((count == 1).all())
        deviations += float((mean - own).sum())
        apart -= float((mean + own).sum())
        # scaled, so that squares neither overflow nor vanish
        largest = float(-rest.min()) or 1.0
        away = np.where(finite, rest - mean[:, None], 0.0) / largest
        squares = math.hypot(squares, largest * math.sqrt(float((away**2).sum())))
        size += float(count.sum())
    spread = squares / math.sqrt(size) or 1.0
    if perfect and certain:  # all else has probability 0: no temperature changes that
        return spread, "zero"
    if deviations >= -ROUNDING * apart:
        return spread, "infinity"
    return spread, "zero" if perfect else None


def _slope(z: Floats, y: Integers, inverse: float) -> float:
    """The sum of E_p[z] - z_y over a block, p = softmax(z times `inverse`)."""
    z = z - z.max(axis=1, keepdims=True)
    p = np.exp(z * inverse)
    expected = np.einsum("nc,nc->n", p, np.where(p > 0, z, 0.0)) / p.sum(axis=1)
    return float((expected - z[np.arange(len(z)), y]).sum())


def _root(slope: Callable[[float], float]) -> float:
    """Where a function that falls from positive to negative is 0."""
    low, high, step = -1.0, 1.0, 2.0
    while slope(low) < 0:
        low, step = low - step, 2 * step
    step = 2.0
    while slope(high) > 0:
        high, step = high + step, 2 * step
    return float(brentq(slope, low, high, xtol=1e-12))
