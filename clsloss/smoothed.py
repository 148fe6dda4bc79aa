"""The negative log-likelihood of smoothed labels, in one pass each way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clsloss.batch import Batch


def smoothed_nll(log_p: Tensor, batch: Batch, smoothing: float) -> Tensor:
    """(1-ε) w_y (-log p_y) + (ε/C) Σ_c w_c (-log p_c), 0 where ignored.

    Args:
        log_p: log-probabilities (N, C, d1, ...).
        batch: class indices and class weights.
        smoothing: ε in [0, 1).

    Returns:
        (N, d1, ...).
    """
    own: Tensor | float = 1 - smoothing
    rest: Tensor | float = smoothing / batch.classes
    if batch.weight is not None:
        own = own * batch.at_labels(batch.weight).unsqueeze(batch.dim)
        rest = rest * batch.spread(batch.weight)
    # compiled code fuses the composed form by itself, and cannot trace a function with a jvp
    compiling = torch.compiler.is_compiling()
    function = _SmoothedNLL.forward if compiling else _SmoothedNLL.apply
    values: Tensor = function(log_p, batch.index, own, rest, batch.dim)
    return values.squeeze(batch.dim).masked_fill(batch.ignored, 0.0)


class _SmoothedNLL(torch.autograd.Function):
    """-own log p_y - Σ_c rest_c log p_c, linear in log p.

    Composed of torch's operators, its backward would write two tensors of the input's shape, one
    for each term, and add them; this one writes the sum.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        log_p: Tensor, index: Tensor, own: Tensor | float, rest: Tensor | float, dim: int
    ) -> Tensor:
        weighted = log_p * rest if isinstance(rest, Tensor) else log_p
        total = weighted.sum(dim, keepdim=True)
        if not isinstance(rest, Tensor):
            total = total * rest
        return -(own * log_p.gather(dim, index) + total)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401
        log_p, index, own, rest, dim = inputs
        ctx.shape, ctx.dim = log_p.shape, dim
        ctx.own_is, ctx.rest_is = (None if isinstance(v, Tensor) else v for v in (own, rest))
        tensors = [v for v in (own, rest) if isinstance(v, Tensor)]
        ctx.save_for_backward(index, *tensors)
        ctx.save_for_forward(index, *tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        index, own, rest = _restore(ctx)
        off = (-rest * grad).expand(ctx.shape)
        at_label = off.gather(ctx.dim, index) - own * grad
        return off.scatter(ctx.dim, index, at_label), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:  # noqa: ANN401
        index, own, rest = _restore(ctx)
        return _SmoothedNLL.forward(tangent, index, own, rest, ctx.dim)


def _restore(ctx: Any) -> tuple[Tensor, Any, Any]:  # noqa: ANN401
    index, *tensors = ctx.saved_tensors
    return (index, *tensors) if tensors else (index, ctx.own_is, ctx.rest_is)
