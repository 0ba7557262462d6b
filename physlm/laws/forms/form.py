"""What every form is: named numbers of a table, by the values of some settings, and how settings are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import pandas as pd

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.interval import Interval
from physlm.laws.cells import Key

Cells = dict[Key, Interval]


@runtime_checkable
class Form(Protocol):
    """Named numbers of a table, by the values of ``keys``."""

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def keys(self) -> tuple[str, ...]: ...
    def cells(self, table: pd.DataFrame) -> Cells:
        """Its intervals by setting, settings in the order of the table."""
    def note(self) -> str:
        """One sentence for readers of the law."""


@runtime_checkable
class Remarked(Form, Protocol):
    """A form that says what a reader has to know of some of its numbers."""

    def remarks(self, table: pd.DataFrame) -> dict[Key, str]:
        """The remarks by setting, on those that need one."""


@runtime_checkable
class Hedged(Form, Protocol):
    """A form that says which of its numbers mean nothing where they agree with what is asked."""

    def unjudged(self, table: pd.DataFrame, keys: Iterable[Key]) -> dict[Key, str]:
        """Why, by setting, for those of the settings ``keys`` that are not judged."""


@runtime_checkable
class Bounded(Form, Protocol):
    """A form that says whether its numbers are shares, so that intervals end at 0 and 1; others' are not."""

    @property
    def share(self) -> bool | None: ...


class OfOne:
    """What a form has of the form ``of`` that it is made of: its settings and its unit."""

    of: Form

    @property
    def unit(self) -> str:
        """That of the numbers it is made of."""
        return self.of.unit

    @property
    def keys(self) -> tuple[str, ...]:
        """The settings."""
        return self.of.keys


class Bare(str):
    """The name of a key whose values are names by themselves: ``cfg3b/cut=50``, and nothing where one is empty."""

    __slots__ = ()


def setting_label(keys: Sequence[str], key: Key) -> str:
    """``position=rope/canon=none``."""
    parts = [(value_text(value) if value != "" else "") if isinstance(name, Bare) else f"{name}={value_text(value)}"
             for name, value in zip(keys, key, strict=True)]
    return "/".join(part for part in parts if part)


def value_text(value: object) -> str:
    """A value of a setting in the name of a quantity: ``none`` where it is empty, whole numbers without a point."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return "none"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:g}"
    return str(value)


def part_of(key: Key, names: Sequence[str], kept: Sequence[str]) -> Key:
    """The values of those of the names that are kept, in the order of ``kept``: forms have orders of their own."""
    values = dict(zip(names, key, strict=True))
    return tuple(values[name] for name in kept if name in values)


def number_of(name: str, key: str, value: object) -> float:
    """The value of a setting as a number.  Raises UserError: it is none."""
    try:
        return float(str(value))
    except ValueError:
        raise UserError(f"{name}: got {key} {value_text(value)!r}, expected a setting whose values are "
                        "numbers") from None


def shares_of(form: Form) -> bool:
    """Whether its numbers are shares; a difference or a ratio of shares is none."""
    return isinstance(form, Bounded) and form.share is True  # a number is a share of something else


def check_share(name: str, share: bool, unit: str, of: Form | None = None) -> None:
    """Raise UserError where an interval would be cut off at 0 or 1 of numbers that may lie beyond."""
    if share and unit != "1":
        raise UserError(f"{name}: got share=True of numbers in {unit}, expected share=False: shares are pure numbers")
    if share and of is not None and not shares_of(of):
        raise UserError(f"{name}: got share=True of {of.name}, which may be below 0 or above 1; expected share=False")


def check_apart(name: str, one: Form, other: Form) -> None:
    """Raise UserError where a form would be compared with itself, which always agrees."""
    if one == other:
        raise UserError(f"{name}: got {one.name} on both sides, expected two forms")


def check_alike(name: str, one: Form, other: Form, what: str = "") -> None:
    """Raise UserError unless these are two forms of the same settings in one unit."""
    check_apart(name, one, other)
    if (other.keys, other.unit) != (one.keys, one.unit):
        raise UserError(f"{name}: got {what or other.name} by {other.keys} in {other.unit}, expected one by "
                        f"{one.keys} in {one.unit}")


def check_keys(name: str, argument: str, given: Iterable[str], keys: Sequence[str]) -> None:
    """Raise UserError where a form is given a setting that it does not have; the nearest is named."""
    for key in given:
        if key not in keys:
            raise UserError(unknown_key(f"{name}: {argument}", key, keys))
