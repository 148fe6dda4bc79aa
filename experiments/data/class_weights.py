"""Weights of the classes, from how many labels each has."""

from __future__ import annotations

import torch
from torch import Tensor

from analyze.errors import UsageError
from experiments.data.labels import class_counts
from experiments.values import parse_class_weights


def resolve(spec: str, targets: Tensor, classes: tuple[str, ...]) -> Tensor | None:
    """The weight of each class as ``--class-weights`` asks for it.

    With n_c labels of class c, n in all and C classes:

    - ``balanced``: n / (C n_c), whose mean over the labels is 1;
    - ``effective:BETA``: (1 - beta) / (1 - beta^n_c), scaled so that they sum to C (Cui et al.
      2019, Class-Balanced Loss Based on Effective Number of Samples); beta = 0 weighs all alike,
      beta -> 1 in inverse proportion to n_c;
    - numbers: as they are.

    Args:
        spec: the option's value.
        targets: of the training images: class indices, int64, (N,), or probabilities (N, C),
            whose n_c are sums of columns.
        classes: their names.

    Returns:
        float32, (C,), or None for ``none``.

    Raises:
        UsageError: where the numbers do not fit the classes, or a class has no label.
    """
    kind, numbers = parse_class_weights(spec)
    if kind == "none":
        return None
    if kind == "given":
        if len(numbers) != len(classes):
            raise UsageError(
                f"--class-weights must have a weight for each of the {len(classes)} classes, "
                f"got {len(numbers)}"
            )
        return torch.tensor(numbers)
    counts = class_counts(targets, len(classes))
    if not bool((counts > 0).all()):
        empty = classes[int(counts.argmin())]
        raise UsageError(
            f"--class-weights {spec}: class {empty!r} has no label among the training images"
        )
    if kind == "balanced":
        weights = counts.sum() / (len(classes) * counts)
    else:
        beta = torch.tensor(numbers[0], dtype=torch.float64)
        # expm1: 1 - beta^n cancels where beta is close to 1.
        weights = (1 - beta) / -torch.expm1(counts * beta.log())
        weights = weights * len(classes) / weights.sum()
    return weights.float()
