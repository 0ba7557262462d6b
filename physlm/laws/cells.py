"""Reading quantity names into columns, and several runs of one cell into one number with its interval.

A quantity name is a base and ``key=value`` parts, ``accuracy/cut=50/step=250``.  A part without ``=`` belongs to the
base: ``boundary/level=3/mask=full/balanced`` is base ``boundary/balanced`` with level and mask.

Four ways in which intervals are put together, none of which needs the raw data:

    mean of k runs    within: each run's half-widths, sqrt(sum w_i^2) / k (runs err independently);
                      between, for k >= 2: t(k - 1) s / sqrt(k) with s the spread over runs.  On each side the wider
                      of the two counts, so that the interval holds both.
    contrast          sum c_i x_i of independent numbers: sqrt(sum (c_i w_i)^2); of numbers measured on the same
                      sentences, whose errors go together in a way that the table does not know: sum |c_i| w_i, which
                      no correlation can exceed.
    least of k        [min lo_i, min hi'_i], hi' widened to level 1 - 0.05 / k (Bonferroni).  The least true value is
                      above the lower end whenever that one number's interval is, and below the upper end whenever
                      all are: at least 95 % for any correlation, although the least of noisy numbers leans downwards.
    most of k         the same upside down: [max lo'_i, max hi_i].
    median of k       [median lo'_i, median hi'_i], both widened to level 1 - 0.05 / k: the median of the true values
                      is between them whenever each true value is in its own interval, since a median never falls
                      when a number rises.  At least 95 % for any correlation.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from physlm.errors import UserError
from physlm.laws.bootstrap import LEVEL
from physlm.laws.law import Quantity


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


@dataclass(frozen=True)
class Estimate:
    """A number, its 95 % interval, how many items it was measured on, and in how many runs."""

    value: float
    lo: float
    hi: float
    n: int
    runs: int = 1

    @property
    def down(self) -> float:
        """Half-width of the interval below the value."""
        return max(self.value - self.lo, 0.0)

    @property
    def up(self) -> float:
        """Half-width above it."""
        return max(self.hi - self.value, 0.0)

    def quantity(self, name: str, unit: str = "1") -> Quantity:
        """As a quantity of a law."""
        return Quantity(name, self.value, min(self.lo, self.value), max(self.hi, self.value), self.n, unit)


Key = tuple[Hashable, ...]


def cells(table: pd.DataFrame, base: str, keys: Sequence[str] = ()) -> pd.DataFrame:
    """The rows whose quantity has this base and exactly these keys, with a column for each key.

    So ``cells(table, "accuracy", ["cut"])`` holds the final accuracies and no snapshot.  Rows without a finite value
    are left out; one without an interval gets ``lo = hi = value``.  No such rows: an empty table with these columns.

    Args:
        table: the long results table, one row per (run, quantity).
        base: the name before the first key, with all parts that are no ``key=value``, joined by ``/``.
        keys: values become numbers where all of a column are.

    Raises:
        UserError: a column that every results table has is missing.
    """
    require(table, ("run", "quantity", "value", "lo", "hi", "n", "unit"))
    parsed = {name: split(name) for name in table["quantity"].unique()}
    names = {name: parts for name, (its_base, parts) in parsed.items() if its_base == base and set(parts) == set(keys)}
    chosen = table[table["quantity"].isin(list(names)) & np.isfinite(table["value"].astype(float))].copy()
    for key in keys:
        chosen[key] = _numbers([names[name][key] for name in chosen["quantity"]], chosen.index)
    chosen["value"] = chosen["value"].astype(float)
    for end in ("lo", "hi"):
        chosen[end] = chosen[end].astype(float).fillna(chosen["value"])
    return chosen.reset_index(drop=True)


def split(name: str) -> tuple[str, dict[str, str]]:
    """``boundary/level=3/balanced`` as (``boundary/balanced``, {level: 3})."""
    parts = name.split("/")
    return "/".join(part for part in parts if "=" not in part), dict(p.split("=", 1) for p in parts if "=" in p)


def require(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise UserError where a column is missing."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(f"results table: the column {missing[0]!r} is missing; expected {', '.join(columns)}")


def combine(found: pd.DataFrame, by: Sequence[str], share: bool = False) -> dict[Key, Estimate]:
    """The mean over runs for every combination of the columns ``by``, in sorted order.

    Args:
        found: rows as ``cells`` returns them.
        share: the values are shares, so that intervals end at 0 and 1.

    Raises:
        UserError: two rows of one run in one cell.
    """
    result: dict[Key, Estimate] = {}
    if found.empty:
        return result
    for key, group in found.groupby(list(by), sort=True):
        if group["run"].duplicated().any():
            row = group[group["run"].duplicated(keep=False)].iloc[0]
            raise UserError(f"results table: got {row['quantity']} of run {row['run']!r} more than once, expected one "
                            "row")
        rows = zip(group["value"], group["lo"], group["hi"], group["n"], strict=True)
        result[tuple(_plain(part) for part in key)] = mean_of_runs(
            [Estimate(float(v), float(lo), float(hi), int(n)) for v, lo, hi, n in rows], share)
    return result


def mean_of_runs(runs: Sequence[Estimate], share: bool = False) -> Estimate:
    """The mean over runs, see the top of this page; one run is returned as it is."""
    if len(runs) == 1:
        return runs[0]
    from scipy.special import stdtrit  # half a second, which the command line need not wait for at its start

    k, values = len(runs), np.array([run.value for run in runs])
    value = float(values.mean())
    spread = float(stdtrit(k - 1, 0.5 + LEVEL / 2.0) * values.std(ddof=1)) / math.sqrt(k)
    down = max(math.hypot(*(run.down for run in runs)) / k, spread)
    up = max(math.hypot(*(run.up for run in runs)) / k, spread)
    lo, hi = value - down, value + up
    if share:
        lo, hi = max(lo, min(0.0, value)), min(hi, max(1.0, value))
    return Estimate(value, lo, hi, sum(run.n for run in runs), sum(run.runs for run in runs))


def contrast(terms: Sequence[tuple[float, Estimate]], independent: bool) -> Estimate:
    """sum c x over the terms (c, x), see the top of this page; n and runs are those of the smallest term."""
    value = sum(c * x.value for c, x in terms)
    down = [abs(c) * (x.down if c > 0 else x.up) for c, x in terms]
    up = [abs(c) * (x.up if c > 0 else x.down) for c, x in terms]
    widths = (math.hypot(*down), math.hypot(*up)) if independent else (sum(down), sum(up))
    return Estimate(value, value - widths[0], value + widths[1], min(x.n for _, x in terms),
                    min(x.runs for _, x in terms))


def difference(a: Estimate, b: Estimate, independent: bool) -> Estimate:
    """a - b."""
    return contrast([(1.0, a), (-1.0, b)], independent)


def mean_of(parts: Sequence[Estimate]) -> Estimate:
    """The mean of numbers that were measured on the same sentences."""
    return contrast([(1.0 / len(parts), part) for part in parts], independent=False)


def least(parts: Sequence[Estimate], share: bool = False) -> Estimate:
    """The smallest of k numbers, see the top of this page; shares end at 1."""
    wider = _bonferroni(len(parts))
    value, hi = min(part.value for part in parts), min(part.value + wider * part.up for part in parts)
    return Estimate(value, min(part.lo for part in parts), min(hi, max(1.0, value)) if share else hi,
                    min(part.n for part in parts), min(part.runs for part in parts))


def most(parts: Sequence[Estimate], share: bool = False) -> Estimate:
    """The largest of k numbers, see the top of this page; shares begin at 0."""
    wider = _bonferroni(len(parts))
    value, lo = max(part.value for part in parts), max(part.value - wider * part.down for part in parts)
    return Estimate(value, max(lo, min(0.0, value)) if share else lo, max(part.hi for part in parts),
                    min(part.n for part in parts), min(part.runs for part in parts))


def median(parts: Sequence[Estimate], share: bool = False) -> Estimate:
    """The median of k numbers (of an even k: the mean of the middle two), see the top of this page; shares stay
    between 0 and 1."""
    wider = _bonferroni(len(parts))
    value = float(np.median([part.value for part in parts]))
    lo = float(np.median([part.value - wider * part.down for part in parts]))
    hi = float(np.median([part.value + wider * part.up for part in parts]))
    if share:
        lo, hi = max(lo, min(0.0, value)), min(hi, max(1.0, value))
    return Estimate(value, lo, hi, min(part.n for part in parts), min(part.runs for part in parts))


def _bonferroni(k: int) -> float:
    """By how much half-widths at the level 0.95 grow at the level 1 - 0.05 / k."""
    normal = NormalDist()
    return normal.inv_cdf(1.0 - (1.0 - LEVEL) / (2 * k)) / normal.inv_cdf(0.5 + LEVEL / 2.0)


def quantity(name: str, part: Estimate | None, unit: str = "1") -> list[Quantity]:
    """One quantity, or none where the table did not allow it."""
    return [] if part is None else [part.quantity(name, unit)]


def _numbers(texts: list[str], index: pd.Index) -> pd.Series:
    """Whole numbers, numbers, or the texts themselves."""
    for read in (int, float):
        try:
            return pd.Series([read(text) for text in texts], index=index)
        except ValueError:
            continue
    return pd.Series(texts, index=index, dtype=object)


def _plain(value: object) -> Hashable:
    """A numpy number as Python's own."""
    plain = value.item() if isinstance(value, np.generic) else value
    assert isinstance(plain, Hashable)
    return plain


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
    columns = [name for name in table.columns if name.startswith(("task.", "model.", "train.", "start."))]
    result = {}
    for key, group in table.drop_duplicates("run").groupby(list(by), sort=True):
        differ = [name for name in columns if group[name].astype(str).nunique() > 1]
        result["/".join(str(part) for part in key if part != "") or "all"] = {
            "runs": len(group), "differ_in": differ}
    return result


def truth(value: object) -> bool:
    """A truth value that may have been read from a file as text."""
    return value is True or str(value).lower() == "true"
