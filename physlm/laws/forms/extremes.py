"""One of several: the least, the most, the median, and the best of a grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from physlm import interval
from physlm.interval import Interval
from physlm.laws import cells
from physlm.laws.cells import Key
from physlm.laws.forms.form import Cells, Form, check_keys, check_share, part_of, shares_of, value_text
from physlm.laws.forms.shares import Shares, Taken, mean_over


@dataclass(frozen=True)
class Extreme:
    """The least, the most or the median over some settings; see ``Least``, ``Most``, ``Median``.

    Attributes:
        share: whether its numbers are shares, so that intervals end at 0 and 1; None: as those of the form are.
    """

    which: str
    name: str
    of: Form
    over: tuple[str, ...] = ()
    share: bool | None = None

    def __post_init__(self) -> None:
        check_keys(self.name, "over", self.over, self.of.keys)
        if self.share is None:
            object.__setattr__(self, "share", shares_of(self.of))
        check_share(self.name, bool(self.share), self.unit, self.of)

    @property
    def unit(self) -> str:
        """That of the numbers."""
        return self.of.unit

    @property
    def keys(self) -> tuple[str, ...]:
        """The settings that it is not taken over; without ``over`` it is taken over all."""
        return tuple(key for key in self.of.keys if self.over and key not in self.over)

    def cells(self, table: pd.DataFrame) -> Cells:
        """The extreme of each group."""
        groups: dict[Key, list[Interval]] = {}
        for key, one in self.of.cells(table).items():
            groups.setdefault(part_of(key, self.of.keys, self.keys), []).append(one)
        return {key: interval.EXTREMES[self.which](parts, bool(self.share)) for key, parts in groups.items()}

    def note(self) -> str:
        """How its interval is made."""
        over = ", ".join(self.over or self.of.keys) or "all"
        end = "the median of the ends of Bonferroni intervals" if self.which == "median" else (
            "its far end is that of Bonferroni intervals")
        return (f"{cells.named(self.name, '/'.join(self.keys))}: the {self.which} of {self.of.name} over {over}, with "
                f"an interval that knows it is one of several ({end}).")


def Least(name: str, of: Form, over: tuple[str, ...] = (), share: bool | None = None) -> Extreme:
    """The smallest over the settings ``over``, or over all."""
    return Extreme("least", name, of, over, share)


def Most(name: str, of: Form, over: tuple[str, ...] = (), share: bool | None = None) -> Extreme:
    """The largest over the settings ``over``, or over all."""
    return Extreme("most", name, of, over, share)


def Median(name: str, of: Form, over: tuple[str, ...] = (), share: bool | None = None) -> Extreme:
    """The median over the settings ``over``, or over all."""
    return Extreme("median", name, of, over, share)


@dataclass(frozen=True)
class Best:
    """The best over the values of one setting, such as learning rates, of the mean over runs at each.

    Where the values were trained from different seeds, only seeds that all of them have count: the best of means over
    three runs and of single runs would lean to the single ones.  The interval is that of the most of several.  The
    remark of its quantity says at which value the best was found, of how many, and whether that is the smallest or the
    largest: then a better one may lie outside of the grid.

    Attributes:
        of: what is compared; what it asks of the column ``over`` is set aside.
        over: the column.
        lowest: whether the smallest number is the best, as of losses.
    """

    name: str
    of: Shares
    over: str
    lowest: bool = False

    @property
    def unit(self) -> str:
        """That of the numbers."""
        return self.of.unit

    @property
    def share(self) -> bool:
        """As the numbers are."""
        return self.of.share

    @property
    def keys(self) -> tuple[str, ...]:
        """The settings without the column ``over``."""
        return tuple(key for key, column in zip(self.of.keys, self.of.columns, strict=True) if column != self.over)

    def grid(self, table: pd.DataFrame) -> dict[Key, Cells]:
        """The numbers of each setting by the value of ``over``."""
        return {setting: means_alike(grid, self.of.share) for setting, grid in self._grids(table).items()}

    def taken(self, table: pd.DataFrame) -> dict[Key, list[Taken]]:
        """The runs at the best value of each setting, of the seeds that all its values have."""
        chosen = self.best(table)
        return {setting: alike(grid)[chosen[setting][0],] for setting, grid in self._grids(table).items()}

    def _grids(self, table: pd.DataFrame) -> dict[Key, dict[Key, list[Taken]]]:
        """The runs of each setting by the value of ``over``."""
        by = {key: column for key, column in zip(self.of.keys, self.of.columns, strict=True) if column != self.over}
        where = {name: wanted for name, wanted in self.of.where.items() if name != self.over}
        key = self.over.rpartition(".")[2]
        if key in by:
            key = self.over
        grids: dict[Key, dict[Key, list[Taken]]] = {}
        for one in replace(self.of, by={**by, key: self.over}, where=where).by_run(table):
            *setting, value = one.key
            grids.setdefault(tuple(setting), {}).setdefault((value,), []).append(one)
        return grids

    def best(self, table: pd.DataFrame) -> dict[Key, tuple[object, Cells]]:
        """The value of ``over`` at which each setting is best, and its grid."""
        found = {}
        for setting, grid in self.grid(table).items():
            better = min if self.lowest else max
            found[setting] = (better(grid, key=lambda value: grid[value].value)[0], grid)
        return found

    def cells(self, table: pd.DataFrame) -> Cells:
        """The best of each setting."""
        of_several = interval.least if self.lowest else interval.most
        return {setting: of_several(list(grid.values()), self.of.share)
                for setting, (_, grid) in self.best(table).items()}

    def remarks(self, table: pd.DataFrame) -> dict[Key, str]:
        """At which value each setting is best, of how many, and whether that is at the edge."""
        name = self.over.rpartition(".")[2].replace("_", " ")
        found = {}
        for setting, (value, grid) in self.best(table).items():
            edge = edge_of(value, [one for (one,) in grid])
            found[setting] = f"best of {len(grid)}: {name} {value_text(value)}" + (
                f", the {edge}: a better one may lie outside" if edge else "")
        return found

    def note(self) -> str:
        """How it is chosen."""
        return (f"{cells.named(self.name, '/'.join(self.keys))}: the best {self.of.name} of several "
                f"{self.over.rpartition('.')[2].replace('_', ' ')}s, with an interval that knows it is one of several; "
                "chosen on the numbers that are judged, so that it leans upwards.")


def alike(grid: Mapping[Key, Sequence[Taken]]) -> dict[Key, list[Taken]]:
    """At each value the runs from seeds that all values have; all runs, where there are no such seeds."""
    shared = set.intersection(*({one.seeds for one in parts} for parts in grid.values()))
    return {value: [one for one in parts if one.seeds in shared or not shared] for value, parts in grid.items()}


def means_alike(grid: Mapping[Key, Sequence[Taken]], share: bool) -> Cells:
    """The mean at each value over the runs from seeds that all values have; over all, where there are no such seeds."""
    return {value: mean_over(parts, share) for value, parts in alike(grid).items()}


def edge_of(value: object, grid: Iterable[object]) -> str:
    """``smallest``, ``largest`` or ``only one`` where a value is at an edge of its grid of numbers, else empty."""
    values = [one for one in grid if isinstance(one, int | float)]
    if len(values) == 1:
        return "only one"
    return "" if not values else "smallest" if value == min(values) else "largest" if value == max(values) else ""
