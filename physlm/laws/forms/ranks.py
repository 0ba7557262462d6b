"""Whether a number follows a setting, whatever its other settings: the correlation of ranks, and one rising curve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from physlm.interval import Interval
from physlm.laws import bootstrap, cells
from physlm.laws.cells import Key
from physlm.laws.forms.form import Cells, Form, check_keys, number_of, part_of

Floats = NDArray[np.float64]
LEAST, RESAMPLES = 4, 1000  # settings; resamples


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho between a form and one of its keys, whose values are numbers, over settings.

    The interval is a bootstrap over settings, each moved by its own error.  A group of fewer than four settings, or of
    one value of x, or whose numbers are all the same, has none.

    Attributes:
        x: one of ``of.keys``.
        over: the keys that the settings differ in besides x; without any, all others.
    """

    name: str
    of: Form
    x: str
    over: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_keys(self.name, "x, over", (self.x, *self.over), self.of.keys)

    @property
    def unit(self) -> str:
        """A correlation has none."""
        return "1"

    @property
    def keys(self) -> tuple[str, ...]:
        """The settings that groups are made by."""
        return tuple(key for key in self.of.keys if self.over and key not in (self.x, *self.over))

    def cells(self, table: pd.DataFrame) -> Cells:
        """The correlations, by group."""
        found: Cells = {}
        for key, (x, parts, _) in _groups(self.of, self.x, self.keys, table).items():
            values = np.array([one.value for one in parts])
            if len(values) < LEAST or len({*x}) < 2 or len({*values}) < 2:
                continue
            samples = np.array([_spearman(x[at], moved) for at, moved in _resampled(self.name, parts)])
            rho = _spearman(x, values)
            lo, hi = bootstrap.percentile_interval(samples[np.isfinite(samples)], rho)
            found[key] = Interval(rho, lo, hi, len(parts), min(one.runs for one in parts), "models")
        return found

    def note(self) -> str:
        """How it is made."""
        return (f"{cells.named(self.name, '/'.join(self.keys))}: Spearman's rank correlation of {self.of.name} with "
                f"{self.x} over settings, bootstrap over settings and their errors; n counts settings.")


@dataclass(frozen=True)
class OffCurve:
    """How far the settings of one kind lie above or below one rising curve of x through all others, on average.

    The curve is the isotonic regression of a form on one of its keys over all other kinds: of all curves that never
    fall the one with the least squares.  A kind is not fitted itself, or it would draw the curve to where it is.  What
    lies between the curve's values at the next smaller and the next larger x of the others is on a rising curve, at a
    distance of 0; what is beyond them is as far off as to the nearer one.  A setting beyond all x of the others to
    which a rising curve may go says nothing and does not count; a kind without others that count has no number.  The
    interval comes from the settings' own errors, with the curve fitted anew each time.

    Attributes:
        x: one of ``of.keys``, whose values are numbers.
        along: the one that makes kinds.
    """

    name: str
    of: Form
    x: str
    along: str

    def __post_init__(self) -> None:
        check_keys(self.name, "x, along", (self.x, self.along), self.of.keys)

    @property
    def unit(self) -> str:
        """That of the numbers."""
        return self.of.unit

    @property
    def keys(self) -> tuple[str, ...]:
        """The kind, and the settings that curves are made by."""
        return tuple(key for key in self.of.keys if key != self.x)

    def cells(self, table: pd.DataFrame) -> Cells:
        """The mean distances, by kind."""
        groups = tuple(key for key in self.keys if key != self.along)
        found: Cells = {}
        for key, (x, parts, keys) in _groups(self.of, self.x, groups, table).items():
            if len(parts) < LEAST or len({*x}) < 2:
                continue
            kinds = [one[self.of.keys.index(self.along)] for one in keys]
            values = np.array([one.value for one in parts])
            lows, highs = (np.array([getattr(one, end) for one in parts]) for end in ("lo", "hi"))
            errors = bootstrap.standard_error(lows, highs)
            draws = bootstrap.generator(0, self.name).standard_normal((RESAMPLES // 4, len(values)))
            for kind in dict.fromkeys(kinds):
                mine = np.array([one == kind for one in kinds])
                if mine.all():
                    continue
                off, within = _off_others(x, values, mine)
                told = within | (off != 0.0)
                if not told.any():
                    continue
                samples = np.array([_off_others(x, moved, mine)[0][told].mean() for moved in values + errors * draws])
                mean = float(off[told].mean())
                lo, hi = bootstrap.percentile_interval(samples, mean)
                place = {**dict(zip(groups, key, strict=True)), self.along: kind}
                own = [parts[at] for at in np.flatnonzero(mine)[told]]
                found[tuple(place[name] for name in self.keys)] = Interval(
                    mean, lo, hi, len(own), min(one.runs for one in own), "items and seeds")
        return found

    def note(self) -> str:
        """How it is made."""
        return (f"{cells.named(self.name, '/'.join(self.keys))}: the mean of {self.of.name} minus one rising curve of "
                f"{self.x} through all others (isotonic regression), from the numbers' own errors; n counts settings.")


Group = tuple[Floats, list[Interval], list[Key]]


def _groups(of: Form, x: str, by: tuple[str, ...], table: pd.DataFrame) -> dict[Key, Group]:
    """x, the intervals and the keys of the cells of each group."""
    grouped: dict[Key, list[tuple[float, Interval, Key]]] = {}
    place = of.keys.index(x)
    for key, one in of.cells(table).items():
        grouped.setdefault(part_of(key, of.keys, by), []).append((number_of(of.name, x, key[place]), one, key))
    return {key: (np.array([at for at, _, _ in found]), [one for _, one, _ in found], [own for _, _, own in found])
            for key, found in grouped.items()}


def _resampled(name: str, parts: list[Interval]) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Settings drawn with replacement, each with its number moved by its error."""
    values, lo, hi = (np.array([getattr(one, end) for one in parts]) for end in ("value", "lo", "hi"))
    errors, rng = bootstrap.standard_error(lo, hi), bootstrap.generator(0, name)
    drawn = rng.integers(len(values), size=(RESAMPLES, len(values)))
    moved = values[drawn] + errors[drawn] * rng.standard_normal(drawn.shape)
    yield from zip(drawn, moved, strict=True)


def _spearman(x: Floats, y: Floats) -> float:
    """The correlation of ranks, ties at their mean rank; NaN where one of the two is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(one) - (len(one) + 1) / 2 for one in (x, y)]
    scale = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum()) / scale if scale > 0 else float("nan")


def _off_others(x: Floats, y: Floats, mine: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """How far each of mine is off the rising curve of the others, and whether it is within their x."""
    places, fitted = _rising(x[~mine], y[~mine])
    low = np.append(-np.inf, fitted)[np.searchsorted(places, x[mine], side="right")]
    high = np.append(fitted, np.inf)[np.searchsorted(places, x[mine], side="left")]
    off: Floats = y[mine] - np.clip(y[mine], low, high)
    return off, np.isfinite(low) & np.isfinite(high)


def _rising(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """The isotonic regression of y on x: each x once, rising, and the value there."""
    from scipy.optimize import isotonic_regression

    places, which, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(which, y) / counts
    fitted: Floats = isotonic_regression(means, weights=counts).x
    return places, fitted
