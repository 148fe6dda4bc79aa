"""MMCE, a calibration term over all pairs of examples, for sums such as ``ce+mmce``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from clsloss.base import Loss
from clsloss.batch import Batch, ratio
from clsloss.calibration.batch_terms import examples, root
from clsloss.checks import IGNORE_INDEX, check_flag, check_positive

FORMS = ("paper", "code")


def mmce_loss(
    input: Tensor,
    target: Tensor,
    width: float = 0.4,
    weighted: bool = False,
    form: str = "paper",
    *,
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Maximum mean calibration error: a kernel measure of calibration, over pairs of examples.

    Formula:
        sqrt(1/m² Σ_ij e_i e_j k_ij),  e = a - c,  k_ij = exp(-|c_i - c_j| / width)
        weighted: sqrt(W_rr / m_r² + W_ww / m_w² - 2 W_rw / (m_r m_w))
        W_rr = Σ_ij (1 - c_i) (1 - c_j) k_ij,  W_ww = Σ_ij c_i c_j k_ij,
        W_rw = Σ_ij (1 - c_i) c_j k_ij

    c is the largest probability, a whether its class is the label. In the weighted form, r are the
    m_r examples that are right and w the m_w that are wrong; without examples of both kinds it is
    0. Both public implementations of the weighted form divide by m_r², m_w² and m_r m_w twice,
    which makes the gradient 4 to 50 times weaker: ``form=code``. It is a term to be added to
    another loss; the paper gives it a factor of 2 to 8, as in ``ce+4*mmce:weighted=true``.

    Source: Kumar et al. 2018, "Trainable Calibration Measures for Neural Networks from Kernel Mean
    Embeddings", Proceedings of ICML 80, 2805-2814.

    Args:
        input: logits, as in `cross_entropy`; dense inputs are one set of examples.
        target: class indices or probabilities, as in `cross_entropy`. For probabilities, a is
            that of the predicted class; the weighted form takes class indices only.
        width: the width of the kernel, > 0.
        weighted: whether the right and the wrong examples weigh the same in total.
        form: "paper", or "code" for the divisors of public code in the weighted form.
        weight: class weights (C,): an example counts w_y times, or the mean of w under q.
        ignore_index: the label of examples that do not count.

    Returns:
        A scalar, float32 or wider; 0 if no example counts. Memory and time grow with the square of
        the number of examples.

    Raises:
        TypeError, ValueError: as `cross_entropy` does; also if the width is not positive, or the
            form is neither of the two.

    Example:
        >>> import torch
        >>> mmce_loss(torch.zeros(2, 2), torch.tensor([0, 0]))
        tensor(0.5000)
    """
    check_positive("width", width)
    check_flag("weighted", weighted)
    check_form(form)
    batch = Batch(input, target, weight, ignore_index, probabilities=not weighted)
    v, _, p, q = examples(batch)
    c, predicted = p.max(1)
    a = q.gather(1, predicted.unsqueeze(1)).squeeze(1).detach()
    if weighted:
        square = _weighted(v * a, v * (1 - a), c, width, twice=form == "code")
    else:
        square = ratio(_over_pairs(v * (a - c), c, width), v.sum() ** 2)
    return root(square)


def _over_pairs(e: Tensor, c: Tensor, width: float) -> Tensor:
    """Σ_ij e_i e_j exp(-|c_i - c_j| / h), for c in [0, 1].

    In the order of c, exp(-|c_i - c_j| / h) is a product of a factor of i and one of j, so that
    N log N operations are enough.
    """
    if 1 / width > math.log(torch.finfo(c.dtype).max):  # a factor could overflow
        kernel = torch.exp(-(c.unsqueeze(1) - c).abs() / width)
        return e @ (kernel @ e)
    c, order = c.sort()
    e = e.gather(0, order)
    grown = torch.exp((c - 0.5) / width)
    below = (e * grown).cumsum(0) - e * grown
    return e @ e + 2 * (e / grown) @ below


def _weighted(right: Tensor, wrong: Tensor, c: Tensor, width: float, *, twice: bool) -> Tensor:
    m_right, m_wrong = right.sum(), wrong.sum()
    both = (m_right > 0) & (m_wrong > 0)

    def share(of: Tensor, total: Tensor) -> Tensor:
        return ratio(of, total**2 if twice else total)

    e_right, e_wrong = share(right * (1 - c), m_right), share(wrong * c, m_wrong)
    e = e_right - e_wrong
    return torch.where(both, _over_pairs(e, c, width), 0.0)


class MMCELoss(Loss, name="mmce", purpose="calibration"):
    """Maximum mean calibration error, a term over all pairs of examples; see `mmce_loss`."""

    pairwise = True

    def __init__(
        self,
        width: float = 0.4,
        weighted: bool = False,
        form: str = "paper",
        *,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        if reduction != "mean":
            rule = "a function of the whole batch has reduction 'mean' only"
            raise ValueError(f"{rule}, got {reduction!r}")
        check_positive("width", width)
        check_flag("weighted", weighted)
        check_form(form)
        self.width = width
        self.weighted = weighted
        self.form = form
        self.takes_probabilities = not weighted

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The term of a batch."""
        return mmce_loss(
            input,
            target,
            self.width,
            self.weighted,
            self.form,
            weight=self.weight,
            ignore_index=self.ignore_index,
        )


def check_form(form: str) -> None:
    """Raises ValueError unless the form is "paper" or "code"."""
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
