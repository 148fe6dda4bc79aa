"""The smooth calibration error: a kernel takes the place of bins."""

import numpy as np
from scipy.fft import dct
from scipy.optimize import brentq

from analyze.metrics.predictions import Booleans, Floats

GRID = 2**13  # intervals of [0, 1]
NARROWEST = 4 / GRID  # the grid does not resolve a narrower kernel


def smece(confidence: Floats, correct: Booleans) -> float:
    """Smooth ECE: the fixed point σ = smECE_σ.

    smECE_σ is the integral over t in [0, 1] of |mean_i (conf_i - correct_i) K_σ(t, conf_i)|. K_σ
    is the Gaussian kernel of width σ, reflected at 0 and 1. smECE_σ falls as σ grows, so there is
    exactly one fixed point.

    Each residual is first split linearly between the two nearest points of a grid with spacing
    1/8192. The bandwidth is at least four grid steps: where the error is smaller than that, the
    value is the error at this bandwidth.

    Args:
        confidence: Probabilities of the predicted class, float64, shape (N,).
        correct: Whether it was right, bool, shape (N,).

    Source: Błasiok and Nakkiran 2023, "Smooth ECE: Principled Reliability Diagrams via Kernel
    Smoothing", arXiv:2309.12236. Their library, relplot 1.0.3, omits the reflection of mass at
    exactly 0 and 1.

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
    """a_k = mean_i value_i cos(π k point_i) for k = 0 ... GRID, with the points on the grid."""
    position = points * GRID
    left = np.minimum(position.astype(np.int64), GRID - 1)
    weight = position - left
    mass = np.bincount(left, values * (1 - weight), GRID + 1)
    mass += np.bincount(left + 1, values * weight, GRID + 1)
    mass[[0, -1]] *= 2  # the reflection doubles the mass at an end
    coefficients: Floats = dct(mass, type=1) / (2 * len(points))
    return coefficients


def _smoothed_mass(spectrum: Floats, sigma: float) -> float:
    """The integral of |residual density| after smoothing with the reflected Gaussian.

    Smoothing with reflection solves the heat equation on [0, 1] without flux at the ends. Its
    eigenfunctions are cos(π k t), so coefficient k is multiplied by exp(-(π k σ)^2 / 2).
    """
    k = np.arange(GRID + 1)
    damped = spectrum * np.exp(-0.5 * (np.pi * sigma * k) ** 2)
    density = np.abs(dct(damped, type=1))
    return float((density.sum() - 0.5 * (density[0] + density[-1])) / GRID)
