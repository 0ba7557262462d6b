"""A law: the numbers that a table of measurements comes down to, each with an interval.

A ``Law`` is what ``law.json`` holds, what a verdict judges and what a figure draws lines from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from physlm.config import from_dict, to_dict, unknown_key
from physlm.errors import UserError
from physlm.interval import Interval

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Quantity:
    """One number of a law.

    Attributes:
        name: for example ``peak_bits_per_param@1000``, or ``peak_bits_per_param@1000/N=5000`` for a part of it.
        value: the point value.
        lo, hi: the ends of the 95 % interval; they always enclose ``value``.
        n: how many items it rests on: people, strings or words, or, where a curve is fitted, trained models.
        unit: for example ``bits/parameter``; ``1`` for a pure fraction.
        covers: the chance of what the interval holds, see ``physlm.interval``; empty in laws of before it was kept.
        remark: what a reader has to know of this number, such as that a better one may lie outside of the grid.
        unjudged: why it means nothing where it agrees, such as that nothing was learnt; empty where it does.
    """

    name: str
    value: float
    lo: float
    hi: float
    n: int
    unit: str
    covers: str = ""
    remark: str = ""
    unjudged: str = ""

    @classmethod
    def of(cls, name: str, found: Interval, unit: str = "1", remark: str = "", unjudged: str = "") -> Quantity:
        """An interval under a name, widened where needed so that it encloses its value."""
        lo, hi = min(found.lo, found.value), max(found.hi, found.value)
        return cls(name, found.value, lo, hi, found.n, unit, found.covers, remark, unjudged)

    @property
    def interval(self) -> Interval:
        """The number and its interval."""
        return Interval(self.value, self.lo, self.hi, self.n, covers=self.covers or "items")

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.value, self.lo, self.hi))):
            raise UserError(f"{self.name}: got {self.value} [{self.lo}, {self.hi}], expected finite numbers")
        if not self.lo <= self.value <= self.hi:
            raise UserError(f"{self.name}: got {self.value} [{self.lo}, {self.hi}], expected lo <= value <= hi")
        if self.n < 1:
            raise UserError(f"{self.name}: got n = {self.n}, expected at least 1")


@runtime_checkable
class Declared(Protocol):
    """A fit that says before there is a table which quantities it can give."""

    def check(self, name: str, unit: str) -> None:
        """Raise UserError where no table can give a quantity of this name in this unit; the nearest name is said."""


@dataclass(frozen=True)
class Fit:
    """A function from a results table to a law, and the names, before the ``@``, of all quantities that it can give."""

    function: Callable[..., Law]
    names: tuple[str, ...]

    def __call__(self, table: pd.DataFrame, *settings: Any, **options: Any) -> Law:
        """The law of a table."""
        return self.function(table, *settings, **options)

    def check(self, name: str, unit: str) -> None:
        """See ``Declared``; what stands behind the ``@``, and the unit, are known with the table."""
        base = name.partition("@")[0]
        if base not in self.names:
            raise UserError(unknown_key("quantity", base, self.names))


def gives(*names: str) -> Callable[[Callable[..., Law]], Fit]:
    """Say of a function from a table to a law what its quantities are called."""
    return lambda function: Fit(function, names)


@dataclass(frozen=True)
class Law:
    """The quantities of one claim, and in ``details`` whatever a careful reader needs to doubt them.

    ``details`` holds plain JSON values; it survives ``Law.from_dict(law.to_dict())`` unchanged if it has text keys
    and lists rather than tuples.
    """

    quantities: tuple[Quantity, ...]
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [quantity.name for quantity in self.quantities]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(f"law: got the quantity {twice[0]!r} more than once, expected each name once")

    def get(self, name: str) -> Quantity | None:
        """The quantity called ``name``, or None where the table did not allow it."""
        return next((quantity for quantity in self.quantities if quantity.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, ``{"quantities": [...], "details": {...}}``.

        Raises:
            ValueError, TypeError: ``details`` holds something that JSON does not know, such as NaN.
        """
        details = json.loads(json.dumps(self.details, allow_nan=False))
        optional = {field.name for field in fields(Quantity) if field.default is not MISSING}
        quantities = [{key: value for key, value in to_dict(quantity).items() if value or key not in optional}
                      for quantity in self.quantities]
        return {"quantities": quantities, "details": details}

    @classmethod
    def from_dict(cls, data: Any) -> Law:
        """Read the JSON form back.

        Raises:
            UserError: unknown or missing keys, a wrong type, or numbers that are no interval.
        """
        if not isinstance(data, dict):
            raise UserError(f"law: expected an object with quantities and details, got {data!r}")
        allowed = ("quantities", "details")
        for key in data:
            if key not in allowed:
                raise UserError(unknown_key(f"law.{key}", key, allowed))
        for key in allowed:
            if key not in data:
                raise UserError(f"law.{key}: missing; a law needs it")
        if not isinstance(data["quantities"], list):
            raise UserError(f"law.quantities: expected a list, got {data['quantities']!r}")
        if not isinstance(data["details"], dict):
            raise UserError(f"law.details: expected an object, got {data['details']!r}")
        quantities = tuple(
            from_dict(Quantity, item, f"law.quantities[{i}]") for i, item in enumerate(data["quantities"])
        )
        return cls(quantities=quantities, details=data["details"])
