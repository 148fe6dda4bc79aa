"""Reference losses in NumPy and float64, as in `clsloss_references`: label noise.

SETTINGS names what to draw for each loss: {loss: {setting: [values]}}.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax, xlogy

LOG_ZERO = np.log(1e-4)
SETTINGS = {
    "gce": {"power": [0.1, 0.7, 1]},
    "agce": {"a": [0.6, 6], "q": [0.6, 1.5]},
    "rce": {"log_zero": [-9.2, -4]},
    "sce": {"alpha": [0.1, 6], "beta": [0.0, 1.0], "log_zero": [-4]},
    "nfl": {"gamma": [0.0, 0.5, 2]},
    "taylor_ce": {"order": [1, 2, 6]},
    "js": {"pi": [0.1, 0.5, 0.7]},
    "bitempered": {"t1": [0.2, 0.8, 1], "t2": [1, 1.4, 2.0]},
}


def gce(z, q, w, power=0.7):
    return (q * w * (1 - softmax(z, 1) ** power) / power).sum(1)


def agce(z, onehot, w, /, a=0.6, q=0.6):
    return (onehot * w * ((a + 1) ** q - (a + softmax(z, 1)) ** q) / q).sum(1)


def rce(z, q, w, log_zero=LOG_ZERO):
    return (q * w * -log_zero * (1 - softmax(z, 1))).sum(1)


def sce(z, q, w, alpha=0.1, beta=1.0, log_zero=LOG_ZERO):
    return alpha * -(q * w * log_softmax(z, 1)).sum(1) + beta * rce(z, q, w, log_zero)


def nce(z, q, w):
    log_p = log_softmax(z, 1)
    return (q * w * log_p / log_p.sum(1, keepdims=True)).sum(1)


def nfl(z, q, w, gamma=0.5, detached=False):
    log_p = log_softmax(z, 1)
    losses = (-np.expm1(log_p)) ** gamma * -log_p
    return (q * w * losses / losses.sum(1, keepdims=True)).sum(1)


def taylor_ce(z, q, w, order=2):
    miss = -np.expm1(log_softmax(z, 1))
    return (q * w * sum(miss**i / i for i in range(1, order + 1))).sum(1)


def js(z, q, w, pi=0.7):
    p = softmax(z, 1)
    m = pi * q + (1 - pi) * p
    inside = pi * (xlogy(q, q) - xlogy(q, m)) + (1 - pi) * (xlogy(p, p) - xlogy(p, m))
    return (w * q).sum(1) / q.sum(1) * inside.sum(1) / -((1 - pi) * np.log(1 - pi))


def tempered_softmax(z, t):
    if t == 1:
        return softmax(z, 1)

    def row(x):
        x = x - x.max()

        def total(shift):
            return ((1 + (1 - t) * (x - shift)) ** (1 / (1 - t))).sum() - 1

        shift = brentq(total, 0, len(x) ** t / (t - 1) + 1, xtol=1e-15, rtol=1e-15, maxiter=500)
        return (1 + (1 - t) * (x - shift)) ** (1 / (1 - t))

    return np.array([row(x) for x in z]).reshape(z.shape)


def bitempered(z, q, w, t1=0.8, t2=1.4):
    p = tempered_softmax(z, t2)

    def log_t(x):
        return np.log(x) if t1 == 1 else (x ** (1 - t1) - 1) / (1 - t1)

    logs = q * (log_t(np.where(q > 0, q, 1)) - log_t(p))
    powers = (q ** (2 - t1) - p ** (2 - t1)) / (2 - t1)
    return (w * q).sum(1) / q.sum(1) * (logs - powers).sum(1)
