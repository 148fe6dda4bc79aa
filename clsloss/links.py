"""Links: from the logits that minimise a loss to the class probabilities that they mean.

A loss whose value for class k is f(q_k), with q = softmax(z), is minimised in expectation over
labels with probabilities η where η_k f'(q_k) is the same for all k. So η_k ∝ -1 / f'(q_k), if f
is convex.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.batch import class_dim, widen


def log_softmax_and_complement(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of q = softmax(z) and of 1 - q, both exact where q is close to 1.

    Args:
        logits: (N, C, d1, ...), or (C,).
    """
    dim = class_dim(logits)
    log_q = F.log_softmax(logits, dim)
    top = log_q.argmax(dim, keepdim=True)
    # 1 - q of the largest q is the sum of the others: as a difference it would round to 0
    others = log_q.scatter(dim, top, -torch.inf).logsumexp(dim, keepdim=True)
    rest = torch.log(-torch.expm1(log_q.scatter(dim, top, -1.0)))
    return log_q, rest.scatter(dim, top, others)


def focal_log_probs(logits: Tensor, gamma: float) -> Tensor:
    """The log-probabilities that minimisers of the focal loss mean.

    Formula:
        η_k ∝ q_k / ((1 - q_k)^(γ-1) ((1 - q_k) - γ q_k log q_k)),  q = softmax(z)

    Source: Charoenphakdee et al. 2021, "On Focal Loss for Class-Posterior Probability Estimation:
    A Theoretical Perspective", arXiv:2011.09172.

    Args:
        logits: (N, C, d1, ...), or (C,).
        gamma: γ >= 0. With 0 this is the log-softmax.

    Returns:
        log η, in the logits' shape, float32 or wider.

    Example:
        >>> focal_log_probs(torch.tensor([0.6, 0.25, 0.1, 0.05]).log(), gamma=2.0).exp()
        tensor([0.8067, 0.1258, 0.0445, 0.0229])
    """
    logits, dim = widen(logits), class_dim(logits)
    if gamma == 0:
        return F.log_softmax(logits, dim)
    log_q, log_rest = log_softmax_and_complement(logits)
    # (1 - q) - γ q log q = (1 - q) (1 + γ q (-log q) / (1 - q))
    slope = torch.log1p(gamma * _log_ratio(log_q, log_rest))
    return F.log_softmax(log_q - gamma * log_rest - slope, dim)


def one_vs_rest_log_probs(
    logits: Tensor, gamma: float = 0.0, odds: Tensor | float = 1.0
) -> Tensor:
    """The log-probabilities that minimisers of a binary loss for each class mean, normalised.

    Formula:
        η_c ∝ σ(t_c)
        t_c = (1 + γ) z_c + L(-z_c) - L(z_c) - log o_c
        L(z) = log(1 + γ σ(z) (-log σ(z)) / (1 - σ(z)))

    σ(t_c) is the probability of class c against the rest whose minimiser is z_c: the link of the
    binary focal loss, and with γ = 0 and o = 1 just σ(z_c).

    Source: Charoenphakdee et al. 2021, arXiv:2011.09172, for two classes.

    Args:
        logits: (N, C, d1, ...), or (C,).
        gamma: γ >= 0.
        odds: o > 0, the weight of the positive term over that of the negative one; a number, or
            a tensor that broadcasts.

    Returns:
        log η, in the logits' shape, float32 or wider.
    """
    z, dim = widen(logits), class_dim(logits)
    if gamma:
        log_s, log_rest = F.logsigmoid(z), F.logsigmoid(-z)
        slope = torch.log1p(gamma * _log_ratio(log_s, log_rest))
        slope_of_rest = torch.log1p(gamma * _log_ratio(log_rest, log_s))
        z = (1 + gamma) * z + slope_of_rest - slope
    shift = odds.to(z).log() if isinstance(odds, Tensor) else math.log(odds)
    return F.log_softmax(F.logsigmoid(z - shift), dim)


def _log_ratio(log_q: Tensor, log_rest: Tensor) -> Tensor:
    """The ratio q (-log q) / (1 - q), from the logarithms of q and 1 - q: 0 at 0 and 1 at 1."""
    tiny = torch.finfo(log_q.dtype).tiny
    rest, q = log_rest.exp(), log_q.exp()
    # log q = log1p(-(1 - q)) has no digits left where q rounds to 1, unless it comes from 1 - q
    surprise = torch.where(rest < 0.5, -torch.log1p(-rest), -log_q)
    ratio = q * surprise / rest.clamp_min(tiny)
    return torch.where(q == 0, 0.0, torch.where(rest < tiny, 1.0, ratio))
