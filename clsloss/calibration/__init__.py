"""Losses for calibration."""

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
from clsloss.calibration.poly import (
    Poly1Loss,
    poly1_loss,
)
from clsloss.calibration.relaxation import (
    LabelRelaxationLoss,
    label_relaxation_loss,
)

__all__ = [
    "BrierWeightedCrossEntropyLoss",
    "ConfidencePenaltyLoss",
    "DualFocalLoss",
    "InverseFocalLoss",
    "LabelRelaxationLoss",
    "LogitNormLoss",
    "MarginLabelSmoothingLoss",
    "MaxSuppressionLoss",
    "Poly1Loss",
    "SampleDependentFocalLoss",
    "SquentropyLoss",
    "brier_weighted_cross_entropy_loss",
    "confidence_penalty_loss",
    "dual_focal_loss",
    "inverse_focal_loss",
    "label_relaxation_loss",
    "logit_norm_loss",
    "margin_label_smoothing_loss",
    "max_suppression_loss",
    "poly1_loss",
    "sample_dependent_focal_loss",
    "squentropy_loss",
]
