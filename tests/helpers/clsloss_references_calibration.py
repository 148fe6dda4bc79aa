"""Reference losses in NumPy and float64, as in `clsloss_references`: calibration.

SETTINGS names what to draw for each loss: {loss: {setting: [values]}}.
"""

import numpy as np
from scipy.special import log_softmax, softmax, xlogy

SETTINGS = {
    "flsd": {"gamma": [0.5, 3], "hard_gamma": [5], "threshold": [0.0, 0.2]},
    "dual_focal": {"gamma": [0.0, 1, 2.0, 5.0]},
    "inverse_focal": {"gamma": [0.0, 0.5, 2]},
    "bsce_gra": {"gamma": [0.0, 0.5, 2.0], "norm": [1, 2]},
    "poly1": {"epsilon": [-1, 0.0, 2]},
    "mbls": {"margin": [0.0, 6, 10], "alpha": [0.0, 0.1]},
    "maxsup": {"strength": [0.0, 0.1]},
    "confidence_penalty": {"strength": [0.0, 0.1]},
    "label_relaxation": {"alpha": [0.1, 0.5]},
    "logitnorm": {"tau": [0.04, 1]},
}


def ce(z, q, w):
    return -(w * q * log_softmax(z, 1)).sum(1)


def mean_weight(q, w):
    return (w * q).sum(1) / q.sum(1)


def flsd(z, q, w, gamma=3.0, hard_gamma=5.0, threshold=0.2):
    log_p = log_softmax(z, 1)
    power = np.where(np.exp(log_p) < threshold, hard_gamma, gamma)
    return (q * w * (-np.expm1(log_p)) ** power * -log_p).sum(1)


def dual_focal(z, q, w, gamma=5.0):
    values = []
    for row, y in zip(z, q.argmax(1), strict=True):
        log_p = log_softmax(row)
        p = np.exp(log_p)
        below = [x for x in p if x < p[y]]
        rival = max(below) if below else 0.0
        values.append(w[y] * (-np.expm1(log_p[y]) + rival) ** gamma * -log_p[y])
    return np.array(values)


def inverse_focal(z, q, w, gamma=2.0):
    log_p = log_softmax(z, 1)
    return (q * w * (1 + np.exp(log_p)) ** gamma * -log_p).sum(1)


def bsce_gra(z, q, w, gamma=2.0, norm=2, detached=True):
    log_p = log_softmax(z, 1)
    own = (q * log_p).sum(1)
    if norm == 1:
        distance = -2 * np.expm1(own)
    else:
        others = (np.where(q > 0, 0, np.exp(log_p)) ** 2).sum(1)
        distance = np.sqrt(others + np.expm1(own) ** 2)
    return (w * q).sum(1) * distance**gamma * -own


def poly1(z, q, w, epsilon=2.0):
    log_p = log_softmax(z, 1)
    return (q * w * (-log_p - epsilon * np.expm1(log_p))).sum(1)


def mbls(z, q, w, margin=10.0, alpha=0.1, summed=False):
    excess = np.maximum(0, z.max(1, keepdims=True) - z - margin)
    penalty = excess.sum(1) if summed else excess.mean(1)
    return ce(z, q, w) + mean_weight(q, w) * alpha * penalty


def maxsup(z, q, w, strength=0.1):
    return ce(z, q, w) + mean_weight(q, w) * strength * (z.max(1) - z.mean(1))


def confidence_penalty(z, q, w, strength=0.1):
    p = softmax(z, 1)
    return ce(z, q, w) + mean_weight(q, w) * strength * xlogy(p, p).sum(1)


def squentropy(z, q, w):
    wrong = np.where(q > 0, 0, z)
    return ce(z, q, w) + (w * q).sum(1) * (wrong**2).sum(1) / (z.shape[1] - 1)


def label_relaxation(z, q, w, alpha=0.1):
    values = []
    for row, y in zip(z, q.argmax(1), strict=True):
        p = softmax(row)
        r = alpha * p / np.delete(p, y).sum()
        r[y] = 1 - alpha
        near = p[y] >= 1 - alpha
        log_p = log_softmax(row)
        values.append(0.0 if near else w[y] * (xlogy(r, r) - r * log_p).sum())
    return np.array(values)


def logitnorm(z, q, w, tau=0.04):
    norm = np.sqrt((z**2).sum(1, keepdims=True))
    return ce(z / (tau * (norm + 1e-7)), q, w)
