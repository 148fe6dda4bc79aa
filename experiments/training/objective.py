"""The loss of a whole batch, computed in shares by several processes and pieces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

import clsloss
from experiments.machine.distributed import summed


class Objective:
    """The mean loss over a batch, as a sum of what each process and piece contributes.

    A batch is divided over processes and, with ``--grad-accum``, into pieces. Means of the shares
    are not the mean of the batch where examples have weights or are ignored; so the divisor is
    summed over all shares first.

    - additive losses: sum(values) / sum(weights) over the batch, exactly;
    - losses that are ratios of sums over the batch (dice, tversky): their sums are added up over
      the processes before the ratio; the gradient is exact too;
    - losses that only map a batch to a number: the mean over shares, weighted by their sizes.

    Args:
        criterion: the loss.
        accelerator: the processes.
        temperature: T divides the logits, and T² multiplies the loss (see `teacher`).
    """

    def __init__(
        self, criterion: clsloss.Loss, accelerator: Accelerator, temperature: float = 1.0
    ) -> None:
        self.criterion, self.accelerator = criterion, accelerator
        self.temperature = temperature
        self.per_batch = criterion.per_batch
        self._divisor: Tensor | float = 0.0
        # Sums over the epoch: loss times weight, weight, correct predictions, labelled examples.
        self.sums = torch.zeros(4, dtype=torch.float64, device=accelerator.device)

    def begin(self, targets: Sequence[Tensor], examples: int) -> None:
        """Start a batch.

        Args:
            targets: the targets of this process's shares of the batch, a tensor a piece.
            examples: the number of examples in the whole batch.
        """
        if self.criterion.additive:
            weights = [self.criterion.example_weights(t).sum() for t in targets]
            total = summed(self.accelerator, torch.stack(weights).sum())
            # No example counts: the loss is 0, not 0/0.
            self._divisor = torch.where(total > 0, total, torch.ones_like(total))
        else:
            self._divisor = float(examples)

    def share(self, output: Tensor, targets: Tensor) -> Tensor:
        """This share's part of the batch's loss; the parts of all shares add up to it.

        Args:
            output: logits of the share, (n, C).
            targets: class indices (n,) or probabilities (n, C).
        """
        output = output.to(torch.promote_types(output.dtype, torch.float32))
        log_probs = self.criterion.input_kind == "log_probs"
        scores = F.log_softmax(output / self.temperature, 1) if log_probs else output
        if self.criterion.additive:
            values, weights = self.criterion.per_example(scores, targets)
            values = values * self.temperature**2
            part = values.sum() / self._divisor
            self._count(values.sum(), weights.sum(), output, targets)
        elif self.per_batch:
            # The mean of no examples is no number; the sum of no logits is 0.
            loss = self.criterion(scores, targets) if len(targets) else scores.sum()
            part = loss * len(targets) / self._divisor
            self._count(part * self._divisor, len(targets), output, targets)
        else:
            own = self.criterion.statistics(scores, targets)
            whole = own + (summed(self.accelerator, own) - own.detach())
            # Every process has the whole loss; each adds its share of the value, and the
            # gradient through its own statistics.
            loss = self.criterion.from_statistics(whole)
            processes = self.accelerator.num_processes
            part = loss - loss.detach() * (1 - 1 / processes)
            self._count(part * self._divisor, self._divisor / processes, output, targets)
        return part

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
        """Loss and accuracy over the epoch so far and all processes."""
        loss, weight, correct, labelled = summed(self.accelerator, self.sums).tolist()
        return {
            "train/loss": loss / weight if weight else 0.0,
            "train/accuracy": correct / labelled if labelled else 0.0,
        }
