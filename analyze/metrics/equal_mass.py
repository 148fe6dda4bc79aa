"""Bins of equal mass over confidences, which never split a tie.

The sorted confidences are cut as `numpy.array_split` does. At each cut the edge lies half-way
between the two neighbouring values, equal edges count once, and the examples are binned by the
edges, (a, b]: those of one confidence are in one bin, whatever the order of the rows. There are
fewer bins where a tie is longer than a bin.
"""

from functools import cached_property

import numpy as np

from analyze.metrics.predictions import Booleans, Floats, Integers

AT_ONCE = 2**16  # pairs of bins that are compared together


class EqualMass:
    """The examples in the order of their confidence, to be cut into bins.

    All sums are the same to the last bit for every order of the rows.

    Args:
        confidence: In [0, 1], float64, shape (N,).
        correct: bool, shape (N,).
    """

    def __init__(self, confidence: Floats, correct: Booleans) -> None:
        order = np.argsort(confidence, kind="stable")
        self.n = len(order)
        self.confidence: Floats = confidence[order]
        self._hits = np.concatenate([[0], np.cumsum(correct[order])])  # before each position
        edges = (self.confidence[:-1] + self.confidence[1:]) / 2
        inner = np.searchsorted(self.confidence, edges, side="right")
        self._cut = np.concatenate([[0], inner, [self.n]])  # where a cut at each position falls

    def split(self, bins: int) -> tuple[Integers, Floats, Integers]:
        """The sizes, summed confidences and hits of the bins in use."""
        cuts = self._cuts(bins)
        sums = np.add.reduceat(self.confidence, cuts[:-1])
        return np.diff(cuts), sums, np.diff(self._hits[cuts])

    def monotone(self) -> int:
        """The largest b such that with 1, 2, ... b bins accuracy never falls from bin to bin."""
        falls = self._falls
        if not len(falls):
            return self.n
        for bins in range(2, min(len(falls), self.n) + 1):
            cuts = self._cuts(bins)
            if self._falling(cuts[:-2], cuts[1:-1], cuts[2:]).any():
                return bins - 1
        # from here on there are fewer places to look at than bins
        first, width = max(2, len(falls) + 1), 16
        while first <= self.n:
            numbers = np.arange(first, min(first + width, self.n + 1))
            found = self._falls_near(falls, numbers)
            if found.any():
                return int(numbers[np.argmax(found)]) - 1
            first, width = first + width, max(1, min(2 * width, AT_ONCE // len(falls)))
        return self.n

    def _cuts(self, bins: int) -> Integers:
        """The ends of the bins, 0 and N included, each once."""
        bins = min(bins, self.n)
        return np.unique(self._cut[_place(np.arange(bins + 1), self.n, bins)])

    @cached_property
    def _falls(self) -> Integers:
        """The cuts at which accuracy falls where bins are as small as they can be.

        Two neighbouring bins without such a cut inside or between them never fall: each of the
        first's smallest bins is at most as accurate as each of the second's.
        """
        cuts = self._cuts(self.n)
        falling = self._falling(cuts[:-2], cuts[1:-1], cuts[2:])
        return cuts[1:-1][falling]

    @cached_property
    def _before(self) -> tuple[Integers, Integers]:
        """For each position the last place whose cut falls at or before it, and before it."""
        positions = np.arange(self.n + 1)
        at_or_before = np.searchsorted(self._cut, positions, side="right") - 1
        return at_or_before, np.maximum(np.searchsorted(self._cut, positions) - 1, 0)

    def _falling(self, a: Integers, b: Integers, c: Integers) -> Booleans:
        """Whether accuracy falls from the bin (a, b] to the bin (b, c]; not if one is empty."""
        hits = self._hits
        # cross-multiplied: integers compare equal accuracies exactly
        found = np.less((hits[c] - hits[b]) * (b - a), (hits[b] - hits[a]) * (c - b))
        return np.asarray(found)

    def _falls_near(self, falls: Integers, bins: Integers) -> Booleans:
        """For each number of bins, whether accuracy falls around one of these cuts."""
        last, below = self._before
        column = bins[:, None]

        def at_most(position: Integers) -> Integers:
            """The number of the last cut of these bins that falls at or before a position."""
            return _number(last[position], self.n, column)

        def cut(number: Integers) -> Integers:
            found: Integers = self._cut[_place(number, self.n, column)]
            return found

        b = cut(at_most(falls[None, :]))
        c = cut(np.minimum(at_most(b) + 1, column))
        d = cut(np.minimum(at_most(c) + 1, column))
        a = cut(_number(below[b], self.n, column))
        return np.asarray(np.any(self._falling(a, b, c) | self._falling(b, c, d), axis=1))


def _place(number: Integers, n: int, bins: Integers | int) -> Integers:
    """Where `array_split` of n into bins makes its cuts of these numbers, 0 ... bins."""
    found: Integers = number * (n // bins) + np.minimum(number, n % bins)
    return found


def _number(place: Integers, n: int, bins: Integers) -> Integers:
    """The number of the last cut at or before a place: the inverse of `_place`."""
    size, larger = n // bins, n % bins
    beyond = place - larger * (size + 1)
    found: Integers = np.where(beyond < 0, place // (size + 1), larger + beyond // size)
    return found
