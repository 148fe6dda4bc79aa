"""Losses for classes of unequal size."""

from clsloss.long_tail.adjusted import (
    LogitAdjustedLoss,
    VectorScalingLoss,
    logit_adjusted_loss,
    vector_scaling_loss,
)
from clsloss.long_tail.margins import (
    LDAMLoss,
    ldam_loss,
)
from clsloss.long_tail.seesaw import (
    SeesawLoss,
    seesaw_loss,
)

__all__ = [
    "LDAMLoss",
    "LogitAdjustedLoss",
    "SeesawLoss",
    "VectorScalingLoss",
    "ldam_loss",
    "logit_adjusted_loss",
    "seesaw_loss",
    "vector_scaling_loss",
]
