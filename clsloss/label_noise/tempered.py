"""The bi-tempered logistic loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, class_dim, inner_product, least, readable, widen
from clsloss.checks import IGNORE_INDEX, check_fraction, check_positive

# Of Newton's method. Most batches need 4; 10 suffice for t2 = 4 with logits of 1e5.
STEPS = 10


def bi_tempered_loss(
    input: Tensor,
    target: Tensor,
    t1: float = 0.8,
    t2: float = 1.4,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Bi-tempered logistic loss: a bounded loss of a heavy-tailed softmax.

    Formula:
        v Σ_c [q_c (log_t1 q_c - log_t1 p_c) - (q_c^(2-t1) - p_c^(2-t1)) / (2 - t1)]
        log_t x = (x^(1-t) - 1) / (1 - t),  exp_t x = max(0, 1 + (1 - t) x)^(1/(1-t))
        p_c = exp_t2(z_c - λ),  with λ such that Σ_c p_c = 1
        v = w_y  for class indices
        v = (Σ_c w_c q_c) / (Σ_c q_c)  for class probabilities

    t1 < 1 bounds the loss, t2 > 1 makes the tails of the softmax heavy. With t1 = t2 = 1 it is
    `cross_entropy` minus the entropy of q. λ is solved to the last digits; the authors' code stops
    after five iterations, which at t2 = 2 changes values by 5e-5. Smooth the targets, if at all,
    as in `label_smoothing_cross_entropy`. A masked class (logit -inf) has p_c = 0.

    Source: Amid et al. 2019, "Robust Bi-Tempered Logistic Loss Based on Bregman Divergences",
    arXiv:1906.03361.

    Args:
        input: logits, as in `cross_entropy`.
        target: class indices or probabilities, as in `cross_entropy`.
        t1: t1 in [0, 1].
        t2: t2 >= 1.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if t1 is not in [0, 1], or t2 is below
            1.

    Example:
        >>> import torch
        >>> bi_tempered_loss(torch.zeros(1, 2), torch.tensor([0]), t1=1.0, t2=1.0)
        tensor(0.6931)
    """
    check_fraction("t1", t1)
    check_t2(t2)
    batch = Batch(input, target, weight, ignore_index)
    log_p = tempered_log_softmax(batch.logits, t2)
    power = torch.exp((2 - t1) * log_p).sum(batch.dim) / (2 - t1)
    if batch.soft:
        q = batch.q
        constant = q * _log_t(q.clamp_min(least(q)).log(), t1) - q.pow(2 - t1) / (2 - t1)
        cross = inner_product(q, _log_t(log_p, t1), batch.dim)
        values = constant.sum(batch.dim) - cross + power
    else:
        own = log_p.gather(batch.dim, batch.index).squeeze(batch.dim)
        values = power - _log_t(own, t1) - 1 / (2 - t1)
        values = values.masked_fill(batch.ignored, 0.0)
    return batch.reduce(batch.weigh(values), reduction)


class BiTemperedLoss(Loss, name="bitempered", purpose="label noise"):
    """Bi-tempered logistic loss of logits; see `bi_tempered_loss`."""

    def __init__(
        self,
        t1: float = 0.8,
        t2: float = 1.4,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_fraction("t1", t1)
        self.t1 = t1
        check_t2(t2)
        self.t2 = t2
        if t2 != 1:
            self.reading = f"the tempered softmax at t2 = {t2:g}"

    def log_probs(self, logits: Tensor) -> Tensor:
        """The logarithm of the tempered softmax: the loss is a Bregman divergence of it from q."""
        return tempered_log_softmax(widen(logits), self.t2)

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The bi-tempered loss of each example."""
        return bi_tempered_loss(input, target, self.t1, self.t2, **self.shared)


def tempered_log_softmax(logits: Tensor, t: float) -> Tensor:
    """The logarithm of the tempered softmax exp_t(z - λ), with λ such that it sums to 1.

    Args:
        logits: (N, C, d1, ...), or (C,); float32 or wider.
        t: t >= 1; with 1 this is the log-softmax.
    """
    dim = class_dim(logits)
    if t == 1:
        return F.log_softmax(logits, dim)
    top = logits.amax(dim, keepdim=True).detach()
    z = logits - top
    with torch.no_grad():
        shift, slope = _solve(z, t, dim)
    # Each step of Newton's method with a fixed slope makes one more derivative right.
    for _ in range(2):
        excess = _log_exp_t(z - shift, t).exp().sum(dim, keepdim=True) - 1
        shift = shift + excess / slope
    return _log_exp_t(z - shift, t)


def _solve(z: Tensor, t: float, dim: int) -> tuple[Tensor, Tensor]:
    """λ such that S(λ) = Σ exp_t(z - λ) is 1, and the slope -S'(λ), for logits whose largest is 0.

    Newton's method for S^(1-t) = 1. S^(1-t) is a power mean of functions linear in λ: concave, so
    that no step overshoots, and nearly linear. It is at most the mean of those functions, which
    gives a start from below, exact for equal logits.
    """
    scaled = (1 - t) * z
    classes = z.shape[dim]
    start = (classes ** (t - 1) - 1 - scaled.mean(dim, keepdim=True)) / (t - 1)
    shift = start.clamp_min(0)
    slope = torch.ones_like(shift)
    for _ in range(STEPS):
        x = scaled + (t - 1) * shift
        p = torch.exp(torch.log1p(x) / (1 - t))
        total = p.sum(dim, keepdim=True)
        slope = p.div_(x.add_(1)).sum(dim, keepdim=True)  # exp_t(y)^t = exp_t(y) / (1 + (1-t) y)
        if _is_one(total):
            break
        shift = shift + total * torch.expm1((t - 1) * total.log()) / ((t - 1) * slope)
    return shift, slope


def _is_one(total: Tensor) -> bool:
    """Whether it can be read that all sums are 1, up to rounding."""
    try:
        close = (total - 1).abs().amax() <= 8 * torch.finfo(total.dtype).eps
        return readable(total) and bool(close)
    except RuntimeError:  # under vmap, values cannot be read
        return False


def _log_exp_t(x: Tensor, t: float) -> Tensor:
    """The logarithm of exp_t for t > 1 and x <= 0."""
    return torch.log1p((1 - t) * x) / (1 - t)


def _log_t(log_x: Tensor, t: float) -> Tensor:
    """The tempered logarithm of x, from its logarithm."""
    return log_x if t == 1 else torch.expm1((1 - t) * log_x) / (1 - t)


def check_t2(t2: float) -> None:
    """Raises ValueError unless t2 is finite and at least 1."""
    check_positive("t2", t2)
    if t2 < 1:
        raise ValueError(f"t2 must be >= 1, got {t2}")
