"""Rows that a measure gave, by quantity and place."""

from __future__ import annotations

from physlm.measures.rows import Row


def values(rows: list[Row], quantity: str, **where: object) -> list[float]:
    """Of all rows of this quantity at such places."""
    return [row.value for row in rows if row.quantity == quantity and where.items() <= dict(row.where).items()]


def the(rows: list[Row], quantity: str, **where: object) -> Row:
    """The only one."""
    (row,) = (row for row in rows if row.quantity == quantity and where.items() <= dict(row.where).items())
    return row
