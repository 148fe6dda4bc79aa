"""How well confidence ranks right above wrong: risk, coverage and the area between them."""

import numpy as np

from analyze.metrics.predictions import Booleans, Floats


def risk_curve(log_doubt: Floats, correct: Booleans) -> Floats:
    """The error among the k most confident examples, for k = 1 ... N.

    Examples of equal confidence (to 1e-12 of log_doubt: sums in another order differ that much)
    are averaged over their orders, so that shuffling rows changes nothing.

    Args:
        log_doubt: log(1 - confidence), float64, shape (N,): it still ranks where the confidence
            itself rounds to 1.
        correct: bool, shape (N,).

    Example:
        >>> risk_curve(np.array([-3.0, -1.0, -1.0]), np.array([True, True, False])).tolist()
        [0.0, 0.25, 0.3333333333333333]
    """
    order = np.argsort(log_doubt)
    ranked = log_doubt[order]
    # not by their difference: two doubts of -inf, where the confidence is exactly 1, are equal
    new = ranked[:-1] < ranked[1:] - 1e-12 * np.abs(ranked[1:])
    starts = np.flatnonzero(np.concatenate([[True], new]))
    size = np.diff(starts, append=len(ranked))
    wrong = np.add.reduceat((~correct[order]).astype(np.float64), starts)
    expected = np.repeat(wrong / size, size)
    # whole groups are integers: counting restarts there, so that rounding does not add up
    before_group = np.repeat(np.cumsum(wrong) - wrong, size)
    place = np.arange(1, len(correct) + 1)
    within = place - np.repeat(starts, size)
    curve: Floats = (before_group + within * expected) / place
    return curve


def aurc(log_doubt: Floats, correct: Booleans) -> float:
    """Area under the risk-coverage curve: the mean of `risk_curve`.

    Source: Geifman & El-Yaniv 2017, Selective Classification for Deep Neural Networks.
    """
    return float(risk_curve(log_doubt, correct).mean())


def e_aurc(log_doubt: Floats, correct: Booleans) -> float:
    """AURC less that of the best ranking with the same errors: 0 where no error outranks a hit.

    Source: Geifman et al. 2019, Bias-Reduced Uncertainty Estimation (the sum, not its integral).
    """
    best = np.arange(len(correct)) >= correct.sum()
    return aurc(log_doubt, correct) - aurc(np.arange(len(correct), dtype=np.float64), ~best)


def risk_at_coverage(curve: Floats, coverage: float = 0.8) -> float:
    """The error among the most confident `coverage` of the examples, ceil(coverage N) of them."""
    return float(curve[int(np.ceil(coverage * len(curve) - 1e-9)) - 1])


def coverage_at_risk(curve: Floats, risk: float = 0.05) -> float:
    """The largest coverage at which the error is at most `risk`; 0 where there is none."""
    fine = np.flatnonzero(curve <= risk)
    return float((fine[-1] + 1) / len(curve)) if len(fine) else 0.0
