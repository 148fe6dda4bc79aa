"""One temperature per run, fitted on the validation split."""

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from analyze.binned import ece
from analyze.predictions import blocks, check, score

BOUNDS = (0.01, 100.0)
GRID = np.arange(1, 101) / 10


class Temperature(NamedTuple):
    """A fitted temperature, and whether the search ended at one of its bounds."""

    value: float
    at_bound: bool


def fit_temperature(
    logits: ArrayLike, targets: ArrayLike, *, criterion: Literal["nll", "ece"] = "nll"
) -> Temperature:
    """The temperature T in [0.01, 100] at which softmax(z / T) has the lowest NLL.

    NLL is convex in 1/T, with the derivative mean(E_p[z] - z_y), so that T is that derivative's
    only root: found on a log scale to 1e-12, where a search on the values of NLL stops at about
    1e-8. Where NLL still falls at a bound (perfect accuracy, or worse than chance), the bound is
    the answer, and flagged.

    Args:
        logits: Raw validation logits, shape (N, C).
        targets: Their labels, integers, shape (N,).
        criterion: "ece" takes the first minimum of the 15-bin ECE over the grid 0.1, 0.2 ... 10,
            as Mukhoti et al. 2020 do: to reproduce them, not to be preferred.

    Raises:
        ValueError: As `check`.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks.

    Example:
        >>> temperature = fit_temperature([[4.0, 0.0]] * 4, [0, 0, 0, 1])
        >>> round(math.exp(4 / temperature.value), 9)  # three of four are right: odds 3
        3.0
    """
    logits, targets = check(logits, targets)
    if criterion == "ece":
        scores = (score(logits, targets, temperature=float(t)) for t in GRID)
        best = int(np.argmin([ece(s.confidence, s.correct) for s in scores]))
        return Temperature(float(GRID[best]), best in (0, len(GRID) - 1))

    def slope(log_t: float) -> float:
        """The derivative of NLL by 1/T."""
        total = 0.0
        for rows in blocks(*logits.shape):
            z = logits[rows].astype(np.float64)
            z -= z.max(axis=1, keepdims=True)
            p = np.exp(z * math.exp(-log_t))
            expected = np.einsum("nc,nc->n", p, z) / p.sum(axis=1)
            total += float((expected - z[np.arange(len(z)), targets[rows]]).sum())
        return total

    low, high = math.log(BOUNDS[0]), math.log(BOUNDS[1])
    if slope(low) <= 0:
        return Temperature(BOUNDS[0], True)
    if slope(high) >= 0:
        return Temperature(BOUNDS[1], True)
    return Temperature(math.exp(brentq(slope, low, high, xtol=1e-12)), False)
