"""A number with its 95 % interval, and how intervals are put together without the raw data.

An interval says what it *covers*: the chance of the ``items`` that were measured (questions, people, strings), that of
the ``seeds`` a model was trained from, that of the ``models`` that were chosen or fitted, several of these, or
``nothing``, where the number is exact.

    mean of k runs    within: each run's half-widths, sqrt(sum w_i^2) / k (runs err independently);
                      between, for k >= 2: t(k - 1) s / sqrt(k) with s the spread over runs.  On each side the wider
                      of the two counts, so that the interval holds both.
    contrast          sum c_i x_i of independent numbers: sqrt(sum (c_i w_i)^2); of numbers measured on the same
                      sentences, whose errors go together in a way that the table does not know: sum |c_i| w_i, which
                      no correlation can exceed.
    ratio             a / b: opposite ends are divided; None where b may be 0.
    least of k        [min lo_i, min hi'_i], hi' widened to level 1 - 0.05 / k (Bonferroni).  The least true value is
                      above the lower end whenever that one number's interval is, and below the upper end whenever
                      all are: at least 95 % for any correlation, although the least of noisy numbers leans downwards.
    most of k         the same upside down: [max lo'_i, max hi_i].
    median of k       [median lo'_i, median hi'_i], both widened to level 1 - 0.05 / k: the median of the true values
                      is between them whenever each true value is in its own interval, since a median never falls
                      when a number rises.  At least 95 % for any correlation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
COVERED = ("items", "seeds", "models")  # in the order in which they are named
NOTHING = "nothing"


@dataclass(frozen=True)
class Interval:
    """A number, its 95 % interval, and what it rests on.

    Attributes:
        value, lo, hi: none of them finite, where nothing was measured.
        n: items that it was measured on, summed over runs.
        runs: trained models that it is a mean over.
        covers: of ``COVERED``, joined by " and "; or ``NOTHING``.
    """

    value: float
    lo: float
    hi: float
    n: int
    runs: int = 1
    covers: str = "items"

    def __post_init__(self) -> None:
        assert self.covers == NOTHING or set(self.covers.split(" and ")) <= set(COVERED), self.covers

    @classmethod
    def exact(cls, value: float, n: int = 1) -> Interval:
        """A number without a chance in it."""
        return cls(value, value, value, n, covers=NOTHING)

    @property
    def down(self) -> float:
        """Half-width of the interval below the value."""
        return max(self.value - self.lo, 0.0)

    @property
    def up(self) -> float:
        """Half-width above it."""
        return max(self.hi - self.value, 0.0)

    @property
    def finite(self) -> bool:
        """Whether the number and both ends are numbers."""
        return all(map(math.isfinite, (self.value, self.lo, self.hi)))


def covering(*covers: str) -> str:
    """What an interval covers that holds others, which cover these."""
    parts = {part for text in covers for part in text.split(" and ")}
    return " and ".join(part for part in COVERED if part in parts) or NOTHING


def mean_of_runs(runs: Sequence[Interval], share: bool = False, over: str = "seeds") -> Interval:
    """The mean over runs, see the top of this page; one run is returned as it is.

    Args:
        share: the numbers are shares: the interval ends at 0 and 1.
        over: in which of ``COVERED`` the runs differ.
    """
    if len(runs) == 1:
        return runs[0]
    from scipy.special import stdtrit  # half a second, which the command line need not wait for at its start

    k, values = len(runs), np.array([run.value for run in runs])
    value = float(values.mean())
    spread = float(stdtrit(k - 1, 0.5 + LEVEL / 2.0) * values.std(ddof=1)) / math.sqrt(k)
    down = max(math.hypot(*(run.down for run in runs)) / k, spread)
    up = max(math.hypot(*(run.up for run in runs)) / k, spread)
    lo, hi = value - down, value + up
    if share:
        lo, hi = max(lo, min(0.0, value)), min(hi, max(1.0, value))
    return Interval(value, lo, hi, sum(run.n for run in runs), sum(run.runs for run in runs),
                    covering(over, *(run.covers for run in runs)))


def contrast(terms: Sequence[tuple[float, Interval]], independent: bool) -> Interval:
    """sum c x over the terms (c, x), see the top of this page; n and runs are those of the smallest term."""
    value = sum(c * x.value for c, x in terms)
    down = [abs(c) * (x.down if c > 0 else x.up) for c, x in terms]
    up = [abs(c) * (x.up if c > 0 else x.down) for c, x in terms]
    widths = (math.hypot(*down), math.hypot(*up)) if independent else (sum(down), sum(up))
    return _of([x for _, x in terms], value, value - widths[0], value + widths[1])


def difference(a: Interval, b: Interval, independent: bool) -> Interval:
    """a - b."""
    return contrast([(1.0, a), (-1.0, b)], independent)


def mean_of(parts: Sequence[Interval]) -> Interval:
    """The mean of numbers that were measured on the same sentences."""
    return contrast([(1.0 / len(parts), part) for part in parts], independent=False)


def ratio(a: Interval, b: Interval | None) -> Interval | None:
    """a / b of numbers that are not negative, opposite ends divided; None where b may be 0."""
    if b is None or b.lo <= 0:
        return None
    return _of([a, b], a.value / b.value, a.lo / b.hi, a.hi / b.lo)


def least(parts: Sequence[Interval], share: bool = False) -> Interval:
    """The smallest of k numbers, see the top of this page; shares end at 1."""
    wider = _bonferroni(len(parts))
    value, hi = min(part.value for part in parts), min(part.value + wider * part.up for part in parts)
    return _of(parts, value, min(part.lo for part in parts), min(hi, max(1.0, value)) if share else hi)


def most(parts: Sequence[Interval], share: bool = False) -> Interval:
    """The largest of k numbers, see the top of this page; shares begin at 0."""
    wider = _bonferroni(len(parts))
    value, lo = max(part.value for part in parts), max(part.value - wider * part.down for part in parts)
    return _of(parts, value, max(lo, min(0.0, value)) if share else lo, max(part.hi for part in parts))


def median(parts: Sequence[Interval], share: bool = False) -> Interval:
    """The median of k numbers (of an even k: the mean of the middle two), see the top of this page; shares stay
    between 0 and 1."""
    wider = _bonferroni(len(parts))
    value = float(np.median([part.value for part in parts]))
    lo = float(np.median([part.value - wider * part.down for part in parts]))
    hi = float(np.median([part.value + wider * part.up for part in parts]))
    if share:
        lo, hi = max(lo, min(0.0, value)), min(hi, max(1.0, value))
    return _of(parts, value, lo, hi)


EXTREMES: dict[str, Callable[[Sequence[Interval], bool], Interval]] = {"least": least, "most": most, "median": median}


def _of(parts: Sequence[Interval], value: float, lo: float, hi: float) -> Interval:
    """A number made of others, which rests on as little as the weakest of them does."""
    return Interval(value, lo, hi, min(part.n for part in parts), min(part.runs for part in parts),
                    covering(*(part.covers for part in parts)))


def _bonferroni(k: int) -> float:
    """By how much half-widths at the level 0.95 grow at the level 1 - 0.05 / k."""
    normal = NormalDist()
    return normal.inv_cdf(1.0 - (1.0 - LEVEL) / (2 * k)) / normal.inv_cdf(0.5 + LEVEL / 2.0)
