"""The smooth calibration error, without bins."""

import numpy as np
from scipy.fft import dct
from scipy.optimize import brentq

from analyze.metrics.predictions import Booleans, Floats

GRID = 2**13  # intervals of [0, 1]
NARROWEST = 4 / GRID  # a narrower kernel would not be resolved by the grid


def smece(confidence: Floats, correct: Booleans) -> float:
    """Smooth ECE: the fixed point sigma = smECE_sigma.

    smECE_sigma is the integral over t in [0, 1] of |mean_i (conf_i - correct_i) K(t, conf_i)|,
    with K the Gaussian of width sigma reflected at 0 and 1. It falls as sigma grows, so there is
    one fixed point. The residuals are first shared linearly between the two nearest points of a
    grid of 1/8192; where even the narrowest bandwidth of four grid steps is wider than the error,
    the value is that at this bandwidth.

    Args:
        confidence: Probabilities of the predicted class, float64, shape (N,).
        correct: Whether it was right, bool, shape (N,).

    Source: Błasiok & Nakkiran 2023, Smooth ECE. Their library, relplot 1.0.3, leaves out the
    mirror image of mass at exactly 0 and 1.

    Example:
        >>> smece(np.array([1, 1, 0.7, 0.7]), np.array([True, True, True, False])).__round__(6)
        0.1
    """
    spectrum = _cosine_coefficients(confidence, confidence - correct)

    def excess(sigma: float) -> float:
        return _smoothed_mass(spectrum, sigma) - sigma

    if excess(NARROWEST) <= 0:
        return _smoothed_mass(spectrum, NARROWEST)
    return float(brentq(excess, NARROWEST, 1.0, xtol=1e-14, rtol=1e-14))


def _cosine_coefficients(points: Floats, values: Floats) -> Floats:
    """a_k = mean_i value_i cos(pi k point_i) for k = 0 ... GRID, after rounding to the grid."""
    position = points * GRID
    left = np.minimum(position.astype(np.int64), GRID - 1)
    share = position - left
    mass = np.bincount(left, values * (1 - share), GRID + 1)
    mass += np.bincount(left + 1, values * share, GRID + 1)
    mass[[0, -1]] *= 2  # mass on an end meets its mirror image there
    coefficients: Floats = dct(mass, type=1) / (2 * len(points))
    return coefficients


def _smoothed_mass(spectrum: Floats, sigma: float) -> float:
    """The integral of |residual density| after the reflected Gaussian of width sigma.

    Reflection at both ends is the heat equation on [0, 1] without flux, whose eigenfunctions are
    cos(pi k t): the kernel multiplies coefficient k by exp(-(pi k sigma)^2 / 2).
    """
    k = np.arange(GRID + 1)
    damped = spectrum * np.exp(-0.5 * (np.pi * sigma * k) ** 2)
    density = np.abs(dct(damped, type=1))
    return float((density.sum() - 0.5 * (density[0] + density[-1])) / GRID)
