"""Which errors are found: how well confidence tells right predictions from wrong ones."""

import numpy as np
from numpy.typing import ArrayLike

from analyze.metrics.beyond.detection import auroc
from analyze.metrics.predictions import Scores
from analyze.metrics.selective import risk_at_coverage, risk_curve

COVERAGES = (80, 90)  # percent of the images that are answered


def augrc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """The area under the generalised risk coverage curve: the mean risk of an undetected error.

    The generalised risk is the share of images that are accepted and wrong, without division by
    the share that is accepted; AUGRC is its mean over coverages.

    Formula:
        (1 - AUROC_f) a (1 - a) + (1 - a)² / 2, with the accuracy a and the AUROC of confidence for
        right against wrong

    Source: Traub et al. 2024, "Overcoming Common Flaws in the Evaluation of Selective
    Classification Systems", arXiv:2407.01032.

    Args:
        confidence: Shape (N,).
        correct: Whether the prediction is right, shape (N,).
    """
    score, right = np.asarray(confidence, np.float64), np.asarray(correct, bool)
    a = float(right.mean())
    if a in (0.0, 1.0):
        return (1 - a) ** 2 / 2
    return (1 - auroc(score[right], score[~right])) * a * (1 - a) + (1 - a) ** 2 / 2


def failures(scores: Scores) -> dict[str, float]:
    """AUROC of right against wrong, AUGRC, and accuracy among the most confident images.

    `auroc_errors` is missing where all predictions are right, or all wrong. `accuracy_at_80` is
    the accuracy on the 80% of the images with the largest probability.
    """
    certainty, correct = -scores.log_uncertainty, scores.correct
    values = {"augrc": augrc(certainty, correct)}
    if correct.any() and not correct.all():
        values["auroc_errors"] = auroc(certainty[correct], certainty[~correct])
    curve = risk_curve(scores.log_uncertainty, correct)
    for percent in COVERAGES:
        values[f"accuracy_at_{percent}"] = 1 - risk_at_coverage(curve, percent / 100)
    return values
