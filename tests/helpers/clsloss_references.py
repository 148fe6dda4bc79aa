"""The losses once more, in NumPy and float64, straight from their formulas.

Each takes logits z (M, C), targets q (M, C) with class indices as one-hot rows, and class weights
w (C,), and gives the M values. `expected` brings any shape to that form and averages.
"""

import clsloss_references_calibration
import clsloss_references_label_noise
import clsloss_references_long_tail
import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax, xlogy


def ce(z, q, w):
    return -(w * q * log_softmax(z, 1)).sum(1)


def label_smoothing(z, q, w, smoothing=0.1):
    return ce(z, (1 - smoothing) * q + smoothing / z.shape[1], w)


def focal(z, q, w, gamma=2.0, alpha=1.0):
    log_p = log_softmax(z, 1)
    return (q * np.asarray(alpha) * w * (-np.expm1(log_p)) ** gamma * -log_p).sum(1)


def hinge(z, q, w, margin=1.0):
    values = []
    for scores, y in zip(z, q.argmax(1), strict=True):
        rival = max(score for j, score in enumerate(scores) if j != y)
        values.append(w[y] * max(0.0, margin + rival - scores[y]))
    return np.array(values)


def weston_watkins(z, q, w, margin=1.0):
    own = (q * z).sum(1, keepdims=True)
    return (w * q).sum(1) * (np.maximum(0, margin + z - own) * (1 - q)).sum(1)


def nll(z, q, w):
    return -(w * q * z).sum(1)


def kl(z, q, w, smoothing=0.0):
    q = (1 - smoothing) * q + smoothing / z.shape[1]
    return (w * (xlogy(q, q) - q * z)).sum(1)


def bce(z, q, w, pos_weight=1.0, smoothing=0.0):
    q = (1 - smoothing) * q + smoothing / z.shape[1]
    terms = np.asarray(pos_weight) * q * log_expit(z) + (1 - q) * log_expit(-z)
    return -(w * terms).mean(1)


def sigmoid_focal(z, q, w, gamma=2.0, alpha=0.25):
    p = expit(z)
    miss = q * expit(-z) + (1 - q) * p
    terms = -(q * log_expit(z) + (1 - q) * log_expit(-z)) * miss**gamma
    if alpha is not None:
        terms = terms * (q * alpha + (1 - q) * (1 - alpha))
    return (w * terms).mean(1)


def brier(z, q, w):
    return (w * q).sum(1) / q.sum(1) * ((softmax(z, 1) - q) ** 2).sum(1)


def mae(z, q, w):
    return (w * q).sum(1) / q.sum(1) * np.abs(softmax(z, 1) - q).sum(1)


def dice(p, q, w, smooth=1.0, squared=False):
    below = (p**2 + q**2) if squared else (p + q)
    return 1 - np.average((2 * (p * q).sum(0) + smooth) / (below.sum(0) + smooth), weights=w)


def tversky(p, q, w, alpha=0.5, beta=0.5, smooth=1.0):
    hit, extra, missed = (p * q).sum(0), (p * (1 - q)).sum(0), ((1 - p) * q).sum(0)
    overlap = (hit + smooth) / (hit + alpha * extra + beta * missed + smooth)
    return 1 - np.average(overlap, weights=w)


def rows(logits, target, ignore_index=-100):
    """Logits (M, C), targets (M, C) as probabilities, and which of the M count."""
    z = logits.detach().double().numpy()
    classes = z.shape[1] if z.ndim > 1 else z.shape[0]
    z = np.moveaxis(z, 1 if z.ndim > 1 else 0, -1).reshape(-1, classes)
    y = target.detach().numpy()
    if np.issubdtype(y.dtype, np.floating):
        q = np.moveaxis(y.astype(float), 1 if y.ndim > 1 else 0, -1).reshape(-1, classes)
        return z, q, np.ones(len(q), bool)
    y = y.reshape(-1)
    counts = y != ignore_index
    return z, np.eye(classes)[np.where(counts, y, 0)], counts


def reference(name):
    """The function above, or in the modules of the other families, with the loss's name."""
    families = (
        clsloss_references_calibration,
        clsloss_references_label_noise,
        clsloss_references_long_tail,
    )
    found = [vars(module)[name] for module in families if name in vars(module)]
    return found[0] if found else globals()[name]


def expected(name, logits, target, weight=None, ignore_index=-100, **settings):
    """(values, weights) of the examples, both of shape (M,)."""
    z, q, counts = rows(logits, target, ignore_index)
    w = np.ones(z.shape[1]) if weight is None else weight.double().numpy()
    divisor = np.ones(len(z)) if target.is_floating_point() else q @ w
    values = reference(name)(z, q, w, **settings)
    return counts * values, counts * divisor


def expected_overlap(name, logits, target, weight=None, ignore_index=-100, **settings):
    """The Dice or Tversky loss of the batch; 0 where no class of weight > 0 is present."""
    z, q, counts = rows(logits, target, ignore_index)
    w = np.ones(z.shape[1]) if weight is None else weight.double().numpy()
    q, present = q[counts], q[counts].sum(0) > 0
    if not w[present].sum():
        return 0.0
    p = softmax(z[counts], 1)[:, present]
    return reference(name)(p, q[:, present], w[present], **settings)
