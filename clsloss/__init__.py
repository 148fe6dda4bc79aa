"""Losses of classification, each with one contract: ``criterion(input, target)``.

>>> import torch
>>> from clsloss import FocalLoss, create
>>> logits, target = torch.zeros(4, 10), torch.tensor([3, 1, 4, 1])
>>> FocalLoss(gamma=2.0)(logits, target)
tensor(1.8651)
>>> create("label_smoothing:smoothing=0.2")(logits, target)
tensor(2.3026)
"""

from clsloss.base import Loss
from clsloss.cross_entropy import (
    CrossEntropyLoss,
    LabelSmoothingCrossEntropyLoss,
    NLLLoss,
    cross_entropy,
    label_smoothing_cross_entropy,
    nll_loss,
)
from clsloss.focal import FocalLoss, focal_loss
from clsloss.hinge import CrammerSingerLoss, crammer_singer_loss
from clsloss.kl import KLDivLoss, kl_div_loss
from clsloss.spec import create, describe, names

__all__ = [
    "CrammerSingerLoss",
    "CrossEntropyLoss",
    "FocalLoss",
    "KLDivLoss",
    "LabelSmoothingCrossEntropyLoss",
    "Loss",
    "NLLLoss",
    "crammer_singer_loss",
    "create",
    "cross_entropy",
    "describe",
    "focal_loss",
    "kl_div_loss",
    "label_smoothing_cross_entropy",
    "names",
    "nll_loss",
]
