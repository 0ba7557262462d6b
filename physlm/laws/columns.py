"""Results tables: one row per number, with what it is of in columns.

    run, label, task.*, model.*, train.*, ...    which trained model
    quantity                                     what was measured, ``answer``
    at.kind, at.half, at.layer, ...              where: empty texts in rows that were not measured at such a place
    value, unit, n, lo, hi                       the number and its 95 % interval

``with_columns`` is the one place that knows of older tables, where the places stood in the name of the quantity:
``answer/kind=employer/half=test``, ``boundary/level=3/balanced``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.places import AT, Place, place

NEEDED = ("run", "quantity", "value", "lo", "hi", "n", "unit")
NUMBER = ("value", "unit", "n", "lo", "hi")
SETTINGS = ("task.", "model.", "train.", "start.")


def with_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The table with every place in a column of its own, whatever its age; one that has them already comes back equal.

    Parts of an old name without ``=`` belong to the quantity: ``boundary/level=3/balanced`` is ``boundary_balanced``
    with ``at.level`` = 3.
    """
    if "quantity" not in table.columns:
        return table
    parsed = {name: _taken_apart(str(name)) for name in table["quantity"].unique()}
    keys = dict.fromkeys(key for _, where in parsed.values() for key in where)
    columns: dict[str, list[Any]] = {AT + key: [parsed[name][1].get(key, "") for name in table["quantity"]]
                                     for key in keys}
    for name in (column for column in table.columns if column.startswith(AT)):
        own = [place(value) if isinstance(value, str) else "" if pd.isna(value) else value for value in table[name]]
        others = columns.get(name, [""] * len(own))
        columns[name] = [mine if mine != "" else other for mine, other in zip(own, others, strict=True)]
    table = table.assign(quantity=[parsed[name][0] for name in table["quantity"]],
                         **{name: pd.Series(values, index=table.index, dtype=object)
                            for name, values in columns.items()})
    number = [name for name in NUMBER if name in table.columns]
    others = [name for name in table.columns if name not in (*number, *columns)]
    return table[[*others, *columns, *number]]


def labels(table: pd.DataFrame) -> list[str]:
    """Quantity and places of each row in one text: ``answer/kind=employer/half=test``."""
    found = [[str(name)] for name in table["quantity"]]
    for column in (name for name in table.columns if name.startswith(AT)):
        for parts, value in zip(found, table[column], strict=True):
            if value != "":
                parts.append(f"{column.removeprefix(AT)}={value}")
    return ["/".join(parts) for parts in found]


def finite(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The rows whose number and interval are numbers, and which others there were: ``RUN: bits``."""
    whole = np.isfinite(table[["value", "lo", "hi"]].astype(float)).all(axis=1)
    rest = table[~whole]
    return table[whole].reset_index(drop=True), [
        f"{run}: {label}" for run, label in zip(rest["run"], labels(rest), strict=True)]


def require(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise UserError where a column is missing."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(f"results table: the column {missing[0]!r} is missing; expected {', '.join(columns)}")


def known(table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise UserError where a claim names a column that the table does not have; the nearest is named."""
    for name in columns:
        if name not in table.columns:
            raise UserError(unknown_key("column", name, [*table.columns]))


def places(table: pd.DataFrame) -> list[str]:
    """The names of the columns that say where."""
    return [name for name in table.columns if name.startswith(AT)]


def measured(table: pd.DataFrame, quantity: str, at: Sequence[str]) -> pd.DataFrame:
    """The finite rows of a quantity that were measured at exactly these places (``at.kind``), and no others.

    So the final accuracies, at ``at.cut``, are told from the snapshots, at ``at.cut`` and ``at.step``.  A place
    becomes a column of numbers where all its values are, else one of texts.
    """
    require(table, NEEDED)
    chosen = table["quantity"] == quantity
    for name in places(table):
        here = table[name].astype(object) != ""
        chosen &= here if name in at else ~here
    if any(name not in table.columns for name in at):
        chosen &= False
    rows, _ = finite(table[chosen])
    for name in ("value", "lo", "hi"):
        rows[name] = rows[name].astype(float)
    for name in at:
        rows[name] = numbers(list(rows[name]), rows.index) if name in rows.columns else pd.Series(dtype=object)
    return rows


def numbers(values: list[Place], index: pd.Index) -> pd.Series:
    """Numbers, if all of them are, or else texts."""
    if all(isinstance(value, int | float) for value in values):
        return pd.Series(values, index=index)
    return pd.Series([str(value) for value in values], index=index, dtype=object)


def seed_columns(table: pd.DataFrame) -> list[str]:
    """The columns that hold seeds: of training, of people, of what a run began with."""
    return [name for name in table.columns if name.startswith(SETTINGS) and name.endswith(".seed")]


def differing(rows: pd.DataFrame, among: Sequence[str] | None = None) -> list[str]:
    """The settings in which the runs of these rows differ."""
    runs = rows.drop_duplicates("run")
    columns = [name for name in rows.columns if name.startswith(SETTINGS)] if among is None else among
    return [name for name in columns if runs[name].astype(str).nunique() > 1]


def depths(table: pd.DataFrame) -> list[int]:
    """Layers that a token goes through in the model of each row: those that are looped count at each pass.

    Tables that are older than loops do not have their columns.
    """
    def column(name: str, missing: int) -> list[int]:
        given = table[name] if name in table else pd.Series(missing, table.index)
        return [missing if pd.isna(value) or value == "" else int(value) for value in given]

    layers, loops, prelude, coda = (column(f"model.{name}", missing) for name, missing in (
        ("layers", 0), ("loops", 1), ("prelude", 0), ("coda", 0)))
    return [before + after + passes * (count - before - after)
            for count, passes, before, after in zip(layers, loops, prelude, coda, strict=True)]


def plain(value: object) -> Hashable:
    """A numpy number as Python's own."""
    result = value.item() if isinstance(value, np.generic) else value
    assert isinstance(result, Hashable)
    return result


def truth(value: object) -> bool:
    """A truth value that may have been read from a file as text."""
    return value is True or str(value).lower() == "true"


def same_places(label: str) -> tuple[str, frozenset[tuple[str, Place]]]:
    """What a label names, whatever the order of its places."""
    quantity, where = _taken_apart(label)
    return quantity, frozenset(where.items())


def _taken_apart(name: str) -> tuple[str, Mapping[str, Place]]:
    """``boundary/level=3/balanced`` as (``boundary_balanced``, {level: 3})."""
    parts = name.split("/")
    where = dict(part.split("=", 1) for part in parts if "=" in part)
    return "_".join(part for part in parts if "=" not in part), {key: place(text) for key, text in where.items()}
