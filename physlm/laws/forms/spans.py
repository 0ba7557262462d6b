"""How much room a setting leaves: over how many factors of two of it a number stays near its best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from physlm import interval
from physlm.errors import UserError
from physlm.interval import Interval
from physlm.laws import cells
from physlm.laws.cells import Key
from physlm.laws.diverged import Settings, told_diverged
from physlm.laws.forms.form import Cells, check_keys, part_of
from physlm.laws.forms.reach import crossing
from physlm.laws.forms.shares import Shares, Taken, mean_over

DOUBLINGS = "factors of two"
Curve = list[tuple[float, Interval | None]]  # rising values of the setting; None: no run there


@dataclass(frozen=True)
class Span:
    """log2 of the largest over the smallest value of a setting, such as learning rates, around the best one at which a
    number is at least ``share`` of its best; seed by seed, then averaged.

    To each side the span ends where the number first falls below that; between two values of the setting the number is
    taken as a straight line over the logarithm of the setting.  A run that diverged has 0
    there.  A seed that lacks a run which did not diverge, as it is not finished, has no span; nor has one whose best is
    not above 0.  Where the number does not fall before the first or the last
    value that any setting has, the span ends there: a lower bound, as its remark says.  Ends of the runs' intervals
    give ends of theirs.

    Attributes:
        along: one of ``of.keys``, whose values are numbers above 0.
        share: of the best number of the same seed; above 0 and below 1.
    """

    name: str
    of: Shares
    along: str
    share: float = 0.5

    def __post_init__(self) -> None:
        check_keys(self.name, "along", (self.along,), self.of.keys)
        if not 0.0 < self.share < 1.0:
            raise UserError(f"{self.name}: share: got {self.share}, expected above 0 and below 1")

    @property
    def unit(self) -> str:
        """The logarithm to the base of two."""
        return DOUBLINGS

    @property
    def keys(self) -> tuple[str, ...]:
        """The other settings."""
        return tuple(key for key in self.of.keys if key != self.along)

    def cells(self, table: pd.DataFrame) -> Cells:
        """The spans, by the other settings."""
        return {key: mean_over([self._span(curve, run) for run, curve in curves], share=False)
                for key, curves in self._curves(table).items()}

    def remarks(self, table: pd.DataFrame) -> dict[Key, str]:
        """Which spans end at the first or the last value that was tried, for some seed."""
        found = {}
        for key, curves in self._curves(table).items():
            ends = {name for _, curve in curves for name, (_, one) in (("smallest", curve[0]), ("largest", curve[-1]))
                    if one is not None and one.value >= self.share * _best(curve)}
            if ends:
                found[key] = f"{' and '.join(sorted(ends, reverse=True))} {self.along.replace('_', ' ')} within: more"
        return found

    def note(self) -> str:
        """How it is made."""
        return (f"{cells.named(self.name, '/'.join(self.keys))}: factors of two of {self.along} around the best, "
                f"within which {self.of.name} is at least {self.share:g} of its best, seed by seed, on straight lines "
                "over its logarithm; what diverged counts as 0, "
                "and a seed with runs that are not finished does not count.")

    def _curves(self, table: pd.DataFrame) -> dict[Key, list[tuple[Taken, Curve]]]:
        """For each other setting and seed a run, and the numbers at all values that any run has, where none is missing.
        """
        place, taken = self.of.keys.index(self.along), self.of.by_run(table)
        column, diverged = self.of.columns[place], told_diverged(table)
        # of all models, those among them that do not count here: one may have a few of its runs finished alone
        tried = [*table.loc[table["quantity"] == self.of.quantity, column], *(
            one[column] for one in diverged if column in one)]
        values = sorted({float(value) for value in tried})
        found: dict[Key, dict[tuple[str, ...], list[Taken]]] = {}
        for one in taken:
            found.setdefault(part_of(one.key, self.of.keys, self.keys), {}).setdefault(one.seeds, []).append(one)
        rows = table.drop_duplicates("run").set_index("run")
        lost = {run: _lost(rows.loc[run].to_dict(), column, diverged) for run in {one.run for one in taken}}
        every = {key: [(runs[0]._replace(key=key), _curve(runs, place, values)) for runs in seeds.values()]
                 for key, seeds in found.items()}
        every = {key: [(run, curve) for run, curve in curves
                       if all(one is not None or value in lost[run.run] for value, one in curve)]
                 for key, curves in every.items()}
        learnt = {key: [one for one in curves if _best(one[1]) > 0] for key, curves in every.items()}
        return {key: curves for key, curves in learnt.items() if curves}

    def _span(self, curve: Curve, run: Taken) -> Taken:
        """That of one seed."""
        level = self.share * _best(curve)
        value, lo, hi = (self._width(curve, end, level) for end in ("value", "lo", "hi"))
        found = [one for _, one in curve if one is not None]
        return run._replace(found=Interval(value, min(lo, value), max(hi, value), min(one.n for one in found),
                                           covers=interval.covering(*(one.covers for one in found))))

    def _width(self, curve: Curve, end: str, level: float) -> float:
        """The span of the values, or of ends of their intervals."""
        numbers = [0.0 if one is None else float(getattr(one, end)) for _, one in curve]
        at = max(range(len(curve)), key=lambda place: -1.0 if (one := curve[place][1]) is None else one.value)
        places = [value for value, _ in curve]
        right = crossing(places[at:], numbers[at:], level, places[at])
        # to the other side on turned-over values, which rise
        left = 1 / crossing([1 / value for value in places[at::-1]], numbers[at::-1], level, 1 / places[at])
        return math.log2(right / left)


def _curve(runs: Sequence[Taken], place: int, values: Sequence[float]) -> Curve:
    """The numbers of one seed at all values."""
    by_value = {float(str(one.key[place])): one.found for one in runs}
    return [(value, by_value.get(value)) for value in values]


def _lost(run: Mapping[str, object], column: str, diverged: Iterable[Settings]) -> set[float]:
    """The values of a column at which runs diverged whose other settings are those of this one."""
    return {float(one[column]) for one in diverged if column in one and
            all(_plain(value) == _plain(run.get(name)) for name, value in one.items() if name != column)}


def _plain(value: object) -> str:
    """Equal for equal settings, be they of a run or read from a table, where whole numbers may have a point."""
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return "" if math.isnan(value) else repr(float(value))
    return "" if value is None else str(value)


def _best(curve: Curve) -> float:
    return max(one.value for _, one in curve if one is not None)
