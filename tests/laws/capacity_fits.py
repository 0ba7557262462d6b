"""Fits of the capacity law, for its tests."""

from __future__ import annotations

import pandas as pd

from physlm.laws.knowledge.capacity import capacity_law
from physlm.laws.law import Law, Quantity

FAST = 400
SMALL = ((2, 1, 16), (2, 1, 24), (2, 1, 32))  # too small for 5,000 people and more, but for the last
LEARNED = ["bits", "bits_signed", "bits_name", "bits_value", "bits_per_param"]


def fit(table: pd.DataFrame, resamples: int = FAST) -> Law:
    return capacity_law(table, resamples=resamples)


def width(quantity: Quantity) -> float:
    return quantity.hi - quantity.lo


def scaled(table: pd.DataFrame, factor: float, rows: pd.Series) -> pd.DataFrame:
    """What was learned, times ``factor``, in the chosen rows."""
    table = table.copy()
    learned = rows & table["quantity"].isin(LEARNED)
    table.loc[learned, ["value", "lo", "hi"]] *= factor
    return table
