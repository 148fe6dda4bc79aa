"""Reference losses in NumPy and float64, as in `clsloss_references`: long tail.

SETTINGS names what to draw for each loss: {loss: {setting: [values]}}. Each function also takes
the class counts n.
"""

import numpy as np
from scipy.special import log_softmax

SETTINGS = {
    "logit_adjusted": {"tau": [0.0, 1.0, 1.5]},
    "vs": {"gamma": [0.0, 0.3], "tau": [0.0, 1.0]},
    "ldam": {"scale": [1.0, 30.0], "max_margin": [0.0, 0.5]},
    "seesaw": {"p": [0.0, 0.8], "q": [0.0, 2.0]},
}


def ce(z, q, w):
    return -(w * q * log_softmax(z, 1)).sum(1)


def logit_adjusted(z, q, w, n, tau=1.0):
    return ce(z + tau * np.log(n / n.sum()), q, w)


def vs(z, q, w, n, gamma=0.3, tau=1.0):
    return ce(z * (n / n.max()) ** gamma + tau * np.log(n / n.sum()), q, w)


def ldam(z, q, w, n, scale=30.0, max_margin=0.5):
    margins = max_margin * n**-0.25 / (n**-0.25).max()
    return ce(scale * (z - q * margins), q, w)


def seesaw(z, onehot, w, n, p=0.8, q=2.0):
    log_p = log_softmax(z, 1)
    rows = []
    for logits, log_probs, y in zip(z, log_p, onehot.argmax(1), strict=True):
        mitigation = np.minimum(1, n / n[y]) ** p
        compensation = np.maximum(1, np.exp(log_probs - log_probs[y])) ** q
        rows.append(logits + np.log(mitigation * compensation))
    return ce(np.array(rows).reshape(z.shape), onehot, w)
