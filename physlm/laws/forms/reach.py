"""How far a curve stays up, and where a rising one arrives: the largest value of a setting up to which a number is at
least some level, and the smallest at which it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from physlm.interval import Interval
from physlm.laws import cells
from physlm.laws.cells import Key
from physlm.laws.forms.form import Cells, Form, check_keys, number_of


@dataclass(frozen=True)
class _Crossing:
    """Where a form crosses a level along one of its settings.

    Attributes:
        along: one of ``of.keys``.
        unit: of the setting.
    """

    name: str
    of: Form
    along: str
    level: float
    unit: str = "1"

    def __post_init__(self) -> None:
        check_keys(self.name, "along", (self.along,), self.of.keys)

    @property
    def keys(self) -> tuple[str, ...]:
        """The other settings."""
        return tuple(key for key in self.of.keys if key != self.along)


@dataclass(frozen=True)
class Reach(_Crossing):
    """Where a form first falls below ``level`` along a setting whose values are numbers above 0.

    Between two values of the setting the number is taken as a straight line over the logarithm of the setting.  It is
    ``least`` where the first number is below the level already, and the last value where none is.  The ends of its
    interval are the same of the lower and of the upper ends of the form's intervals.

    A reach of 0 cannot be divided by.  What goes farther is compared with a reach whose ``least`` is the smallest value
    of the setting: that is above the true one, and so a ratio over it is a lower bound.  The remark says so.

    Attributes:
        least: where the first number is below the level; at most the first value of the setting.
    """

    least: float = 0.0

    def cells(self, table: pd.DataFrame) -> Cells:
        """The reaches, by the other settings."""
        return _crossed(self.of, self.along, table, lambda places, values: crossing(
            places, values, self.level, min(self.least, places[0])))

    def remarks(self, table: pd.DataFrame) -> dict[Key, str]:
        """Which reaches are bounds of the true ones, since the curve lies below or above the level everywhere."""
        found = {}
        for key, curve in _curves(self.of, self.along, table).items():
            (first, low), (last, _), values = curve[0], curve[-1], [one.value for _, one in curve]
            if low.value < self.level and self.least > 0:
                found[key] = (f"{self.name} is below {self.along} = {first:g}: taken as "
                              f"{min(self.least, first):g}, an upper bound")
            elif min(values) >= self.level:
                found[key] = f"{self.name} is at least {last:g}, the last {self.along}: a lower bound"
        return found

    def note(self) -> str:
        """How it is made."""
        least = f"; {self.least:g} where the first is below that" if self.least > 0 else ""
        return (f"{cells.named(self.name, '/'.join(self.keys))}: the largest {self.along} up to which {self.of.name} "
                f"is at least {self.level:g}, on straight lines over its logarithm{least}; its ends are those of the "
                "curve's.")


@dataclass(frozen=True)
class Arrival(_Crossing):
    """Where a form first reaches ``level`` along a setting whose values are numbers above 0, such as training steps.

    Between two values of the setting the number is taken as a straight line over the logarithm of the setting.  It is
    the first value where the first number is at the level already, and the last value where none is; the remark says
    that the true one is earlier or later, of a difference or ratio of two as well.
    The ends of its interval are the same of the upper and of the lower ends of the form's intervals.
    """

    def cells(self, table: pd.DataFrame) -> Cells:
        """The arrivals, by the other settings."""
        return _crossed(self.of, self.along, table, lambda places, values: crossing(
            places, [-value for value in values], -self.level, least=places[0]))

    def remarks(self, table: pd.DataFrame) -> dict[Key, str]:
        """Which arrivals are bounds of the true ones, since the curve is there from the first on, or never."""
        found = {}
        for key, curve in _curves(self.of, self.along, table).items():
            (first, low), (last, _) = curve[0], curve[-1]
            if low.value >= self.level:
                found[key] = f"{self.name} is at most {first:g}, the first {self.along}: an upper bound"
            elif max(one.value for _, one in curve) < self.level:
                found[key] = f"{self.name} is more than {last:g}, the last {self.along}: a lower bound"
        return found

    def note(self) -> str:
        """How it is made."""
        return (f"{cells.named(self.name, '/'.join(self.keys))}: the smallest {self.along} at which {self.of.name} is "
                f"at least {self.level:g}, on straight lines over its logarithm; the last one where it never is.")


def _crossed(form: Form, along: str, table: pd.DataFrame,
             cross: Callable[[Sequence[float], Sequence[float]], float]) -> Cells:
    """Where the curves of a form along one of its keys, and the ends of their intervals, cross."""
    found: Cells = {}
    for key, curve in _curves(form, along, table).items():
        places, parts = [at for at, _ in curve], [one for _, one in curve]
        value, *ends = (cross(places, [getattr(one, end) for one in parts]) for end in ("value", "lo", "hi"))
        found[key] = Interval(value, min(*ends, value), max(*ends, value), sum(one.n for one in parts),
                              max(one.runs for one in parts), max((one.covers for one in parts), key=len))
    return found


def _curves(form: Form, along: str, table: pd.DataFrame) -> dict[Key, list[tuple[float, Interval]]]:
    """The numbers of a form by one of its keys, rising, for each combination of the others."""
    place = form.keys.index(along)
    curves: dict[Key, list[tuple[float, Interval]]] = {}
    for key, one in form.cells(table).items():
        curves.setdefault(key[:place] + key[place + 1 :], []).append(
            (number_of(form.name, along, key[place]), one))
    return {key: sorted(curve, key=lambda point: point[0]) for key, curve in curves.items()}


def crossing(places: Sequence[float], values: Sequence[float], level: float, least: float = 0.0) -> float:
    """The place where values along rising places first fall below the level; see ``Reach``.

    Args:
        least: where they are below from the first one on.
    """
    for i, value in enumerate(values):
        if value < level:
            if i == 0:
                return least
            share = (values[i - 1] - level) / (values[i - 1] - value)
            return math.exp(math.log(places[i - 1]) * (1.0 - share) + math.log(places[i]) * share)
    return float(places[-1])
