"""The mean over seeds of a measured number, by settings and places."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pandas as pd

from physlm import interval
from physlm.errors import UserError
from physlm.interval import Interval
from physlm.laws import cells, columns
from physlm.laws.cells import Key
from physlm.laws.forms.form import Cells, setting_label, value_text
from physlm.places import AT

Pick = Callable[[pd.DataFrame, str], object]

# what ``where`` may ask for instead of a value, since tiers differ in theirs


def largest(rows: pd.DataFrame, column: str) -> object:
    """The largest value of a column."""
    return rows[column].max()


def smallest(rows: pd.DataFrame, column: str) -> object:
    """The smallest value of a column."""
    return rows[column].min()


def most_seeds(rows: pd.DataFrame, column: str) -> object:
    """The value that was trained from most seeds; of several such the first in the table, so in the claim's order."""
    seeds = rows[[column, *columns.seed_columns(rows)]].drop_duplicates()
    return seeds[column].value_counts(sort=False).idxmax()


class Taken(NamedTuple):
    """The number of one run in one setting."""

    key: Key
    run: str
    seeds: tuple[str, ...]
    found: Interval
    differs: tuple[str, ...]  # the values of what runs of one setting may differ in besides


@dataclass(frozen=True)
class Shares:
    """The mean over runs of a measured number, by the columns ``by``.

    Attributes:
        quantity: that was measured.
        by: columns whose values make a setting, settings of runs and places (``at.kind``); a mapping renames them.
        where: column -> the value, or one of several in a tuple, or ``largest``, ``smallest``, ``most_seeds``.
        over: a place whose items each run's number is the mean over; they were measured on the same things, so that
            their half-widths are added up.
        called: its name in the law, if that is not ``quantity``.
        unit: of the rows.
        share: whether values are shares, so that intervals end at 0 and 1.
        pooled: settings in which runs of one setting may differ besides seeds.
    """

    quantity: str
    by: tuple[str, ...] | Mapping[str, str] = ()
    where: Mapping[str, object] = field(default_factory=dict)
    over: str = ""
    called: str = ""
    unit: str = "1"
    share: bool = True
    pooled: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.keys)) < len(self.columns):
            raise UserError(f"{self.name}: by: got {', '.join(self.columns)}, two of which have one name; give a "
                            "mapping of names to columns")
        if self.over and not self.over.startswith(AT):
            raise UserError(f"{self.name}: over: got {self.over!r}, expected a place, such as {AT}kind")

    @property
    def name(self) -> str:
        """What its quantities are called."""
        return self.called or self.quantity

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the columns ``by``."""
        return tuple(self.by) if isinstance(self.by, Mapping) else tuple(name.rpartition(".")[2] for name in self.by)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns ``by``."""
        return tuple(self.by.values()) if isinstance(self.by, Mapping) else tuple(self.by)

    def of(self, quantity: str, called: str = "", **where: object) -> Shares:
        """The same of another quantity, such as a control; ``where`` adds or, with None, drops places by name."""
        changed = {**self.where, **{AT + key: value for key, value in where.items()}}
        return replace(self, quantity=quantity, called=called,
                       where={key: value for key, value in changed.items() if value is not None})

    def rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows that count.

        Raises:
            UserError: a column is not there, the quantity was measured at other places, or is in another unit.
        """
        named = dict.fromkeys([*self.columns, *self.where, *self.pooled, *([self.over] if self.over else [])])
        columns.known(table, (name for name in named if not name.startswith(AT)))
        at = [name for name in named if name.startswith(AT)]
        found = columns.measured(table, self.quantity, at)
        if found.empty and (table["quantity"] == self.quantity).any():
            raise UserError(f"{self.name}: got {self.quantity} measured at {_places(table, self.quantity)}, expected "
                            f"each of these in by, where or over, and no others: {', '.join(at) or 'none'}")
        for name, wanted in self.where.items():
            if len(found):
                wanted = wanted(found, name) if callable(wanted) else wanted
                found = found[found[name].isin(wanted if isinstance(wanted, tuple | list) else [wanted])]
        units = set(found["unit"]) - {self.unit}
        if units:
            raise UserError(f"{self.name}: got {self.quantity} in {', '.join(sorted(units))}, expected {self.unit}")
        return found

    def by_run(self, table: pd.DataFrame) -> list[Taken]:
        """The number of every run in every setting, in the order of the table.

        Raises:
            UserError: as ``rows``; a run has several rows in one setting, or the runs of one setting differ in more
                than seeds.
        """
        found = self.rows(table)
        if found.empty:
            return []
        seeds, taken = columns.seed_columns(found), []
        for key, group in _groups(found, self.columns):
            self._check_differing(key, group)
            for run, rows in group.groupby("run", sort=False):
                if len(rows) > 1 and (not self.over or rows[self.over].duplicated().any()):
                    raise UserError(f"{self.name}: got {', '.join(columns.labels(rows.iloc[:2]))} of run {run!r} in "
                                    f"{self.label(key) or 'one setting'}, expected one row; name what tells them apart "
                                    "in by, where or over")
                parts = cells.intervals(rows)
                one = parts[0] if len(parts) == 1 else interval.mean_of(parts)
                first = rows.iloc[0]
                taken.append(Taken(key, str(run), tuple(str(first[name]) for name in seeds), one,
                                   tuple(str(first[name]) for name in self.pooled)))
        return taken

    def cells(self, table: pd.DataFrame) -> Cells:
        """The mean over runs, by setting."""
        return over_runs(self.by_run(table), self.share)

    def label(self, key: Key) -> str:
        """``position=rope/canon=none``."""
        return setting_label(self.keys, key)

    def note(self) -> str:
        """What was averaged."""
        where = ", ".join(f"{name.removeprefix(AT)} {_text_of(wanted)}" for name, wanted in self.where.items())
        return (f"{cells.named(self.name, '/'.join(self.keys))}: {self.quantity}, the mean over runs"
                + (f" and over {self.over.removeprefix(AT)}" if self.over else "")
                + (f" ({where})." if where else "."))

    def _check_differing(self, key: Key, group: pd.DataFrame) -> None:
        allowed = {*columns.seed_columns(group), *self.columns, *self.pooled}
        more = [name for name in columns.differing(group) if name not in allowed]
        if more:
            raise UserError(f"{self.name}: got runs of {self.label(key) or 'one setting'} that differ in "
                            f"{', '.join(more[:4])}, expected runs that differ in their seeds alone; name what they "
                            "may differ in in by, where or pooled")


def over_runs(taken: Sequence[Taken], share: bool = False) -> Cells:
    """The mean over the runs of each setting."""
    groups: dict[Key, list[Taken]] = {}
    for one in taken:
        groups.setdefault(one.key, []).append(one)
    return {key: mean_over(parts, share) for key, parts in groups.items()}


def mean_over(parts: Sequence[Taken], share: bool) -> Interval:
    """Over seeds; over models, where the runs differ in more."""
    over = "models" if len({one.differs for one in parts}) > 1 else "seeds"
    return interval.mean_of_runs([one.found for one in parts], share, over)


def _text_of(wanted: object) -> str:
    if callable(wanted):
        return str(getattr(wanted, "__name__", wanted)).replace("_", " ")
    return " or ".join(map(value_text, wanted)) if isinstance(wanted, tuple | list) else value_text(wanted)


def _groups(found: pd.DataFrame, by: Sequence[str]) -> Iterable[tuple[Key, pd.DataFrame]]:
    """The rows of each setting, in the order of the table."""
    if not by:
        return [((), found)]
    return [(tuple("" if pd.isna(value) else columns.plain(value) for value in key), rows)
            for key, rows in found.groupby(list(by), sort=False, dropna=False)]


def _places(table: pd.DataFrame, quantity: str) -> str:
    """The places at which a quantity was measured, each combination once: ``at.kind, at.half``."""
    rows = table.loc[table["quantity"] == quantity, columns.places(table)]
    found: dict[str, Any] = {", ".join(name for name in rows.columns if row[name] != "") or "no place": None
                             for _, row in rows.iterrows()}
    return "; or at ".join(found)
