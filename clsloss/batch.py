"""One call of a loss: its tensors, checked, and what every loss computes from them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clsloss.checks import IGNORE_INDEX, check_class_numbers, check_reduction


class Batch:
    """The input, targets and class weights of one call, in the dtype of the computation.

    Shapes and dtypes are always checked. Values (labels in [0, C), weights >= 0) are checked on
    the CPU only, since on CUDA reading them would wait for the device. There a label out of range
    stops torch's kernels, and gives NaN in compiled code.

    Args:
        input: (N, C, d1, ...), or (C,) unbatched; floating.
        target: class indices (N, d1, ...), int64; or class probabilities of input's shape.
        weight: class weights (C,), or None for ones.
        ignore_index: the label of examples that do not count.
        probabilities: whether the loss takes class probabilities.

    Attributes:
        logits: the input in float32, or unchanged if it is wider.
        target: int64, or probabilities in the logits' dtype.
        weight: in the logits' dtype, or None.
        dim: the dimension of the classes: 1, or 0 if unbatched.
        classes: C.
        soft: whether the targets are probabilities.

    Raises:
        TypeError: for dtypes and kinds that do not fit.
        ValueError: if shapes or values do not fit.
    """

    def __init__(
        self,
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = IGNORE_INDEX,
        *,
        probabilities: bool = True,
    ) -> None:
        if not input.is_floating_point():
            raise TypeError(f"input must be floating, got {input.dtype}")
        if input.dim() == 0:
            raise ValueError("input must have shape (N, C, ...) or (C,), got a scalar")
        self.dim = class_dim(input)
        self.classes = input.shape[self.dim]
        self.ignore_index = ignore_index
        self.soft = target.is_floating_point()
        if self.classes < 2:
            raise ValueError(f"at least two classes are needed, got input {tuple(input.shape)}")
        if self.soft:
            self._check_probabilities(input, target, probabilities)
        else:
            self._check_indices(input, target)
        if weight is not None:
            check_per_class("weight", weight, self.classes)
        self.logits = widen(input)
        self.target = target.to(self.logits.dtype) if self.soft else target
        self.weight = None if weight is None else weight.to(self.logits.dtype)

    def _check_probabilities(self, input: Tensor, target: Tensor, probabilities: bool) -> None:
        if not probabilities:
            raise TypeError(f"targets must be class indices (int64), got {target.dtype}")
        if target.shape == input.select(self.dim, 0).shape:
            raise TypeError(f"class indices must be int64, got {target.dtype}")
        if target.shape != input.shape:
            rule = f"class probabilities must have the input's shape {tuple(input.shape)}"
            raise ValueError(f"{rule}, got {tuple(target.shape)}")
        if self.ignore_index != IGNORE_INDEX:
            got = self.ignore_index
            raise ValueError(f"ignore_index needs class indices as targets, got {got}")

    def _check_indices(self, input: Tensor, target: Tensor) -> None:
        if target.dtype != torch.int64:
            raise TypeError(f"class indices must be int64, got {target.dtype}")
        expected = input.shape[: self.dim] + input.shape[self.dim + 1 :]
        if target.shape != expected:
            rule = f"class indices for input {tuple(input.shape)} must be {tuple(expected)}"
            raise ValueError(f"{rule}, got {tuple(target.shape)}")
        if readable(target):
            check_labels(target, self.classes, self.ignore_index)

    @property
    def ignored(self) -> Tensor:
        """Where the label is ignored, in the target's shape. For class indices."""
        return self.target == self.ignore_index

    @property
    def has_ignored(self) -> bool:
        """Whether a label is ignored; true where that cannot be read. For class indices."""
        try:
            return not readable(self.target) or bool(self.ignored.any())
        except RuntimeError:  # under vmap, values cannot be read
            return True

    @property
    def index(self) -> Tensor:
        """The labels, 0 where ignored, with a class dimension of size 1. For class indices."""
        return self.target.masked_fill(self.ignored, 0).unsqueeze(self.dim)

    @property
    def masked(self) -> Tensor | None:
        """Where a class is masked (logit -inf), in the logits' shape; None if none is."""
        return masked_classes(self.logits)

    @property
    def q(self) -> Tensor:
        """The targets as probabilities in the logits' shape, 0 where ignored."""
        if self.soft:
            return self.target
        hot = (~self.ignored).to(self.logits.dtype).unsqueeze(self.dim)
        hot = poison(hot, self.index, self.classes, 0)
        zeros = torch.zeros_like(self.logits, requires_grad=False)
        return zeros.scatter(self.dim, self.index, hot)

    def smoothed(self, smoothing: float) -> Tensor:
        """The targets as probabilities, smoothed to (1 - ε) q + ε / C."""
        return (1 - smoothing) * self.q + smoothing / self.classes if smoothing else self.q

    def own(self) -> Tensor:
        """The logit of each label, 0 where ignored: (N, d1, ...). For class indices."""
        own = self.logits.gather(self.dim, self.index).squeeze(self.dim)
        return own.masked_fill(self.ignored, 0.0)

    def spread(self, vector: Tensor) -> Tensor:
        """A vector (C,) in the logits' dtype, shaped to broadcast along the classes."""
        return spread(vector, self.logits)

    def at_labels(self, vector: Tensor) -> Tensor:
        """A vector (C,) read at each label, 0 where ignored: (N, d1, ...). For class indices."""
        return at_labels(vector.to(self.logits.dtype), self.target, self.ignore_index)

    def weigh(self, values: Tensor) -> Tensor:
        """Values times w_y; for probabilities times the mean of w under q, Σ w_c q_c / Σ q_c."""
        if self.weight is None:
            return values
        if not self.soft:
            return product(self.at_labels(self.weight), values)
        mass = self.target.sum(self.dim)
        weights = ratio((self.target * self.spread(self.weight)).sum(self.dim), mass)
        return product(weights.masked_fill(mass == 0, 1.0), values)

    def weighted(self, factor: Tensor) -> Tensor:
        """A factor in the logits' shape, times the class weights."""
        return factor if self.weight is None else factor * self.spread(self.weight)

    def reduce(self, values: Tensor, reduction: str) -> Tensor:
        """Values per example, reduced: unchanged, summed, or averaged as Σ values / Σ weights.

        If the weights sum to 0, the mean is 0 with zero gradients.
        """
        check_reduction(reduction)
        if not self.soft:
            values = poison(values, self.target, self.classes, self.ignore_index)
        if reduction != "mean":
            return values.sum() if reduction == "sum" else values
        return mean(values, example_weights(self.target, self.weight, self.ignore_index))


