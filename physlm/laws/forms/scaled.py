"""Numbers made of those of one form: each to a power, each over the one before it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pandas as pd

from physlm import interval
from physlm.errors import UserError
from physlm.interval import Interval
from physlm.laws import cells
from physlm.laws.cells import Key
from physlm.laws.forms.form import Cells, Form, OfOne, check_keys, number_of, shares_of


@dataclass(frozen=True)
class Power(OfOne):
    """A form to a power: the share that is left after ``times`` independent losses, each of which leaves x of it.

    Ends are raised too; what is below 0 counts as 0.
    """

    name: str
    of: Form
    times: int

    def __post_init__(self) -> None:
        if self.times < 1 or self.of.unit != "1":
            raise UserError(f"{self.name}: got {self.times} times of {self.of.name} in {self.of.unit}, expected at "
                            "least once of a pure number")

    @property
    def unit(self) -> str:
        """A pure number."""
        return "1"

    @property
    def share(self) -> bool:
        """As the numbers are."""
        return shares_of(self.of)

    def cells(self, table: pd.DataFrame) -> Cells:
        """The powers, by setting."""
        return {key: replace(one, **{end: max(getattr(one, end), 0.0) ** self.times for end in ("value", "lo", "hi")})
                for key, one in self.of.cells(table).items()}

    def note(self) -> str:
        """How it is made."""
        return f"{cells.named(self.name, '/'.join(self.keys))}: {self.of.name} to the power of {self.times}."


@dataclass(frozen=True)
class Steps(OfOne):
    """Each number of a form over the one before it along a setting whose values are numbers; opposite ends are divided.

    The quantity is called by the later value; the first has none.

    Attributes:
        along: one of ``of.keys``.
    """

    name: str
    of: Form
    along: str

    def __post_init__(self) -> None:
        check_keys(self.name, "along", (self.along,), self.of.keys)

    @property
    def unit(self) -> str:
        """A pure number."""
        return "1"

    def cells(self, table: pd.DataFrame) -> Cells:
        """The ratios, by the setting of the later one, where the earlier one is surely not 0."""
        place = self.of.keys.index(self.along)
        ways: dict[Key, list[tuple[float, Key, Interval]]] = {}
        for key, one in self.of.cells(table).items():
            ways.setdefault(key[:place] + key[place + 1 :], []).append(
                (number_of(self.name, self.along, key[place]), key, one))
        found: Cells = {}
        for way in ways.values():
            rising = sorted(way, key=lambda point: point[0])
            for (_, _, before), (_, key, after) in itertools.pairwise(rising):
                if (step := interval.ratio(after, before)) is not None:
                    found[key] = step
        return found

    def note(self) -> str:
        """How it is made."""
        return (f"{cells.named(self.name, '/'.join(self.keys))}: {self.of.name} over that at the next smaller "
                f"{self.along}, opposite ends divided.")
