"""Every metric once more, as a plain loop over examples: what the fast code is checked against."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np


class Plain:
    """The metrics of one set of logits, one example at a time, in Python's floats."""

    def __init__(self, logits, targets, temperature: float = 1.0):
        self.z = [[float(v) / temperature for v in row] for row in np.asarray(logits)]
        self.y = [int(t) for t in targets]
        self.n, self.classes = len(self.z), len(self.z[0])
        self.p = [self._softmax(row) for row in self.z]
        self.pred = [row.index(max(row)) for row in self.z]
        self.conf = [p[k] for p, k in zip(self.p, self.pred, strict=True)]
        self.hit = [float(k == y) for k, y in zip(self.pred, self.y, strict=True)]

    @staticmethod
    def _softmax(row):
        # numpy's exp and sum, so that confidences agree to the last bit and share their bins
        exponentials = np.exp(np.array(row) - max(row))
        return list(exponentials / exponentials.sum())

    def accuracy(self):
        return math.fsum(self.hit) / self.n

    def top5(self):
        inside = 0
        for row, y in zip(self.z, self.y, strict=True):
            ranking = sorted(range(self.classes), key=lambda c: (-row[c], c))
            inside += y in ranking[:5]
        return inside / self.n

    def nll(self):
        terms = []
        for row, y in zip(self.z, self.y, strict=True):
            top = max(row)
            terms.append(math.log(math.fsum(math.exp(v - top) for v in row)) + (top - row[y]))
        return math.fsum(terms) / self.n

    def brier(self):
        terms = [(p[c] - (c == y)) ** 2 for p, y in self._pairs() for c in range(self.classes)]
        return math.fsum(terms) / self.n

    def ece(self):
        return self._binned(self._width_bins(self.conf, self.hit), self.n)

    def mce(self):
        bins = self._width_bins(self.conf, self.hit)
        return max(abs(math.fsum(c - h for c, h in b) / len(b)) for b in bins if b)

    def classwise_ece(self):
        errors = []
        for c in range(self.classes):
            shares = [p[c] for p in self.p]
            errors.append(self._binned(self._width_bins(shares, [y == c for y in self.y]), self.n))
        return math.fsum(errors) / self.classes

    def ada_ece(self):
        return self._binned(self._mass_bins(15), self.n)

    def l2_debiased(self):
        total = 0.0
        for b in self._mass_bins(15):
            if len(b) > 1:
                gap = math.fsum(c - h for c, h in b) / len(b)
                acc = math.fsum(h for _, h in b) / len(b)
                total += len(b) / self.n * (gap**2 - acc * (1 - acc) / (len(b) - 1))
        return total

    def ece_sweep(self):
        best = 1
        for bins in range(2, self.n + 1):
            accuracies = [
                Fraction(int(sum(h for _, h in b)), len(b)) for b in self._mass_bins(bins)
            ]
            if any(later < earlier for earlier, later in pairwise(accuracies)):
                break
            best = bins
        return self._binned(self._mass_bins(best), self.n)

    def signed_gap(self):
        return math.fsum(self.conf) / self.n - self.accuracy()

    def doubts(self):
        """log(1 - conf), from the other classes' logits."""
        found = []
        for row, k in zip(self.z, self.pred, strict=True):
            rest = [v for c, v in enumerate(row) if c != k]
            second, top = max(rest), max(row)
            others = second + math.log(math.fsum(math.exp(v - second) for v in rest))
            found.append(others - top - math.log(math.fsum(math.exp(v - top) for v in row)))
        return found

    def risks(self):
        """Error among the k most confident; within a tie, its mean over all orders."""
        doubts = self.doubts()
        order = sorted(range(self.n), key=doubts.__getitem__)
        groups: list[list[int]] = []
        for i in order:
            close = groups and doubts[i] - doubts[groups[-1][-1]] <= 1e-12 * abs(doubts[i])
            if close:
                groups[-1].append(i)
            else:
                groups.append([i])
        risks, wrong, seen = [], 0.0, 0
        for group in groups:
            errors = sum(1 - self.hit[i] for i in group)
            for j in range(1, len(group) + 1):
                risks.append((wrong + errors * j / len(group)) / (seen + j))
            wrong, seen = wrong + errors, seen + len(group)
        return risks

    def aurc(self):
        return math.fsum(self.risks()) / self.n

    def e_aurc(self):
        hits = int(sum(self.hit))
        best = [max(0, k - hits) / k for k in range(1, self.n + 1)]
        return self.aurc() - math.fsum(best) / self.n

    def risk_at_80(self):
        k = next(k for k in range(1, self.n + 1) if 10 * k >= 8 * self.n)
        return self.risks()[k - 1]

    def coverage_at_5(self):
        fine = [k for k, risk in enumerate(self.risks(), start=1) if risk <= 0.05]
        return max(fine, default=0) / self.n

    def smoothed(self, sigma, grid=2**13):
        """smECE_sigma by the kernel itself: mirror images summed, trapezoids on the grid."""
        mass = np.zeros(grid + 1)
        for c, h in zip(self.conf, self.hit, strict=True):
            left = min(int(c * grid), grid - 1)
            share = c * grid - left
            mass[left] += (1 - share) * (c - h) / self.n
            mass[left + 1] += share * (c - h) / self.n
        t = np.arange(grid + 1) / grid
        density = np.zeros(grid + 1)
        images = range(-1 - math.ceil(9 * sigma), 2 + math.ceil(9 * sigma))
        for j in np.flatnonzero(mass):
            for k in images:
                for source in (2 * k + t[j], 2 * k - t[j]):
                    density += mass[j] * np.exp(-0.5 * ((t - source) / sigma) ** 2)
        density = np.abs(density) / (sigma * math.sqrt(2 * math.pi))
        return (density.sum() - (density[0] + density[-1]) / 2) / grid

    def _pairs(self):
        return zip(self.p, self.y, strict=True)

    @staticmethod
    def _width_bins(values, hits, bins=15):
        filled = [[] for _ in range(bins)]
        for value, hit in zip(values, hits, strict=True):
            inside = [b for b in range(bins) if b / bins < value <= (b + 1) / bins]
            filled[inside[0] if inside else 0].append((value, float(hit)))
        return filled

    def _mass_bins(self, bins):
        """Edges half-way between the neighbours at the cuts, each once; then (a, b]."""
        ordered = sorted(self.conf)
        edges, cut = set(), 0
        for b in range(min(bins, self.n) - 1):
            cut += self.n // bins + (b < self.n % bins) if bins <= self.n else 1
            edges.add((ordered[cut - 1] + ordered[cut]) / 2)
        edges = sorted(edges | {1.0})
        filled = [[] for _ in edges]
        for value, hit in zip(self.conf, self.hit, strict=True):
            filled[next(k for k, edge in enumerate(edges) if value <= edge)].append((value, hit))
        return [b for b in filled if b]

    @staticmethod
    def _binned(bins, n):
        return math.fsum(abs(math.fsum(c - h for c, h in b)) for b in bins) / n
