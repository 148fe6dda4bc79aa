"""Losses for calibration."""

from clsloss.calibration.adaptive import (
    AdaptiveFocalLoss,
    adaptive_focal_loss,
)
from clsloss.calibration.batch_terms import (
    MDCALoss,
    SoftECELoss,
    mdca_loss,
    soft_ece_loss,
)
from clsloss.calibration.brier_weighted import (
    BrierWeightedCrossEntropyLoss,
    brier_weighted_cross_entropy_loss,
)
from clsloss.calibration.confidence import (
    ConfidencePenaltyLoss,
    confidence_penalty_loss,
)
from clsloss.calibration.focal_family import (
    DualFocalLoss,
    InverseFocalLoss,
    SampleDependentFocalLoss,
    dual_focal_loss,
    inverse_focal_loss,
    sample_dependent_focal_loss,
)
from clsloss.calibration.logit_norm import (
    LogitNormLoss,
    logit_norm_loss,
)
from clsloss.calibration.logits import (
    MarginLabelSmoothingLoss,
    MaxSuppressionLoss,
    SquentropyLoss,
    margin_label_smoothing_loss,
    max_suppression_loss,
    squentropy_loss,
)
from clsloss.calibration.pairs import (
    MMCELoss,
    mmce_loss,
)
from clsloss.calibration.poly import (
    Poly1Loss,
    poly1_loss,
)
from clsloss.calibration.relaxation import (
    LabelRelaxationLoss,
    label_relaxation_loss,
)

__all__ = [
    "AdaptiveFocalLoss",
    "BrierWeightedCrossEntropyLoss",
    "ConfidencePenaltyLoss",
    "DualFocalLoss",
    "InverseFocalLoss",
    "LabelRelaxationLoss",
    "LogitNormLoss",
    "MDCALoss",
    "MMCELoss",
    "MarginLabelSmoothingLoss",
    "MaxSuppressionLoss",
    "Poly1Loss",
    "SampleDependentFocalLoss",
    "SoftECELoss",
    "SquentropyLoss",
    "adaptive_focal_loss",
    "brier_weighted_cross_entropy_loss",
    "confidence_penalty_loss",
    "dual_focal_loss",
    "inverse_focal_loss",
    "label_relaxation_loss",
    "logit_norm_loss",
    "margin_label_smoothing_loss",
    "max_suppression_loss",
    "mdca_loss",
    "mmce_loss",
    "poly1_loss",
    "sample_dependent_focal_loss",
    "soft_ece_loss",
    "squentropy_loss",
]
