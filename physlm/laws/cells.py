"""Several runs of one cell of a table into one number with its interval, and how laws name and describe these.

A cell is a quantity at a combination of columns: settings of runs, and places.  How the intervals of runs are put
together: ``physlm.interval``.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import pandas as pd

from physlm.errors import UserError
from physlm.interval import NOTHING, Interval, mean_of_runs
from physlm.laws import columns
from physlm.laws.law import Quantity
from physlm.places import AT


def notes(items: str) -> tuple[str, str]:
    """What n counts, such as "people", and what becomes of several runs."""
    return (
        f"n counts the {items} that were measured, summed over runs.",
        (
            "Several runs (seeds) of one setting: their mean. Interval: on each side the wider of the runs' own "
            "intervals combined, and, with two runs or more, Student's t over the runs. One run alone says nothing "
            "about what another seed would give."
        ),
    )


def contrast_note(items: str) -> str:
    """How differences of numbers from the same items get their intervals."""
    return (f"Differences of numbers from the same {items}: half-widths are added up, since their errors go together; "
            "differences of different runs: in quadrature.")


def least_note(name: str, over: str) -> str:
    """How the quantity ``name``, the smallest over such things, gets its interval."""
    return (f"{name}: the smallest over all {over}, with an interval that knows it is a minimum (lower end: the "
            "smallest lower end; upper end: the smallest upper end of Bonferroni intervals).")


NOTES = notes("strings, sentences or words")
CONTRAST_NOTE = contrast_note("sentences")
LEAST_NOTE = least_note("least_...", "levels")


Key = tuple[Hashable, ...]


def cells(table: pd.DataFrame, quantity: str, keys: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of a quantity that were measured at exactly these places, with a column for each: ``kind`` for
    ``at.kind``.

    So ``cells(table, "accuracy", ["cut"])`` holds the final accuracies and no snapshot.  Rows that are not finite are
    left out.  No such rows: an empty table with these columns.

    Args:
        table: the long results table, one row per (run, quantity, places).
        keys: values become numbers where all of a column are.

    Raises:
        UserError: a column that every results table has is missing.
    """
    found = columns.measured(table, quantity, [AT + key for key in keys])
    return found.assign(**{key: found[AT + key] for key in keys})


def combine(found: pd.DataFrame, by: Sequence[str], share: bool = False) -> dict[Key, Interval]:
    """The mean over runs for every combination of the columns ``by``, in sorted order.

    Args:
        found: rows as ``cells`` returns them.
        share: the values are shares, so that intervals end at 0 and 1.

    Raises:
        UserError: two rows of one run in one cell.
    """
    result: dict[Key, Interval] = {}
    if found.empty:
        return result
    for key, group in found.groupby(list(by), sort=True):
        if group["run"].duplicated().any():
            row = group[group["run"].duplicated(keep=False)].iloc[:1]
            raise UserError(f"results table: got {columns.labels(row)[0]} of run {row['run'].iloc[0]!r} more than "
                            "once, expected one row")
        result[tuple(map(columns.plain, key))] = mean_of_runs(intervals(group), share, repeats(group))
    return result


def repeats(group: pd.DataFrame) -> str:
    """What an interval over these runs covers: ``seeds``, if each has others, else ``models``."""
    return "seeds" if len(group[columns.seed_columns(group)].drop_duplicates()) == len(group) else "models"


def intervals(found: pd.DataFrame) -> list[Interval]:
    """The number and interval of each row."""
    rows = zip(found["value"], found["lo"], found["hi"], found["n"], strict=True)
    return [Interval(float(value), float(lo), float(hi), int(n), covers=NOTHING if lo == hi else "items")
            for value, lo, hi, n in rows]


def quantity(name: str, part: Interval | None, unit: str = "1") -> list[Quantity]:
    """One quantity, or none where the table did not allow it."""
    return [] if part is None else [Quantity.of(name, part, unit)]


def named(base: str, *parts: str) -> str:
    """``base@first/second``, without the parts that are empty."""
    rest = "/".join(part for part in parts if part)
    return f"{base}@{rest}" if rest else base


def measured_runs(table: pd.DataFrame, by: Sequence[str], quantities: Sequence[Quantity]) -> dict[str, Any]:
    """For ``details``: how many runs each setting has, and in which settings those of one setting differ.

    Runs of one setting are averaged, which is right for seeds alone; ``differ_in`` shows where it was more.
    """
    if not quantities:
        return {}
    result = {}
    for key, group in table.drop_duplicates("run").groupby(list(by), sort=True):
        result["/".join(str(part) for part in key if part != "") or "all"] = {
            "runs": len(group), "differ_in": columns.differing(group)}
    return result