def class_dim(tensor: Tensor) -> int:
    """The dimension of the classes: 1, or 0 if unbatched."""
    return 1 if tensor.dim() > 1 else 0


def spread(vector: Tensor, like: Tensor) -> Tensor:
    """A vector (C,) in the dtype of logits, shaped to broadcast along their classes."""
    trailing = like.dim() - class_dim(like) - 1
    return vector.to(like.dtype).reshape(-1, *(1,) * trailing)


def widen(tensor: Tensor) -> Tensor:
    """float16 and bfloat16 are widened to float32: a loss needs the precision."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def product(factor: Tensor | float, values: Tensor) -> Tensor:
    """``factor * values``, with 0 · ±∞ = 0 and zero gradients there, instead of NaN."""
    plain = factor * values
    # Masking each time would cost half as much again, so mask only when a NaN has appeared.
    return plain if _free_of_nan(plain) else factor * without_impossible(factor, values)


def without_impossible(factor: Tensor | float, values: Tensor) -> Tensor:
    """The values, set to 0 where they are infinite and their factor is 0."""
    return values.masked_fill((factor == 0) & values.isinf(), 0.0)


def inner_product(factor: Tensor, values: Tensor, dim: int) -> Tensor:
    """Σ_c factor_c values_c over the classes, with 0 · ±∞ = 0 as in `product`."""
    total = (factor * values).sum(dim)
    if _free_of_nan(total):
        return total
    return (factor * without_impossible(factor, values)).sum(dim)


def least(tensor: Tensor) -> float:
    """The smallest safe divisor: dividing by its square does not overflow in this dtype."""
    return math.sqrt(torch.finfo(tensor.dtype).tiny)


def _free_of_nan(tensor: Tensor) -> bool:
    """Whether the values can be read and none is NaN."""
    try:
        return readable(tensor) and not bool(tensor.isnan().any())
    except RuntimeError:  # under vmap, values cannot be read
        return False


def readable(tensor: Tensor) -> bool:
    """Whether values can be read without waiting for a device or breaking a compiled graph."""
    return tensor.is_cpu and tensor.numel() > 0 and not torch.compiler.is_compiling()


def masked_classes(logits: Tensor) -> Tensor | None:
    """Where logits are -inf. None if it can be read that none is, which saves passes over them."""
    try:
        none = readable(logits) and bool(logits.detach().amin() > -math.inf)
    except RuntimeError:  # under vmap, values cannot be read
        none = False
    return None if none else logits == -math.inf


def check_labels(target: Tensor, classes: int, ignore_index: int) -> None:
    """Raises ValueError if a label is neither in [0, C) nor ``ignore_index``."""
    try:
        low, high = (int(bound) for bound in target.aminmax())
    except RuntimeError:  # under vmap, values cannot be read; torch's kernels raise instead
        return
    if low >= 0 and high < classes:
        return
    wrong = target[((target < 0) | (target >= classes)) & (target != ignore_index)]
    if len(wrong):
        rule = f"class indices must be in [0, {classes}) or ignore_index={ignore_index}"
        raise ValueError(f"{rule}, got {wrong[0].item()}")


def check_per_class(name: str, vector: Tensor, classes: int) -> None:
    """Raises ValueError unless ``vector`` is (C,) and, where readable, finite and >= 0."""
    if vector.shape != (classes,):
        raise ValueError(f"{name} must have shape ({classes},), got {tuple(vector.shape)}")
    if readable(vector):
        try:
            check_class_numbers(name, vector)
        except RuntimeError:  # under vmap, values cannot be read
            return


def at_labels(vector: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """A vector (C,) read at each label, 0 where ignored, in the shape of ``target``."""
    ignored = target == ignore_index
    # gather raises at label -1; indexing would read the last class
    read = vector.gather(0, target.masked_fill(ignored, 0).flatten()).view_as(target)
    return poison(read.masked_fill(ignored, 0.0), target, len(vector), ignore_index)


def poison(values: Tensor, target: Tensor, classes: int, ignore_index: int) -> Tensor:
    """NaN at labels outside [0, C), where torch does not raise: compiled code wraps negatives."""
    if target.is_cpu and not torch.compiler.is_compiling():
        return values
    bad = ((target < 0) | (target >= classes)) & (target != ignore_index)
    return values.masked_fill(bad, float("nan"))


def example_weights(target: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
    """What each example adds to the divisor of the mean.

    For class indices w_y, 0 where ignored. For class probabilities 1: torch, too, divides by the
    number of examples.

    Args:
        target: class indices (N, d1, ...), int64, or probabilities (N, C, d1, ...), floating.
        weight: class weights (C,), or None for ones.
        ignore_index: the label of examples that do not count.

    Returns:
        (N, d1, ...), float32 or wider.
    """
    if target.is_floating_point():
        return torch.ones_like(widen(target.detach().select(1 if target.dim() > 1 else 0, 0)))
    if weight is None:
        return (target != ignore_index).float()
    return at_labels(widen(weight), target, ignore_index)


def mean(values: Tensor, weights: Tensor) -> Tensor:
    """Σ values / Σ weights, or 0 with zero gradients if the weights sum to 0."""
    return ratio(values.sum(), weights.sum(dtype=values.dtype))


def ratio(total: Tensor, divisor: Tensor) -> Tensor:
    """``total / divisor``, or 0 with zero gradients where the divisor is 0."""
    return total / divisor.masked_fill(divisor == 0, math.inf)
