"""Random numbers as pure functions of named integers, without state.

Every draw of a run is ``bits(seed, stream, epoch, index, ...)``: whoever asks, in whichever
order, on whichever device or process, gets the same number. The mixing function is the
finaliser of SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number
generators"), applied once per name.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


class Stream(IntEnum):
    """What a draw is for: draws of different streams are independent."""

    SPLIT = 1
    ORDER = 2
    CROP_Y = 3
    CROP_X = 4
    FLIP = 5
    DROPOUT = 6
    IMBALANCE = 7
    SUBSET = 8
    NOISE = 9
    NOISE_CLASS = 10
    UNLABELLED = 11
    OPERATION = 12
    LEVEL = 13
    SIGN = 14
    CUTOUT_Y = 15
    CUTOUT_X = 16
    PARTNER = 17
    MIX_KIND = 18
    MIX_LAM = 19
    BOX_Y = 20
    BOX_X = 21
    CRITERION = 22


def _signed(value: int) -> int:
    """The int64 with the same 64 bits."""
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _mix(x: Tensor) -> Tensor:
    for shift, factor in _ROUNDS:
        x = (x ^ _shifted(x, shift)) * _signed(factor)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, by: int) -> Tensor:
    """Logical shift to the right (torch's is arithmetic)."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def bits(*names: int | Tensor) -> Tensor:
    """64 random bits for each tuple of names.

    Args:
        names: integers, or int64 tensors that broadcast together.

    Returns:
        int64, of the names' broadcast shape.
    """
    state = torch.zeros((), dtype=torch.int64)
    for name in names:
        if isinstance(name, Tensor):
            state = state.to(name.device)
        else:
            name = _signed(name)
        state = _mix(state + name + _signed(_GOLDEN))
    return state


def uniform(*names: int | Tensor) -> Tensor:
    """Uniform on [0, 1), float64 with 53 random bits, for each tuple of names."""
    return _shifted(bits(*names), 11).double() * 2.0**-53


def integers(high: int, *names: int | Tensor) -> Tensor:
    """Uniform on 0 ... high - 1, int64, for each tuple of names."""
    return (uniform(*names) * high).long()


def permuted(indices: Tensor, *names: int) -> Tensor:
    """The indices in random order.

    Each index is sorted by its own random key, so that leaving some indices out leaves the
    others in the same order.
    """
    return indices[bits(*names, indices).argsort(stable=True)]


def seed(*names: int) -> int:
    """A seed for torch's own generators, from 0 to 2**63 - 1."""
    return int(bits(*names)) & (_MASK >> 1)
