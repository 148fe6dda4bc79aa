"""Bins of equal mass over confidences. Tied confidences share a bin.

The sorted confidences are cut as by `numpy.array_split`. Each cut sets an edge half-way between
its two neighbours, and equal edges are merged. Examples are then binned (a, b] by these edges.
Equal confidences therefore share a bin whatever the order of the rows, and a tie longer than a
bin reduces the number of bins.
"""

from functools import cached_property

import numpy as np

from analyze.metrics.predictions import Booleans, Floats, Integers

CHUNK = 2**16  # pairs of bins compared in one vectorized step; bounds the memory


class EqualMass:
    """Examples sorted by confidence, ready to be cut into bins.

    All sums are bit-identical for every order of the rows.

    Args:
        confidence: In [0, 1], float64, shape (N,).
        correct: bool, shape (N,).
    """

    def __init__(self, confidence: Floats, correct: Booleans) -> None:
        order = np.argsort(confidence, kind="stable")
        self.n = len(order)
        self.confidence: Floats = confidence[order]
        self._hits = np.concatenate(
            [[0], np.cumsum(correct[order])]
        )  # correct examples before each position
        edges = (self.confidence[:-1] + self.confidence[1:]) / 2
        inner = np.searchsorted(self.confidence, edges, side="right")
        self._cut = np.concatenate(
            [[0], inner, [self.n]]
        )  # where a cut at each position ends up after ties are merged

    def split(self, bins: int) -> tuple[Integers, Floats, Integers]:
        """Sizes, summed confidences and numbers of correct examples of the non-empty bins."""
        cuts = self._cuts(bins)
        sums = np.add.reduceat(self.confidence, cuts[:-1])
        return np.diff(cuts), sums, np.diff(self._hits[cuts])

    def monotone(self) -> int:
        """The largest b such that accuracy never falls from bin to bin with 1, 2, ... b bins."""
        falls = self._falls
        if not len(falls):
            return self.n
        for bins in range(2, min(len(falls), self.n) + 1):
            cuts = self._cuts(bins)
            if self._falling(cuts[:-2], cuts[1:-1], cuts[2:]).any():
                return bins - 1
        # From here on there are fewer falls than bins: check the bins around each fall only.
        first, width = max(2, len(falls) + 1), 16
        while first <= self.n:
            numbers = np.arange(first, min(first + width, self.n + 1))
            fallen = self._falls_near(falls, numbers)
            if fallen.any():
                return int(numbers[np.argmax(fallen)]) - 1
            first, width = first + width, max(1, min(2 * width, CHUNK // len(falls)))
        return self.n

    def _cuts(self, bins: int) -> Integers:
        """The distinct ends of the bins, including 0 and N."""
        bins = min(bins, self.n)
        return np.unique(self._cut[_place(np.arange(bins + 1), self.n, bins)])

    @cached_property
    def _falls(self) -> Integers:
        """The cuts at which accuracy falls between the smallest possible bins.

        Accuracy cannot fall between two neighbouring bins without such a cut inside or between
        them: every smallest bin of the first is at most as accurate as every one of the second.
        """
        cuts = self._cuts(self.n)
        falling = self._falling(cuts[:-2], cuts[1:-1], cuts[2:])
        return cuts[1:-1][falling]

    @cached_property
    def _before(self) -> tuple[Integers, Integers]:
        """For each position, the last place whose cut is at or before it, and before it."""
        positions = np.arange(self.n + 1)
        at_or_before = np.searchsorted(self._cut, positions, side="right") - 1
        return at_or_before, np.maximum(np.searchsorted(self._cut, positions) - 1, 0)

    def _falling(self, a: Integers, b: Integers, c: Integers) -> Booleans:
        """Whether accuracy falls from bin (a, b] to bin (b, c]; False if either is empty."""
        hits = self._hits
        # Cross-multiply: integers compare equal accuracies exactly.
        falls = np.less((hits[c] - hits[b]) * (b - a), (hits[b] - hits[a]) * (c - b))
        return np.asarray(falls)

    def _falls_near(self, falls: Integers, bins: Integers) -> Booleans:
        """For each number of bins, whether accuracy falls near any of these cuts."""
        last, below = self._before
        column = bins[:, None]

        def at_most(position: Integers) -> Integers:
            """The index of the last cut at or before a position."""
            return _number(last[position], self.n, column)

        def cut(number: Integers) -> Integers:
            positions: Integers = self._cut[_place(number, self.n, column)]
            return positions

        b = cut(at_most(falls[None, :]))
        c = cut(np.minimum(at_most(b) + 1, column))
        d = cut(np.minimum(at_most(c) + 1, column))
        a = cut(_number(below[b], self.n, column))
        return np.asarray(np.any(self._falling(a, b, c) | self._falling(b, c, d), axis=1))


def _place(number: Integers, n: int, bins: Integers | int) -> Integers:
    """Where `numpy.array_split` of n into bins makes its cuts, by index 0 ... bins."""
    place: Integers = number * (n // bins) + np.minimum(number, n % bins)
    return place


def _number(place: Integers, n: int, bins: Integers) -> Integers:
    """The index of the last cut at or before a place: the inverse of `_place`."""
    size, larger = n // bins, n % bins
    beyond = place - larger * (size + 1)
    number: Integers = np.where(beyond < 0, place // (size + 1), larger + beyond // size)
    return number
