"""95 % intervals for ratios of sums over sentences; the tokens of one sentence are not independent draws.

With c_s hits among n_s tokens of sentence s, the share is p = sum c_s / sum n_s and, to first order,

    var(p) = S / (S - 1) * sum_s (c_s - p n_s)^2 / (sum_s n_s)^2        (S sentences, the ratio estimator)

Shares get Wilson's interval at the effective number of tokens p (1 - p) / var(p), which stays inside [0, 1] and has a
width also at p = 1 (there the effective number is that of sentences).  Other means get p +- 1.96 sqrt(var).

Shape letters: S sentences (always last), C classes; ``...`` anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from physlm.errors import NotFiniteError
from physlm.measures.rows import Row
from physlm.places import Place

Floats = NDArray[np.float64]
Z = 1.959963984540054
UNSEEN = 3.688879454113936  # -log 0.025


class Intervals(NamedTuple):
    """Many of ``physlm.interval.Interval``, as arrays of one shape; NaN where nothing was counted."""

    value: Floats
    lo: Floats
    hi: Floats

    def row(self, quantity: str, n: int, at: tuple[int, ...] = (), unit: str = "1",
            where: Mapping[str, Place] | None = None) -> Row:
        """The one at an index of the arrays as a row of measures.csv."""
        value, lo, hi = (float(array[at]) for array in self)
        return Row(quantity, value, unit, n, lo, hi, where or {})


def share(hits: Floats, counts: Floats) -> Intervals:
    """The share of hits among tokens, clustered by sentence.

    Args:
        hits, counts: ``(..., S)``, broadcast against each other.
    """
    hits, counts = np.broadcast_arrays(np.asarray(hits, float), np.asarray(counts, float))
    total = counts.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = hits.sum(-1) / total
        residual = (hits - p[..., None] * counts) / total[..., None]
    return _wilson(p, _variance(residual), (counts > 0).sum(-1), total)


def balanced_share(hits: Floats, counts: Floats) -> Intervals:
    """Balanced accuracy: the mean over classes of the share of hits in that class, clustered by sentence.

    Args:
        hits, counts: ``(..., C, S)``; classes that never occur are left out.
    """
    hits, counts = np.broadcast_arrays(np.asarray(hits, float), np.asarray(counts, float))
    total = counts.sum(-1, keepdims=True)
    present = total > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(present, hits.sum(-1, keepdims=True) / total, 0.0)
        classes = present.sum(-2)[..., 0]
        p = recall[..., 0].sum(-1) / classes
        residual = np.where(present, (hits - recall * counts) / total, 0.0).sum(-2) / classes[..., None]
    return _wilson(p, _variance(residual), (counts.sum(-2) > 0).sum(-1), counts.sum((-1, -2)))


def count_mean(values: Floats | NDArray[np.int64]) -> Intervals:
    """The mean of independent counts, value +- 1.96 s / sqrt(n), not below 0.

    Where all n are equal there is no spread to be seen: the ends are those of a mean in which 3.69 of n differ by one,
    the 97.5 % Poisson bound on how many may be expected where none was seen.
    """
    value, lo, hi = difference_mean(values)
    return Intervals(value, np.maximum(lo, 0.0), hi)


def difference_mean(values: Floats | NDArray[np.int64]) -> Intervals:
    """The mean of differences of independent items; as wide as ``count_mean`` where none differs from another."""
    found = np.asarray(values, float)
    value, spread = found.mean(), found.std(ddof=1) if len(found) > 1 else 0.0
    half = Z * spread / np.sqrt(len(found)) if spread else UNSEEN / len(found)
    return Intervals(value, value - half, value + half)


class Ratio:
    """Streaming mean of sums over sentences: only moments are kept, so memory does not grow with the sentences.

    ``add(sums, counts)`` takes ``(B, ..., *rest)`` sums over the pairs of each of B sentences and ``(B, *rest)``
    numbers of pairs (the same for all of ``...``, for example heads).  A later batch may differ in its last length.
    """

    def __init__(self) -> None:
        self.sentences = 0
        self._moments: list[Floats] | None = None

    def add(self, sums: Floats, counts: Floats) -> None:
        """One more batch.  Raises NotFiniteError: a sum is NaN."""
        sums, counts = np.asarray(sums, float), np.asarray(counts, float)
        if np.isnan(sums).any():
            raise NotFiniteError("got a mean over sentences that is not finite")
        lead = sums.ndim - counts.ndim
        counts = counts.reshape(counts.shape[0], *(1,) * lead, *counts.shape[1:])
        new = [sums.sum(0), (sums**2).sum(0), (sums * counts).sum(0), counts.sum(0), (counts**2).sum(0)]
        old = self._moments
        self._moments = new if old is None else [_plus(a, b) for a, b in zip(old, new, strict=True)]
        self.sentences += len(sums)

    def pairs(self) -> Floats:
        """How many pairs went into each mean."""
        assert self._moments is not None, "nothing was added"
        return self._moments[3]

    def estimate(self) -> Intervals:
        """Means over all pairs, clustered by sentence."""
        assert self._moments is not None, "nothing was added"
        s, ss, sn, n, nn = self._moments
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = s / n
            spread = np.maximum(ss - 2 * mean * sn + mean**2 * nn, 0.0) / n**2
        half = Z * np.sqrt(spread * self.sentences / max(self.sentences - 1, 1))
        return Intervals(mean, mean - half, mean + half)


def _plus(a: Floats, b: Floats) -> Floats:
    """a + b, the one that is shorter in the last axis filled up with zeros."""
    longest = max(a.shape[-1], b.shape[-1]) if a.ndim else 0
    a, b = (np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, longest - x.shape[-1])]) if x.ndim else x for x in (a, b))
    return a + b


def _variance(residual: Floats) -> Floats:
    sentences = residual.shape[-1]
    result: Floats = (residual**2).sum(-1) * sentences / max(sentences - 1, 1)
    return result


def _wilson(p: Floats, variance: Floats, sentences: Floats, tokens: Floats) -> Intervals:
    """Wilson's interval at the effective number of independent tokens."""
    with np.errstate(invalid="ignore", divide="ignore"):
        effective = np.where(variance > 1e-15, np.minimum(p * (1 - p) / variance, tokens), sentences)
        z2 = Z * Z / effective
        centre = (p + z2 / 2) / (1 + z2)
        half = Z * np.sqrt(p * (1 - p) / effective + z2 / (4 * effective)) / (1 + z2)
        lo, hi = np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)
        return Intervals(p, np.minimum(lo, p), np.maximum(hi, p))
