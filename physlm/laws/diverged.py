"""Runs that diverged: no number comes from them, and every law, figure and verdict says how many they were.

A law is fitted to the table of the other runs, so that its n counts these alone.  ``details["diverged"]`` names the
rest:

    {"runs": 12, "reasons": {"bioS-2-1x32-...": "its loss is not finite from step 40 of 1,000 on", ...},
     "settings": {"bioS-2-1x32-...": {"train.learning_rate": 0.256, ...}, ...}}

A law that counts a run that diverged, as one that did not train, must not count one that is only not finished.  The
table's ``attrs`` tell it which settings diverged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from physlm.laws.law import Law

if TYPE_CHECKING:
    import pandas as pd

Settings = Mapping[str, Any]  # of one run, under the names of the columns of the table
_ATTRIBUTE = "diverged"


class _Told(tuple[Settings, ...]):
    """What nobody changes; pandas copies the attributes of a table, with all that is in them, whenever it makes another
    of it."""

    __slots__ = ()

    def __deepcopy__(self, memo: object) -> _Told:
        return self


def with_diverged(law: Law, runs: int, reasons: Mapping[str, str], settings: Mapping[str, Settings]) -> Law:
    """The law, saying that of ``runs`` runs those with a reason diverged, with settings; as it is where none did."""
    if not reasons:
        return law
    told = {"runs": runs, "reasons": dict(reasons), "settings": {name: dict(one) for name, one in settings.items()}}
    return replace(law, details={**law.details, "diverged": told})


def tell_diverged(table: pd.DataFrame, settings: Iterable[Settings]) -> pd.DataFrame:
    """The table, knowing the settings of the runs that diverged."""
    told = table.copy(deep=False)
    told.attrs[_ATTRIBUTE] = _Told(dict(one) for one in settings)
    return told


def told_diverged(table: pd.DataFrame) -> list[Settings]:
    """The settings of the runs that diverged, of a table that knows them; else none."""
    return list(table.attrs.get(_ATTRIBUTE, []))


def as_told(table: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """A table made of another, knowing what that one knows of runs that diverged."""
    return table if _ATTRIBUTE not in before.attrs else tell_diverged(table, told_diverged(before))


def still_diverged(law: Law, before: Law) -> Law:
    """A law that was refitted, from a table without the runs that diverged, with what the one before says of them."""
    found = before.details.get("diverged")
    return law if found is None else replace(law, details={**law.details, "diverged": found})


def diverged_runs(law: Law | None) -> dict[str, str]:
    """By the names of the runs that diverged, why."""
    found = {} if law is None else law.details.get("diverged", {}).get("reasons", {})
    return {str(name): str(reason) for name, reason in found.items()}


def diverged_settings(law: Law) -> dict[str, Settings]:
    """By the names of the runs that diverged, their settings, where the law was kept with them."""
    return dict(law.details.get("diverged", {}).get("settings", {}))


def diverged_sentence(law: Law | None) -> str:
    """``2 of 12 runs diverged and are left out``; nothing where none did."""
    count = len(diverged_runs(law))
    if law is None or not count:
        return ""
    return f"{count} of {law.details['diverged']['runs']} runs diverged and {'is' if count == 1 else 'are'} left out"
