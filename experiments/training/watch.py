"""Noticing that a run diverges, without waiting for the device at every step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

NEVER = -(2**62)


class Watch:
    """Looks at the loss of every step, on the device.

    Args:
        device: where the losses are.
        last_loss: the last loss that was a number, before this watch began.

    Attributes:
        last_loss: the last loss that was a number, a scalar; NaN if there was none.
    """

    def __init__(self, device: torch.device, last_loss: float | None = None) -> None:
        self._first_bad_step = torch.full((), -NEVER, dtype=torch.int64, device=device)
        start = math.nan if last_loss is None else last_loss
        self.last_loss = torch.full((), start, device=device)

    def note(self, loss: Tensor, step: int) -> None:
        """Look at the loss of a step."""
        finite = torch.isfinite(loss)
        bad = torch.where(finite, -NEVER, step)
        self._first_bad_step = torch.minimum(self._first_bad_step, bad)
        self.last_loss = torch.where(finite, loss, self.last_loss)

    @property
    def earliness(self) -> int:
        """Of the first non-finite loss, the larger the earlier; `NEVER` if there was none.

        The largest over the processes is that of the first step that any of them saw.
        """
        return -int(self._first_bad_step)
