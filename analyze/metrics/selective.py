"""Selective classification: how well confidence ranks correct predictions above errors."""

import numpy as np

from analyze.metrics.predictions import Booleans, Floats


def risk_curve(log_uncertainty: Floats, correct: Booleans) -> Floats:
    """The error rate among the k most confident examples, for k = 1 ... N.

    Tied examples are averaged over their orders, so the order of the rows does not matter. Values
    of log_uncertainty within 1e-12 count as tied: reordered sums differ by that much.

    Args:
        log_uncertainty: log(1 - confidence), float64, shape (N,). It still ranks examples whose
            confidence rounds to 1.
        correct: bool, shape (N,).

    Example:
        >>> risk_curve(np.array([-3.0, -1.0, -1.0]), np.array([True, True, False])).tolist()
        [0.0, 0.25, 0.3333333333333333]
    """
    order = np.argsort(log_uncertainty)
    ranked = log_uncertainty[order]
    # Compare, do not subtract: log_uncertainty is -inf where the confidence is exactly 1.
    new = ranked[:-1] < ranked[1:] - 1e-12 * np.abs(ranked[1:])
    starts = np.flatnonzero(np.concatenate([[True], new]))
    size = np.diff(starts, append=len(ranked))
    wrong = np.add.reduceat((~correct[order]).astype(np.float64), starts)
    expected = np.repeat(wrong / size, size)
    # Restart from the integer count at each group, so rounding errors do not accumulate.
    before_group = np.repeat(np.cumsum(wrong) - wrong, size)
    place = np.arange(1, len(correct) + 1)
    within = place - np.repeat(starts, size)
    curve: Floats = (before_group + within * expected) / place
    return curve


def aurc(log_uncertainty: Floats, correct: Booleans) -> float:
    """Area under the risk-coverage curve: the mean of `risk_curve`.

    Source: Geifman and El-Yaniv 2017, "Selective Classification for Deep Neural Networks",
    arXiv:1705.08500.
    """
    return float(risk_curve(log_uncertainty, correct).mean())


def e_aurc(log_uncertainty: Floats, correct: Booleans) -> float:
    """Excess AURC: AURC minus that of the best ranking of the same predictions.

    It is 0 where no error ranks above a correct prediction.

    Source: Geifman et al. 2019, "Bias-Reduced Uncertainty Estimation for Deep Neural
    Classifiers", arXiv:1805.08206; here the best AURC is the exact sum, not its integral.
    """
    best = np.arange(len(correct)) >= correct.sum()
    return aurc(log_uncertainty, correct) - aurc(np.arange(len(correct), dtype=np.float64), ~best)


def risk_at_coverage(curve: Floats, coverage: float = 0.8) -> float:
    """The error rate among the ceil(coverage N) most confident examples."""
    return float(curve[int(np.ceil(coverage * len(curve) - 1e-9)) - 1])


def coverage_at_risk(curve: Floats, risk: float = 0.05) -> float:
    """The largest coverage with an error rate of at most `risk`; 0 if there is none."""
    fine = np.flatnonzero(curve <= risk)
    return float((fine[-1] + 1) / len(curve)) if len(fine) else 0.0
