"""Detect divergence without waiting for the device at every step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

NEVER = 2**62  # later than any step


class Watch:
    """Checks the loss of every step, on the device.

    Args:
        device: device of the losses.
        last_loss: the last finite loss before this watch began.

    Attributes:
        last_loss: the last finite loss, a scalar tensor; NaN if there was none.
    """

    def __init__(self, device: torch.device, last_loss: float | None = None) -> None:
        self._first_nonfinite_step = torch.full((), NEVER, dtype=torch.int64, device=device)
        start = math.nan if last_loss is None else last_loss
        self.last_loss = torch.full((), start, device=device)

    def note(self, loss: Tensor, step: int) -> None:
        """Check the loss of a step."""
        finite = torch.isfinite(loss)
        nonfinite_step = torch.where(finite, NEVER, step)
        self._first_nonfinite_step = torch.minimum(self._first_nonfinite_step, nonfinite_step)
        self.last_loss = torch.where(finite, loss, self.last_loss)

    @property
    def first_nonfinite_step(self) -> int:
        """The step of the first non-finite loss, or `NEVER`; reading it waits for the device."""
        return int(self._first_nonfinite_step)
