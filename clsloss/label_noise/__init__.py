"""Losses for training with wrong labels."""

from clsloss.label_noise.generalized import (
    AsymmetricGCELoss,
    GeneralizedCrossEntropyLoss,
    asymmetric_gce_loss,
    generalized_cross_entropy_loss,
)
from clsloss.label_noise.jensen_shannon import JensenShannonLoss, jensen_shannon_loss
from clsloss.label_noise.normalized import (
    NormalizedCrossEntropyLoss,
    NormalizedFocalLoss,
    normalized_cross_entropy_loss,
    normalized_focal_loss,
)
from clsloss.label_noise.symmetric import (
    ReverseCrossEntropyLoss,
    SymmetricCrossEntropyLoss,
    reverse_cross_entropy_loss,
    symmetric_cross_entropy_loss,
)
from clsloss.label_noise.taylor import TaylorCrossEntropyLoss, taylor_cross_entropy_loss
from clsloss.label_noise.tempered import BiTemperedLoss, bi_tempered_loss

__all__ = [
    "AsymmetricGCELoss",
    "BiTemperedLoss",
    "GeneralizedCrossEntropyLoss",
    "JensenShannonLoss",
    "NormalizedCrossEntropyLoss",
    "NormalizedFocalLoss",
    "ReverseCrossEntropyLoss",
    "SymmetricCrossEntropyLoss",
    "TaylorCrossEntropyLoss",
    "asymmetric_gce_loss",
    "bi_tempered_loss",
    "generalized_cross_entropy_loss",
    "jensen_shannon_loss",
    "normalized_cross_entropy_loss",
    "normalized_focal_loss",
    "reverse_cross_entropy_loss",
    "symmetric_cross_entropy_loss",
    "taylor_cross_entropy_loss",
]
