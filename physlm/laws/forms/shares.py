"""The mean over seeds of a measured number, by settings and places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pandas as pd

from physlm import interval
from physlm.errors import UserError
from physlm.interval import Interval
from physlm.laws import cells, columns
from physlm.laws.cells import Key
from physlm.laws.forms.form import Bare, Cells, check_share, setting_label, value_text
from physlm.places import AT

# what ``where`` may ask for instead of a value, since tiers differ in theirs


def largest(rows: pd.DataFrame, column: str) -> object:
    """The largest value of a column."""
    return rows[column].max()


def smallest(rows: pd.DataFrame, column: str) -> object:
    """The smallest value of a column."""
    return rows[column].min()


def hardest(rows: pd.DataFrame, column: str) -> object:
    """The value with the largest number in its name, such as k16 of kinds of questions: where K differs."""
    return max(rows[column], key=lambda kind: int("".join(filter(str.isdigit, str(kind))) or -1))


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
        by: columns whose values make a setting, settings of runs and places (``at.kind``); a mapping renames them. A
            column without a dot was made by the law's ``prepare``; its values are names by themselves.
        where: column -> the value, or one of several in a tuple, or ``largest``, ``smallest``, ``hardest``,
            ``most_seeds``.
        over: a place whose items each run's number is the mean over; they were measured on the same things, so that
            their half-widths are added up.
        called: its name in the law, if that is not ``quantity``.
        unit: of the rows.
        share: whether values are shares, so that intervals end at 0 and 1.
        pooled: settings in which runs of one setting may differ besides seeds.
        optional: whether a table may hold the quantity at other places alone, such as snapshots without the end; else
            that is an error, since a place was forgotten.
    """

    quantity: str
    by: tuple[str, ...] | Mapping[str, str] = field(default=(), hash=False)
    where: Mapping[str, object] = field(default_factory=dict, hash=False)
    over: str = ""
    called: str = ""
    unit: str = "1"
    share: bool = True
    pooled: tuple[str, ...] = ()
    optional: bool = False

    def __post_init__(self) -> None:
        if len(set(self.keys)) < len(self.columns):
            raise UserError(f"{self.name}: by: got {', '.join(self.columns)}, two of which have one name; give a "
                            "mapping of names to columns")
        if self.over and not self.over.startswith(AT):
            raise UserError(f"{self.name}: over: got {self.over!r}, expected a place, such as {AT}kind")
        check_share(self.name, self.share, self.unit)

    @property
    def name(self) -> str:
        """What its quantities are called."""
        return self.called or self.quantity

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the columns ``by``."""
        if isinstance(self.by, Mapping):
            return tuple(self.by)
        return tuple(name.rpartition(".")[2] if "." in name else Bare(name) for name in self.by)

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
        """The rows that count: measured at exactly the places that are named in by, where and over, or, if there are
        no such rows, at these and at others that have one value in all of them.

        Raises:
            UserError: a column is not there, the quantity was measured at other places, or is in another unit.
        """
        named = dict.fromkeys([*self.columns, *self.where, *self.pooled, *([self.over] if self.over else [])])
        columns.known(table, (name for name in named if not name.startswith(AT)))
        at = [name for name in named if name.startswith(AT)]
        found = columns.measured(table, self.quantity, self._places(table, at))
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
        differing = columns.differing(found)  # of all settings, which are many, those that any runs differ in
        for key, group in _groups(found, self.columns):
            self._check_differing(key, group, differing)
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

    def _places(self, table: pd.DataFrame, named: Sequence[str]) -> Sequence[str]:
        """The places of the rows that count, those that were named among them."""
        here = table.loc[table["quantity"] == self.quantity, columns.places(table)].astype(object) != ""
        found = [tuple(name for name in here.columns if row[name]) for _, row in here.drop_duplicates().iterrows()]
        if not found or self.optional or any(set(places) == set(named) for places in found):
            return named
        wider = [places for places in found if set(named) <= set(places)]
        if len(wider) == 1:
            rows = columns.measured(table, self.quantity, wider[0])
            if all(rows[name].nunique() <= 1 for name in wider[0] if name not in named):
                return wider[0]
        measured = "; or at ".join(", ".join(places) or "no place" for places in found)
        raise UserError(f"{self.name}: got {self.quantity} measured at {measured}, expected each place that has "
                        f"several values in by, where or over, which have: {', '.join(named) or 'none'}")

    def _check_differing(self, key: Key, group: pd.DataFrame, among: Sequence[str]) -> None:
        allowed = {*columns.seed_columns(group), *self.columns, *self.pooled}
        more = [name for name in columns.differing(group, among) if name not in allowed]
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
