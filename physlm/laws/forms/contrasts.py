"""Numbers made of two: one setting minus another, a number minus its control, one over another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from physlm import interval
from physlm.errors import UserError
from physlm.interval import Interval
from physlm.laws import cells
from physlm.laws.cells import Key
from physlm.laws.forms.extremes import Best
from physlm.laws.forms.form import (
    Cells,
    Form,
    Hedged,
    OfOne,
    check_alike,
    check_apart,
    check_keys,
    part_of,
    value_text,
)
from physlm.laws.forms.reach import Arrival, Reach
from physlm.laws.forms.shares import Shares, Taken, mean_over, over_runs
from physlm.laws.forms.spans import Span

_NO_SEED = {"", "nan"}  # of a start, in a run that has none


@dataclass(frozen=True)
class Contrast:
    """One value of a setting minus another, for each combination of the others.

    Where both were trained from the same seeds, seed by seed (only these count); the interval is over the differences.
    Else the difference of the two means.  The runs are independent: half-widths in quadrature.

    Attributes:
        along: one of ``of.keys``.
        plus, minus: its values; an empty text for none.
    """

    name: str
    of: Shares
    along: str
    plus: object
    minus: object

    def __post_init__(self) -> None:
        check_keys(self.name, "along", (self.along,), self.of.keys)
        if value_text(self.plus) == value_text(self.minus):
            raise UserError(f"{self.name}: got {self.along} {value_text(self.plus)} on both sides, expected two values")

    @property
    def unit(self) -> str:
        """That of the numbers."""
        return self.of.unit

    @property
    def keys(self) -> tuple[str, ...]:
        """The other settings."""
        return tuple(key for key in self.of.keys if key != self.along)

    def cells(self, table: pd.DataFrame) -> Cells:
        """The differences, by the other settings."""
        place = self.of.keys.index(self.along)
        groups: dict[Key, tuple[list[Taken], list[Taken]]] = {}
        for one in self.of.by_run(table):
            both = groups.setdefault(one.key[:place] + one.key[place + 1 :], ([], []))
            for side, wanted in zip(both, (self.plus, self.minus), strict=True):
                if value_text(one.key[place]) == value_text(wanted):
                    side.append(one)
        return {key: _difference(*both, self.of.share) for key, both in groups.items() if all(both)}

    def note(self) -> str:
        """How it is made."""
        return (f"{cells.named(self.name, '/'.join(self.keys))}: {self.of.name} with {self.along}="
                f"{value_text(self.plus)} minus that with {self.along}={value_text(self.minus)}, seed by seed where "
                "both were trained from the same seeds; half-widths in quadrature.")


@dataclass(frozen=True)
class Above(OfOne):
    """A number minus its control, run by run, then averaged.

    Both come from the same items, so that half-widths are added up.
    """

    name: str
    of: Shares
    control: Shares

    def __post_init__(self) -> None:
        check_alike(self.name, self.of, self.control, "a control")

    def cells(self, table: pd.DataFrame) -> Cells:
        """The differences, by setting."""
        controls = {(one.key, one.run): one.found for one in self.control.by_run(table)}
        return over_runs([one._replace(found=interval.difference(one.found, controls[one.key, one.run], False))
                           for one in self.of.by_run(table) if (one.key, one.run) in controls])

    def note(self) -> str:
        """How it is made."""
        return (f"{cells.named(self.name, '/'.join(self.keys))}: {self.of.name} minus {self.control.name}, run by run; "
                "half-widths are added up.")


@dataclass(frozen=True)
class Minus(OfOne):
    """One form minus another that has the same keys, setting by setting.

    Attributes:
        independent: whether their errors are (half-widths in quadrature), else half-widths are added up.
    """

    name: str
    of: Form
    other: Form
    independent: bool

    def __post_init__(self) -> None:
        check_alike(self.name, self.of, self.other)

    def cells(self, table: pd.DataFrame) -> Cells:
        """The differences, by setting."""
        other = self.other.cells(table)
        return {key: interval.difference(one, other[key], self.independent)
                for key, one in self.of.cells(table).items() if key in other}

    def remarks(self, table: pd.DataFrame) -> dict[Key, str]:
        """Which of two reaches or arrivals is a bound of the true one, and so the difference."""
        return _bounds(self, (self.of, self.other), table)

    def unjudged(self, table: pd.DataFrame, keys: Iterable[Key]) -> dict[Key, str]:
        """Why those of its settings ``keys`` are not judged whose subtracted span goes on beyond its grid."""
        return _too_large(self, (self.of, self.other), table, keys, "difference")

    def note(self) -> str:
        """How it is made."""
        return (f"{cells.named(self.name, '/'.join(self.keys))}: {self.of.name} minus {self.other.name}, half-widths "
                f"{'in quadrature' if self.independent else 'added up'}.")


@dataclass(frozen=True)
class Paired(OfOne):
    """One best minus another that has the same keys, each at its own best value, seed by seed, setting by setting.

    Only seeds that both have count; where there is none, the setting has no number.  The interval is over the
    differences, of which Student's t knows how many there are.  It knows nothing of the choice of the value, by which
    both lean upwards.
    """

    name: str
    of: Best
    other: Best

    def __post_init__(self) -> None:
        check_alike(self.name, self.of, self.other)

    def cells(self, table: pd.DataFrame) -> Cells:
        """The differences, by setting, where both have a seed in common."""
        of, other = self.of.taken(table), self.other.taken(table)
        found = {key: _paired(runs, other[key]) for key, runs in of.items() if key in other}
        return {key: one for key, one in found.items() if one is not None}

    def note(self) -> str:
        """How it is made."""
        return (f"{cells.named(self.name, '/'.join(self.keys))}: {self.of.name} minus {self.other.name}, seed by seed, "
                "each at its own best; the interval is over the differences.")


@dataclass(frozen=True)
class Ratio:
    """One form over another; opposite ends are divided.

    One of them has all keys of the other, or more: 1.3 of each architecture is GPT-2's number over that of each.
    """

    name: str
    of: Form
    base: Form

    def __post_init__(self) -> None:
        check_apart(self.name, self.of, self.base)
        fewer, more = sorted((self.of.keys, self.base.keys), key=len)
        if part_of(more, more, fewer) != fewer:
            raise UserError(f"{self.name}: got a base by {self.base.keys}, expected one by {self.of.keys}, by some of "
                            "these, or by these and others")

    @property
    def unit(self) -> str:
        """A pure number, where both have one unit."""
        return "1" if self.of.unit == self.base.unit else f"{self.of.unit}/({self.base.unit})"

    @property
    def keys(self) -> tuple[str, ...]:
        """The settings of the one that has more."""
        return max(self.of.keys, self.base.keys, key=len)

    def cells(self, table: pd.DataFrame) -> Cells:
        """The ratios, by setting, where the base is surely not 0."""
        of, base = self.of.cells(table), self.base.cells(table)
        found = {}
        for key in of if self.keys == self.of.keys else base:
            upper, lower = (cells.get(part_of(key, self.keys, form.keys))
                            for cells, form in ((of, self.of), (base, self.base)))
            found[key] = None if upper is None else interval.ratio(upper, lower)
        return {key: one for key, one in found.items() if one is not None}

    def remarks(self, table: pd.DataFrame) -> dict[Key, str]:
        """Which of two reaches or arrivals is a bound of the true one, and so the ratio."""
        return _bounds(self, (self.of, self.base), table)

    def unjudged(self, table: pd.DataFrame, keys: Iterable[Key]) -> dict[Key, str]:
        """Why those of its settings ``keys`` are not judged that are over a span which goes on beyond its grid."""
        return _too_large(self, (self.of, self.base), table, keys, "ratio")

    def note(self) -> str:
        """How it is made."""
        return (f"{cells.named(self.name, '/'.join(self.keys))}: {self.of.name} over {self.base.name}, opposite ends "
                "divided.")


def _bounds(of: Form, parts: Sequence[Form], table: pd.DataFrame) -> dict[Key, str]:
    """What a form of several says of its numbers: which of its reaches and arrivals are bounds."""
    crossings = [(form, form.remarks(table)) for form in parts if isinstance(form, Reach | Arrival | Span)]
    found = {}
    for key in of.cells(table) if crossings else ():
        told = [remarks[part] for form, remarks in crossings if (part := part_of(key, of.keys, form.keys)) in remarks]
        if told:
            found[key] = "; ".join(told)
    return found


def _too_large(of: Form, parts: tuple[Form, Form], table: pd.DataFrame, keys: Iterable[Key], what: str
               ) -> dict[Key, str]:  # fmt: skip
    """Why a form of two is not judged: the second is a span of at least its number; or what its parts say of theirs."""
    keys, base = list(keys), parts[1]
    more = base.remarks(table) if isinstance(base, Span) else {}
    found = {key: f"{base.name}: {more[part]}, so that the {what} is at most this"
             for key in keys if (part := part_of(key, of.keys, base.keys)) in more}
    for form in parts:
        if isinstance(form, Hedged):
            owns = {key: part_of(key, of.keys, form.keys) for key in keys}
            told = form.unjudged(table, list(dict.fromkeys(owns.values())))
            found = {**{key: told[own] for key, own in owns.items() if own in told}, **found}
    return found


def _difference(plus: Sequence[Taken], minus: Sequence[Taken], share: bool) -> Interval:
    """By the seeds that both sides have, each once; else of the means."""
    paired = _paired(plus, minus)
    if paired is not None:
        return paired
    return interval.difference(mean_over(plus, share), mean_over(minus, share), independent=True)


def _paired(plus: Sequence[Taken], minus: Sequence[Taken]) -> Interval | None:
    """By the seeds that both sides have, each once; None where there are none.

    A run that begins with another one and a run that does not are a pair if what both have is the same.
    """
    pairs = [(one, other) for one in plus for other in minus if _alike(one, other)]
    once = all(len({id(pair[side]) for pair in pairs}) == len(pairs) for side in (0, 1))
    if pairs and once:
        return mean_over([one._replace(found=interval.difference(one.found, other.found, independent=True))
                          for one, other in pairs], share=False)  # fmt: skip
    return None


def _alike(one: Taken, other: Taken) -> bool:
    pairs = zip((*one.seeds, *one.differs), (*other.seeds, *other.differs), strict=True)
    return all(mine == yours or {mine, yours} & _NO_SEED for mine, yours in pairs)
