"""The multiclass hinge loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch
from clsloss.checks import IGNORE_INDEX, check_positive


def crammer_singer_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Crammer and Singer's multiclass hinge loss.

    Formula:
        w_y max(0, m + max_{j≠y} z_j - z_y)

    If several rivals share the highest score, one of them gets the gradient. A masked class (score
    -inf) is never a rival; as the label it costs inf.

    Source: Crammer and Singer 2001, "On the Algorithmic Implementation of Multiclass
    Kernel-based Vector Machines", Journal of Machine Learning Research 2, 265-292.

    Args:
        input: scores (N, C, d1, ...), or (C,) unbatched.
        target: class indices (N, d1, ...), int64.
        margin: m > 0.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if targets are class probabilities or
            the margin is not > 0.

    Example:
        >>> import torch
        >>> crammer_singer_loss(torch.tensor([[0.5, 2.0, -1.0]]), torch.tensor([1]))
        tensor(0.)
        >>> crammer_singer_loss(torch.tensor([[0.5, 2.0, -1.0]]), torch.tensor([0]))
        tensor(2.5000)
    """
    check_positive("margin", margin)
    batch = Batch(input, target, weight, ignore_index, probabilities=False)
    index, ignored = batch.index, batch.ignored
    with torch.no_grad():
        others = input.scatter(batch.dim, index, float("-inf"))
        rival = others.max(batch.dim, keepdim=True).indices
    # One gather for both scores: its backward pass writes one tensor of the input's shape, two
    # gathers would write two and add them.
    scores = input.gather(batch.dim, torch.cat([rival, index], batch.dim))
    best, own = scores.to(batch.logits.dtype).unbind(batch.dim)
    # If all rivals are masked, argmax may return the label itself.
    best = best.masked_fill((rival == index).squeeze(batch.dim), float("-inf"))
    values = F.relu(margin + best - own).masked_fill(ignored, 0.0)
    return batch.reduce(batch.weigh(values), reduction)


class CrammerSingerLoss(Loss, name="hinge", purpose="margins"):
    """Crammer and Singer's hinge loss of scores with class indices; see `crammer_singer_loss`."""

    input_kind = "scores"
    reading = None
    takes_probabilities = False

    def __init__(
        self,
        margin: float = 1.0,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_positive("margin", margin)
        self.margin = margin

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The hinge loss of each example."""
        return crammer_singer_loss(input, target, self.margin, **self.shared)


def weston_watkins_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """Weston and Watkins' multiclass hinge loss: every rival within the margin costs.

    Formula:
        w_y Σ_{j≠y} max(0, m + z_j - z_y)

    torch's ``multi_margin_loss`` is this divided by C. A masked class (score -inf) costs nothing;
    as the label it costs inf.

    Source: Weston and Watkins 1999, "Support Vector Machines for Multi-Class Pattern
    Recognition", Proceedings of ESANN, 219-224.

    Args:
        input: scores (N, C, d1, ...), or (C,) unbatched.
        target: class indices (N, d1, ...), int64.
        margin: m > 0.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `crammer_singer_loss` does.

    Example:
        >>> import torch
        >>> weston_watkins_loss(torch.tensor([[0.5, 2.0, -1.0]]), torch.tensor([0]))
        tensor(2.5000)
    """
    check_positive("margin", margin)
    batch = Batch(input, target, weight, ignore_index, probabilities=False)
    own = batch.own().unsqueeze(batch.dim)
    excess = F.relu(margin + batch.logits - own).scatter(batch.dim, batch.index, 0.0)
    values = excess.sum(batch.dim).masked_fill(batch.ignored, 0.0)
    return batch.reduce(batch.weigh(values), reduction)


class WestonWatkinsLoss(Loss, name="weston_watkins", purpose="margins"):
    """Weston and Watkins' hinge loss of scores with class indices; see `weston_watkins_loss`."""

    input_kind = "scores"
    reading = None
    takes_probabilities = False

    def __init__(
        self,
        margin: float = 1.0,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        check_positive("margin", margin)
        self.margin = margin

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The hinge loss of each example."""
        return weston_watkins_loss(input, target, self.margin, **self.shared)
