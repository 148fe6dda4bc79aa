"""The Kullback-Leibler divergence between targets and predicted log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, inner_product
from clsloss.checks import IGNORE_INDEX, check_fraction
from clsloss.smoothed import smoothed_nll


def kl_div_loss(
    input: Tensor,
    target: Tensor,
    smoothing: float = 0.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Kullback-Leibler divergence of the targets from predicted log-probabilities.

    Formula:
        Σ_c w_c q_c (log q_c - input_c)  with 0 log 0 = 0

    Class indices become one-hot. Targets of both kinds are first smoothed to (1 - ε) q + ε / C.
    The mean is over examples, and over positions of dense inputs. For (N, C) that is torch's
    "batchmean"; torch's "mean" also divides by C. A masked class (input -inf) costs nothing where
    q_c or w_c is 0, where torch gives NaN, and inf elsewhere, also where ε > 0.

    Source: Kullback and Leibler 1951, "On Information and Sufficiency",
    doi:10.1214/aoms/1177729694. For distillation: Hinton et al. 2015, arXiv:1503.02531.

    Args:
        input: log-probabilities (N, C, d1, ...), or (C,) unbatched.
        target: class probabilities of the input's shape, or class indices (N, d1, ...), int64.
        smoothing: ε in [0, 1).
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y, or / N for probabilities), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if smoothing is outside [0, 1).

    Example:
        >>> import torch
        >>> q, p = torch.tensor([[0.2, 0.3, 0.5]]), torch.tensor([[0.4, 0.3, 0.3]])
        >>> kl_div_loss(p.log(), q)
        tensor(0.1168)
    """
    check_fraction("smoothing", smoothing, below_one=True)
    batch = Batch(input, target, weight, ignore_index)
    values = _to_probabilities if batch.soft else _to_indices
    return batch.reduce(values(batch, smoothing), reduction)


def _to_probabilities(batch: Batch, smoothing: float) -> Tensor:
    q = batch.smoothed(smoothing)
    # q log q, 0 at q = 0. A logarithm and a product in place take a third of xlogy's time.
    negentropy = batch.weighted(q.clamp_min(torch.finfo(q.dtype).tiny).log_().mul_(q))
    cross = inner_product(batch.weighted(q), batch.logits, batch.dim)
    return negentropy.sum(batch.dim) - cross


def _to_indices(batch: Batch, smoothing: float) -> Tensor:
    if not smoothing:
        return batch.weigh(-batch.own())
    off = smoothing / batch.classes
    on = 1 - smoothing + off
    # Σ_c w_c q_c log q_c in closed form: q takes one value at the label, another elsewhere
    if batch.weight is None:
        own: Tensor | float = 1.0
        total: Tensor | float = float(batch.classes)
    else:
        own, total = batch.at_labels(batch.weight), batch.weight.sum()
    negentropy = own * (on * math.log(on)) + (total - own) * (off * math.log(off))
    values = smoothed_nll(batch.logits, batch, smoothing) + negentropy
    return values.masked_fill(batch.ignored, 0.0)


class KLDivLoss(Loss, name="kl"):
    """Kullback-Leibler divergence of targets from log-probabilities; see `kl_div_loss`."""

    input_kind = "log_probs"

    def __init__(
        self,
        smoothing: float = 0.0,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_fraction("smoothing", smoothing, below_one=True)
        self.smoothing = smoothing
        if smoothing:  # as in `LabelSmoothingCrossEntropyLoss`
            self.reading = None

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The divergence of each example."""
        return kl_div_loss(input, target, self.smoothing, **self.shared)
