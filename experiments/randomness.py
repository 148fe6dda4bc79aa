"""Random numbers as pure functions of integers, without state.

Every draw of a run is ``bits(seed, stream, epoch, index, ...)``. It does not depend on the order
of the draws, the device or the process. The mixing function is the finaliser of SplitMix64
(Steele, Lea & Flood 2014, Fast splittable pseudorandom number generators,
doi:10.1145/2660193.2660195), applied once per integer.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


class Stream(IntEnum):
    """The purpose of a draw. Draws of different streams are independent."""

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
    """Logical shift to the right. That of torch is arithmetic: it copies the sign bit."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def bits(*names: int | Tensor) -> Tensor:
    """Draw 64 random bits for each tuple of names.

    Args:
        names: integers, or int64 tensors that broadcast together.

    Returns:
        int64, of the broadcast shape of the names.
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
    """Draw from [0, 1) for each tuple of names: float64, with 53 random bits."""
    return _shifted(bits(*names), 11).double() * 2.0**-53


def integers(high: int, *names: int | Tensor) -> Tensor:
    """Draw integers from 0 to high - 1 for each tuple of names: int64."""
    return (uniform(*names) * high).long()


def permuted(indices: Tensor, *names: int) -> Tensor:
    """Permute the indices.

    Each index has its own random key. Leaving out some indices therefore keeps the order of the
    others.
    """
    return indices[bits(*names, indices).argsort(stable=True)]


def seed(*names: int) -> int:
    """Derive a seed for the generators of torch, from 0 to 2**63 - 1."""
    return int(bits(*names)) & (_MASK >> 1)
