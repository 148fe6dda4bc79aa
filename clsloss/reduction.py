"""From values per example to one number, and the tensors that every loss builds on."""

from __future__ import annotations

import torch
from torch import Tensor

from clsloss.checks import check_reduction


def widen(tensor: Tensor) -> Tensor:
    """The tensor in float32, or as it is where it is wider (half precision cannot hold a loss)."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def spread(vector: Tensor, like: Tensor, dim: int) -> Tensor:
    """A vector (C,) in the dtype of ``like``, shaped to broadcast along its dimension ``dim``."""
    return vector.to(like.dtype).reshape(-1, *(1,) * (like.dim() - dim - 1))


def at_labels(vector: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """A vector (C,) read at each label; 0 where the label is ignored. Shape of ``target``."""
    ignored = target == ignore_index
    # gather, as indexing would read label -1 as the last class
    read = vector.gather(0, target.masked_fill(ignored, 0).flatten()).view_as(target)
    return poison(read, target, vector.shape[0], ignore_index).masked_fill(ignored, 0.0)


def poison(values: Tensor, target: Tensor, classes: int, ignore_index: int) -> Tensor:
    """NaN at labels outside [0, C), where torch would not raise: compiled code wraps negatives."""
    if target.is_cpu and not torch.compiler.is_compiling():
        return values
    bad = ((target < 0) | (target >= classes)) & (target != ignore_index)
    return values.masked_fill(bad, float("nan"))


def one_hot(target: Tensor, like: Tensor, dim: int, ignore_index: int) -> Tensor:
    """Class indices as probabilities of the shape and dtype of ``like``; ignored ones all 0."""
    ignored = (target == ignore_index).unsqueeze(dim)
    index = target.unsqueeze(dim).masked_fill(ignored, 0)
    zeros = torch.zeros_like(like, requires_grad=False)
    hot = (~ignored).to(like.dtype)
    return zeros.scatter(dim, index, poison(hot, index, like.shape[dim], 0))


def example_weights(target: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
    """What each example adds to the divisor of the mean.

    w_y for class indices, 0 where ignored; 1 for class probabilities, as torch divides by the
    number of examples there.

    Args:
        target: class indices (N, d1, ...), int64, or probabilities (N, C, d1, ...), floating.
        weight: class weights (C,), or None for ones.
        ignore_index: the label that counts for nothing.

    Returns:
        (N, d1, ...), float32 or wider.
    """
    if target.is_floating_point():
        return torch.ones_like(widen(target.detach()).select(min(target.dim() - 1, 1), 0))
    if weight is None:
        return (target != ignore_index).float()
    return at_labels(widen(weight), target, ignore_index)


def ratio(total: Tensor, divisor: Tensor) -> Tensor:
    """Total / divisor; 0 with zero gradients where the divisor is 0 (torch gives NaN)."""
    nothing = divisor == 0
    return (total / divisor.masked_fill(nothing, 1.0)).masked_fill(nothing, 0.0)


def reduce(
    values: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str
) -> Tensor:
    """Values per example to themselves, their sum, or their mean Σ values / Σ weights."""
    check_reduction(reduction)
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    return ratio(values.sum(), example_weights(target, weight, ignore_index).sum())
