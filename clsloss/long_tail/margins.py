"""Margins by the class sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, check_per_class, class_dim, widen
from clsloss.checks import IGNORE_INDEX, check_not_negative, check_positive, class_numbers
from clsloss.cross_entropy import cross_entropy


def ldam_loss(
    input: Tensor,
    target: Tensor,
    class_counts: Tensor,
    scale: float = 30.0,
    max_margin: float = 0.5,
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
) -> Tensor:
    """LDAM: a margin for each class, larger for rare ones, on normalised features.

    Formula:
        CE of s (z - e_y m_y),  m_c = M n_c^(-1/4) / max_k n_k^(-1/4)

    The input must be cosines, such as ``train.py --head cosine`` gives: on unbounded logits the
    margin means nothing. With M = 0 it is the cross-entropy of s z. The authors begin to weight
    the classes late in the run, by ``--class-weights effective:0.9999 --class-weights-from 0.8``.
    At test the margins are left out: the outputs are read by the softmax of s z. A class without
    examples has no margin.

    Source: Cao et al. 2019, "Learning Imbalanced Datasets with Label-Distribution-Aware Margin
    Loss", arXiv:1906.07413.

    Args:
        input: cosine similarities of features and class vectors, in [-1, 1], in the shape of
            logits.
        target: class indices (N, d1, ...), int64.
        class_counts: the number of training examples of each class, (C,).
        scale: s > 0.
        max_margin: M >= 0.
        weight: class weights (C,).
        ignore_index: the label of examples that do not count.
        reduction: "mean" (Σ values / Σ w_y), "sum" or "none".

    Returns:
        A scalar, or (N, d1, ...) for reduction "none"; float32 or wider.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if the counts are not (C,), negative,
            or all 0, the scale is not positive, or M is negative.

    Example:
        >>> import torch
        >>> counts = torch.tensor([16.0, 1.0])
        >>> ldam_loss(torch.zeros(1, 2), torch.tensor([1]), counts, scale=1.0)
        tensor(0.9741)
    """
    check_positive("scale", scale)
    check_not_negative("max_margin", max_margin)
    batch = Batch(input, target, weight, ignore_index, probabilities=False)
    check_per_class("class_counts", class_counts, batch.classes)
    margins = max_margin * _relative_margins(class_counts.to(batch.logits.dtype))
    own = batch.at_labels(margins).unsqueeze(batch.dim)
    # the margin of an ignored example is 0, and its index that of class 0
    z = batch.logits.scatter_add(batch.dim, batch.index, -own)
    return cross_entropy(scale * z, target, weight, ignore_index=ignore_index, reduction=reduction)


class LDAMLoss(Loss, name="ldam", purpose="long tail"):
    """LDAM of cosine similarities; see `ldam_loss`."""

    class_counts: Tensor
    input_kind = "cosines"
    takes_probabilities = False

    def __init__(
        self,
        class_counts: Tensor | Sequence[float],
        scale: float = 30.0,
        max_margin: float = 0.5,
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        self.keep("class_counts", class_numbers("class_counts", class_counts))
        check_positive("scale", scale)
        self.scale = scale
        check_not_negative("max_margin", max_margin)
        self.max_margin = max_margin
        self.reading = f"the softmax of {scale:g} times the cosines"

    def log_probs(self, logits: Tensor) -> Tensor:
        """The log-softmax of s z."""
        return F.log_softmax(self.scale * widen(logits), class_dim(logits))

    def values(self, input: Tensor, target: Tensor) -> Tensor:
        """The LDAM loss of each example."""
        return ldam_loss(
            input, target, self.class_counts, self.scale, self.max_margin, **self.shared
        )


def _relative_margins(counts: Tensor) -> Tensor:
    """The powers n_c^(-1/4) over its largest; 0 for classes without examples."""
    powers = counts.clamp_min(1.0).pow(-0.25).masked_fill(counts == 0, 0.0)
    return powers / powers.max()
