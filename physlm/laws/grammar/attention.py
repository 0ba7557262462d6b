"""Where attention goes: to ends of subtrees, most to the adjacent one (arXiv 2305.13673, results 6 to 9).

All weights are residuals: attention minus its mean at the same distance, pooled over layers and heads.  They need not
be 0 without any knowledge of trees, since ends have their places in a sentence.  So every headline number is what goes
beyond both controls, the same model with the trees of other sentences and an untrained model with the true ones:

    peak_at_zero      residual at an end of a subtree, minus the mean of the positions around it, mean over levels
    end_to_end        residual from an end to an end, mean over pairs of levels
    adjacent_decay    residual to the adjacent end (r = 1) minus the mean of the farther ones (r >= 2), mean over pairs
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from physlm import interval
from physlm.interval import Interval
from physlm.laws import cells
from physlm.laws.cells import Key, combine, measured_runs, named
from physlm.laws.grammar.settings import decoders, with_settings
from physlm.laws.law import Law, Quantity, gives

# Base of the rows -> the parts of their names that say where; "" is the trained model on the true trees.
KEYS = {"to_end": ("level", "shift"), "nearest_end": ("level", "shift"), "end_to_end": ("from", "to"),
        "adjacent": ("from", "to", "r")}
KINDS = ("", "_shuffled", "_untrained")
PEAKS = {"any": "to_end", "nearest": "nearest_end"}
NOTES = (
    *cells.NOTES,
    (
        "Attention weights, residual: minus the mean weight at the same distance; mean over all layers and heads, "
        "most of which attend elsewhere, so that the numbers are small beside 1."
    ),
    (
        "peak_at_zero@any, @nearest: at the end of a subtree (of all ends before the token, or of the nearest of its "
        "level) minus the mean of the positions around it, averaged over levels. end_to_end: from ends to ends. "
        "adjacent_decay: to the adjacent end minus the mean of the ends 2 or more subtrees away. Each is what goes "
        "beyond both controls, the trees of other sentences and an untrained model: the smaller of the two "
        "differences, with an interval that knows it is a minimum; .._raw, .._shuffled, .._untrained: the numbers "
        "themselves."
    ),
    (
        "levels_peaking_at_zero@..., pairs_most_to_adjacent: share of levels (of pairs of levels) whose largest value "
        "is at the end itself (the adjacent end); the interval runs from those that are so beyond their intervals to "
        "those that are not excluded."
    ),
    cells.CONTRAST_NOTE,
)
Cells = dict[Key, Interval]


@gives(
       *(name + suffix for name in ("peak_at_zero", "end_to_end", "adjacent_decay") for suffix in ("_raw", *KINDS)),
       "levels_peaking_at_zero", "pairs_most_to_adjacent")
def attention_law(table: pd.DataFrame) -> Law:
    """Quantities, where the table allows them: ``peak_at_zero@any``, ``peak_at_zero@nearest``, ``end_to_end``,
    ``adjacent_decay``, each beyond its controls, and with ``_raw``, ``_shuffled`` and ``_untrained`` behind the base;
    ``levels_peaking_at_zero@any``, ``..@nearest``, ``pairs_most_to_adjacent``.  With several grammars or variants:
    ``peak_at_zero@cfg3f/any``, ``adjacent_decay@cfg3f``.

    Raises:
        UserError: columns are missing.
    """
    table = with_settings(decoders(table))
    quantities: list[Quantity] = []
    statistics: list[tuple[str, str, str, Callable[[Cells], Interval | None]]] = [
        *(("peak_at_zero", kind, base, _peak) for kind, base in PEAKS.items()),
        ("end_to_end", "", "end_to_end", _mean), ("adjacent_decay", "", "adjacent", _decay),
    ]
    for name, part, base, statistic in statistics:
        kinds = {kind: _by_run(table, base + kind, KEYS[base], statistic) for kind in KINDS}
        controlled = {key: interval.least(beyond) for key, found in kinds[""].items() if (beyond := [
            interval.difference(found, kinds[kind][key], independent=False)
            for kind in KINDS[1:] if key in kinds[kind]])}
        for suffix, found in (("", controlled), ("_raw", kinds[""]), *((kind, kinds[kind]) for kind in KINDS[1:])):
            quantities += [Quantity.of(named(name + suffix, setting, part), one) for setting, one in _over_runs(found)]
    for setting in sorted(table["setting"].unique()):
        own = table[table["setting"] == setting]
        for kind, base in PEAKS.items():
            levels = grouped(attention_cells(own, base), last=0)
            quantities += cells.quantity(named("levels_peaking_at_zero", setting, kind), _share_largest(levels))
        pairs = grouped(attention_cells(own, "adjacent"), last=1)
        quantities += cells.quantity(named("pairs_most_to_adjacent", setting), _share_largest(pairs))
    details: dict[str, Any] = {"runs": measured_runs(table, ["setting"], quantities), "notes": list(NOTES)}
    return Law(tuple(quantities), details)


def attention_cells(table: pd.DataFrame, base: str, kind: str = "") -> Cells:
    """The mean over runs of one statistic, by its ``KEYS``; ``kind`` is one of ``KINDS``."""
    return combine(cells.cells(table, base + kind, KEYS[base]), KEYS[base])


def grouped(found: Cells, last: int) -> list[tuple[Interval, list[Interval]]]:
    """Cells that differ in their last key alone: the one at ``last``, and the others.

    Groups without the one or without any other are left out: the whole sentence has no adjacent one.
    """
    groups: dict[Key, Cells] = {}
    for key, one in found.items():
        groups.setdefault(key[:-1], {})[key] = one
    result = []
    for start, group in groups.items():
        others = [one for key, one in group.items() if key[-1] != last]
        if (*start, last) in group and others:
            result.append((group[*start, last], others))
    return result


def _peak(found: Cells) -> Interval | None:
    parts = [interval.difference(one, interval.mean_of(others), independent=False) for one, others in grouped(found, 0)]
    return interval.mean_of(parts) if parts else None


def _decay(found: Cells) -> Interval | None:
    parts = [interval.difference(one, interval.mean_of(others), independent=False) for one, others in grouped(found, 1)]
    return interval.mean_of(parts) if parts else None


def _mean(found: Cells) -> Interval | None:
    return interval.mean_of(list(found.values())) if found else None


def _by_run(table: pd.DataFrame, base: str, keys: tuple[str, ...], statistic: Callable[[Cells], Interval | None]
            ) -> dict[tuple[str, str], Interval]:
    """The statistic of every run, by (setting, run)."""
    rows = cells.cells(table, base, keys)
    result = {}
    for (setting, run), group in rows.groupby(["setting", "run"], sort=True):
        found = statistic(combine(group, keys))
        if found is not None:
            result[str(setting), str(run)] = found
    return result


def _over_runs(found: dict[tuple[str, str], Interval]) -> list[tuple[str, Interval]]:
    settings = dict.fromkeys(setting for setting, _ in found)
    return [(s, interval.mean_of_runs([one for (own, _), one in found.items() if own == s])) for s in settings]


def _share_largest(groups: list[tuple[Interval, list[Interval]]]) -> Interval | None:
    """The share of groups in which the one is the largest; see ``NOTES`` for the interval."""
    if not groups:
        return None
    largest = sum(one.value > max(other.value for other in others) for one, others in groups)
    surely = sum(one.lo > max(other.hi for other in others) for one, others in groups)
    perhaps = sum(one.hi >= max(other.lo for other in others) for one, others in groups)
    k = len(groups)
    return Interval(largest / k, surely / k, perhaps / k, k,
                    min(one.runs for one, _ in groups))
