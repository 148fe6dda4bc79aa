"""The negative log-likelihood of smoothed labels, in one pass forward and one backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from clsloss.batch import Batch, inner_product, product


def smoothed_nll(log_p: Tensor, batch: Batch, smoothing: float) -> Tensor:
    """The negative log-likelihood of labels smoothed to (1 - ε) q + ε / C.

    Formula:
        -(1 - ε) w_y log p_y - ε / C Σ_c w_c log p_c  and 0 where ignored

    Args:
        log_p: log-probabilities (N, C, d1, ...).
        batch: class indices and class weights.
        smoothing: ε in (0, 1).

    Returns:
        (N, d1, ...).
    """
    own: Tensor | float = 1 - smoothing
    rest: Tensor | float = smoothing / batch.classes
    if batch.weight is not None:
        own = own * batch.at_labels(batch.weight).unsqueeze(batch.dim)
        rest = rest * batch.spread(batch.weight)
    function = _SmoothedNLL.apply if _only_reverse(log_p, own, rest) else _composed
    values: Tensor = function(log_p, batch.index, own, rest, batch.dim)
    return values.squeeze(batch.dim).masked_fill(batch.ignored, 0.0)


def _composed(
    log_p: Tensor, index: Tensor, own: Tensor | float, rest: Tensor | float, dim: int
) -> Tensor:
    """-own log p_y - Σ_c rest_c log p_c, by torch's operators and with all their derivatives."""
    if isinstance(rest, Tensor):
        total = inner_product(rest, log_p, dim).unsqueeze(dim)
    else:
        total = rest * log_p.sum(dim, keepdim=True)
    return -(product(own, log_p.gather(dim, index)) + total)


def _only_reverse(log_p: Tensor, own: Tensor | float, rest: Tensor | float) -> bool:
    """Whether only reverse mode with respect to log p can be asked for.

    Otherwise the composed form is used. Compiled code fuses it anyway. Forward mode is no job for
    a custom function: forward over forward through its jvp is 0 (pytorch#197867).
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    factors = [factor for factor in (own, rest) if isinstance(factor, Tensor)]
    return not any(factor.requires_grad for factor in factors) and not any(
        unpack_dual(tensor).tangent is not None  # type: ignore[no-untyped-call]
        for tensor in (log_p, *factors)
    )


class _SmoothedNLL(torch.autograd.Function):
    """`_composed` with a cheaper backward pass.

    Autograd would write two tensors of the input's shape and add them. This writes their sum, by
    operators that can be differentiated again. torch refuses forward mode through it.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        log_p: Tensor,
        index: Tensor,
        own: Tensor | float,
        rest: Tensor | float,
        dim: int,
    ) -> Tensor:
        ctx.shape, ctx.dim = log_p.shape, dim
        ctx.own_is, ctx.rest_is = (None if isinstance(v, Tensor) else v for v in (own, rest))
        ctx.save_for_backward(index, *(v for v in (own, rest) if isinstance(v, Tensor)))
        return _composed(log_p, index, own, rest, dim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        index, *tensors = ctx.saved_tensors
        own, rest = tensors or (ctx.own_is, ctx.rest_is)
        off = (-rest * grad).expand(ctx.shape)
        at_label = off.gather(ctx.dim, index) - own * grad
        return off.scatter(ctx.dim, index, at_label), None, None, None, None
