"""Classification losses with one contract: ``criterion(input, target)``.

Every loss is a function and a module. The modules share class weights, ``ignore_index`` and
reductions, and give values per example. `create` makes one from its name and settings.

Formulas use z for the logits of one example, p for softmax(z), y for its label, q for its class
probabilities, w for the class weights and C for the number of classes. A label is the one-hot q.
Each formula is the value ℓ of one example. The mean over N examples is

Formula:
    (Σ_i ℓ_i) / (Σ_i w_{y_i})  for class indices
    (Σ_i ℓ_i) / N  for class probabilities

An ignored example has value 0 and weight 0. A mean over no weight is 0.

Example:
    >>> import torch
    >>> from clsloss import FocalLoss, create
    >>> logits, target = torch.zeros(4, 10), torch.tensor([3, 1, 4, 1])
    >>> FocalLoss(gamma=2.0)(logits, target)
    tensor(1.8651)
    >>> create("ce+0.5*brier")(logits, target)
    tensor(2.7526)
"""

from clsloss.base import Loss
from clsloss.bce import OneVsRestBCELoss, one_vs_rest_bce_loss
from clsloss.calibration import (
    AdaptiveFocalLoss,
    BrierWeightedCrossEntropyLoss,
    ConfidencePenaltyLoss,
    DualFocalLoss,
    InverseFocalLoss,
    LabelRelaxationLoss,
    LogitNormLoss,
    MarginLabelSmoothingLoss,
    MaxSuppressionLoss,
    MDCALoss,
    MMCELoss,
    Poly1Loss,
    SampleDependentFocalLoss,
    SoftECELoss,
    SquentropyLoss,
    adaptive_focal_loss,
    brier_weighted_cross_entropy_loss,
    confidence_penalty_loss,
    dual_focal_loss,
    inverse_focal_loss,
    label_relaxation_loss,
    logit_norm_loss,
    margin_label_smoothing_loss,
    max_suppression_loss,
    mdca_loss,
    mmce_loss,
    poly1_loss,
    sample_dependent_focal_loss,
    soft_ece_loss,
    squentropy_loss,
)
from clsloss.combine import SumLoss
from clsloss.cross_entropy import (
    CrossEntropyLoss,
    LabelSmoothingCrossEntropyLoss,
    NLLLoss,
    cross_entropy,
    label_smoothing_cross_entropy,
    nll_loss,
)
from clsloss.dice import DiceLoss, dice_loss
from clsloss.distance import BrierLoss, MAELoss, brier_loss, mae_loss
from clsloss.focal import FocalLoss, SigmoidFocalLoss, focal_loss, sigmoid_focal_loss
from clsloss.hinge import (
    CrammerSingerLoss,
    WestonWatkinsLoss,
    crammer_singer_loss,
    weston_watkins_loss,
)
from clsloss.kl import KLDivLoss, kl_div_loss
from clsloss.label_noise import (
    AsymmetricGCELoss,
    BiTemperedLoss,
    GeneralizedCrossEntropyLoss,
    JensenShannonLoss,
    NormalizedCrossEntropyLoss,
    NormalizedFocalLoss,
    ReverseCrossEntropyLoss,
    SymmetricCrossEntropyLoss,
    TaylorCrossEntropyLoss,
    asymmetric_gce_loss,
    bi_tempered_loss,
    generalized_cross_entropy_loss,
    jensen_shannon_loss,
    normalized_cross_entropy_loss,
    normalized_focal_loss,
    reverse_cross_entropy_loss,
    symmetric_cross_entropy_loss,
    taylor_cross_entropy_loss,
)
from clsloss.long_tail import (
    LDAMLoss,
    LogitAdjustedLoss,
    SeesawLoss,
    VectorScalingLoss,
    ldam_loss,
    logit_adjusted_loss,
    seesaw_loss,
    vector_scaling_loss,
)
from clsloss.spec import create, describe, names
from clsloss.trial import ClassesNeeded
from clsloss.tversky import TverskyLoss, tversky_loss

__all__ = [
    "AdaptiveFocalLoss",
    "AsymmetricGCELoss",
    "BiTemperedLoss",
    "BrierLoss",
    "BrierWeightedCrossEntropyLoss",
    "ClassesNeeded",
    "ConfidencePenaltyLoss",
    "CrammerSingerLoss",
    "CrossEntropyLoss",
    "DiceLoss",
    "DualFocalLoss",
    "FocalLoss",
    "GeneralizedCrossEntropyLoss",
    "InverseFocalLoss",
    "JensenShannonLoss",
    "KLDivLoss",
    "LDAMLoss",
    "LabelRelaxationLoss",
    "LabelSmoothingCrossEntropyLoss",
    "LogitAdjustedLoss",
    "LogitNormLoss",
    "Loss",
    "MAELoss",
    "MDCALoss",
    "MMCELoss",
    "MarginLabelSmoothingLoss",
    "MaxSuppressionLoss",
    "NLLLoss",
    "NormalizedCrossEntropyLoss",
    "NormalizedFocalLoss",
    "OneVsRestBCELoss",
    "Poly1Loss",
    "ReverseCrossEntropyLoss",
    "SampleDependentFocalLoss",
    "SeesawLoss",
    "SigmoidFocalLoss",
    "SoftECELoss",
    "SquentropyLoss",
    "SumLoss",
    "SymmetricCrossEntropyLoss",
    "TaylorCrossEntropyLoss",
    "TverskyLoss",
    "VectorScalingLoss",
    "WestonWatkinsLoss",
    "adaptive_focal_loss",
    "asymmetric_gce_loss",
    "bi_tempered_loss",
    "brier_loss",
    "brier_weighted_cross_entropy_loss",
    "confidence_penalty_loss",
    "crammer_singer_loss",
    "create",
    "cross_entropy",
    "describe",
    "dice_loss",
    "dual_focal_loss",
    "focal_loss",
    "generalized_cross_entropy_loss",
    "inverse_focal_loss",
    "jensen_shannon_loss",
    "kl_div_loss",
    "label_relaxation_loss",
    "label_smoothing_cross_entropy",
    "ldam_loss",
    "logit_adjusted_loss",
    "logit_norm_loss",
    "mae_loss",
    "margin_label_smoothing_loss",
    "max_suppression_loss",
    "mdca_loss",
    "mmce_loss",
    "names",
    "nll_loss",
    "normalized_cross_entropy_loss",
    "normalized_focal_loss",
    "one_vs_rest_bce_loss",
    "poly1_loss",
    "reverse_cross_entropy_loss",
    "sample_dependent_focal_loss",
    "seesaw_loss",
    "sigmoid_focal_loss",
    "soft_ece_loss",
    "squentropy_loss",
    "symmetric_cross_entropy_loss",
    "taylor_cross_entropy_loss",
    "tversky_loss",
    "vector_scaling_loss",
    "weston_watkins_loss",
]
