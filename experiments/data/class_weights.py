"""Class weights from the number of labels of each class."""

from __future__ import annotations

import torch
from torch import Tensor

from analyze.errors import UsageError
from experiments.data.labels import class_counts
from experiments.values import parse_class_weights


def resolve(spec: str, targets: Tensor, classes: tuple[str, ...]) -> Tensor | None:
    """Compute the class weights that ``--class-weights`` asks for.

    With n_c labels of class c, n labels in total and C classes:

    - ``balanced``: n / (C n_c). The mean over the labels is 1.
    - ``effective:BETA``: (1 - beta) / (1 - beta^n_c), scaled to sum to C (Cui et al. 2019,
      Class-Balanced Loss Based on Effective Number of Samples, arXiv:1901.05555). With beta = 0,
      all weights are equal; as beta -> 1, they become inversely proportional to n_c.
    - Numbers: the weights themselves.

    Args:
        spec: value of the option.
        targets: training targets: class indices, int64, (N,), or probabilities (N, C). For
            probabilities, n_c is the sum of column c.
        classes: names of the classes.

    Returns:
        float32, (C,), or None for ``none``.

    Raises:
        UsageError: if the number of weights is not the number of classes, or a class has no label.
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
        # expm1 avoids the cancellation in 1 - beta^n for beta close to 1.
        weights = (1 - beta) / -torch.expm1(counts * beta.log())
        weights = weights * len(classes) / weights.sum()
    return weights.float()
