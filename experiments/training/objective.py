"""The loss of a batch that is split over processes and micro-batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

import clsloss
from experiments.machine import distributed
from experiments.machine.distributed import summed


class Objective:
    """The mean loss over a batch, as a sum of contributions.

    A batch is split into the micro-batches of ``--grad-accum``, and each of these into one slice
    per process. Every slice makes one contribution. If examples have weights or are ignored, the
    mean of the slice means is not the mean over the batch. The divisor is therefore summed over
    all slices first.

    - Additive losses: sum(values) / sum(weights) over the batch. This is exact.
    - Ratios of sums over the batch (dice, tversky): the sums are added over the processes before
      the ratio is taken. The gradient is exact too.
    - Sums over pairs of examples: every process computes the loss of the whole batch, from the
      gathered outputs. The gradient is exact.
    - Losses that only map a batch to a number: the mean over slices, weighted by their sizes.

    Args:
        criterion: the loss.
        accelerator: the processes of the run.
        temperature: T divides the logits, and T² multiplies the loss (see `teacher`).
    """

    def __init__(
        self, criterion: clsloss.Loss, accelerator: Accelerator, temperature: float = 1.0
    ) -> None:
        self.criterion, self.accelerator = criterion, accelerator
        self.temperature = temperature
        self.per_batch = criterion.per_batch
        self._divisor: Tensor | float = 0.0
        self._examples = 0  # of the whole batch
        # Epoch sums of: loss times weight, weight, correct predictions, labelled examples.
        self.sums = torch.zeros(4, dtype=torch.float64, device=accelerator.device)

    def begin(self, targets: Sequence[Tensor], examples: int) -> None:
        """Start a batch.

        Args:
            targets: targets of this process's slices, one tensor per micro-batch.
            examples: number of examples in the whole batch.
        """
        if self.criterion.additive:
            weights = [self.criterion.example_weights(t).sum() for t in targets]
            total = summed(self.accelerator, torch.stack(weights).sum())
            # If no example counts, the loss is 0 rather than 0/0.
            self._divisor = torch.where(total > 0, total, torch.ones_like(total))
        else:
            self._divisor = float(examples)
        self._examples = examples

    def contribution(self, output: Tensor, targets: Tensor) -> Tensor:
        """What a slice contributes to the loss of the batch.

        Args:
            output: logits of the slice, (n, C).
            targets: class indices (n,) or probabilities (n, C).
        """
        # float16 and bfloat16 are widened to float32: a loss needs the precision.
        output = output.to(torch.promote_types(output.dtype, torch.float32))
        log_probs = self.criterion.input_kind == "log_probs"
        scores = F.log_softmax(output / self.temperature, 1) if log_probs else output
        if self.criterion.additive:
            values, weights = self.criterion.per_example(scores, targets)
            values = values * self.temperature**2
            contribution = values.sum() / self._divisor
            self._count(values.sum(), weights.sum(), output, targets)
        elif self.criterion.pairwise:
            processes = self.accelerator.num_processes
            # Every process computes the loss of the whole batch, and contributes 1/P of it. Its
            # own outputs get a gradient P times as large, since no other process has it; the
            # parameters of the loss do not, since all have theirs.
            own = scores + (processes - 1) * (scores - scores.detach())
            rows = distributed.joined(self.accelerator, own, self._examples)
            labels = distributed.gathered(self.accelerator, targets, self._examples)
            contribution = self.criterion(rows, labels) / processes
            weight = self._divisor / processes
            self._count(contribution * self._divisor, weight, output, targets)
        elif self.per_batch:
            # The mean over an empty slice is NaN. The sum of its logits is 0 and keeps the graph.
            loss = self.criterion(scores, targets) if len(targets) else scores.sum()
            contribution = loss * len(targets) / self._divisor
            self._count(contribution * self._divisor, len(targets), output, targets)
        else:
            own = self.criterion.statistics(scores, targets)
            total = own + (summed(self.accelerator, own) - own.detach())
            # Every process computes the loss of the whole batch. It contributes 1/P of the value,
            # and the gradient through its own statistics.
            loss = self.criterion.from_statistics(total)
            processes = self.accelerator.num_processes
            contribution = loss - loss.detach() * (1 - 1 / processes)
            self._count(contribution * self._divisor, self._divisor / processes, output, targets)
        return contribution

    @torch.no_grad()
    def _count(
        self, loss: Tensor, weight: Tensor | float, output: Tensor, targets: Tensor
    ) -> None:
        labels = targets.argmax(1) if targets.is_floating_point() else targets
        correct = (output.argmax(1) == labels).sum()
        labelled = (labels >= 0).sum()
        if not isinstance(weight, Tensor):
            weight = torch.full_like(loss, weight)
        self.sums += torch.stack([s.double() for s in (loss, weight, correct, labelled)])

    def epoch_means(self) -> dict[str, float]:
        """Training loss and accuracy over the epoch so far, over all processes."""
        loss, weight, correct, labelled = summed(self.accelerator, self.sums).tolist()
        return {
            "train/loss": loss / weight if weight else 0.0,
            "train/accuracy": correct / labelled if labelled else 0.0,
        }
