"""What the hidden states hold: ancestors and boundaries by level, from a linear probe (arXiv 2305.13673, result 4).

The probe reads the last block's output of every position with weights that depend on positions only (mask ``full``).
Beside it stand an untrained model, labels of another sentence, and the commonest answer.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from physlm import interval
from physlm.interval import Interval
from physlm.laws import cells
from physlm.laws.cells import Key, combine, measured_runs, named
from physlm.laws.grammar.settings import decoders, with_settings
from physlm.laws.law import Law, Quantity, gives

CONTROLS = ("untrained", "shuffled", "majority")
NOTES = (
    *cells.NOTES,
    (
        "ancestor@level=l, boundary@level=l: accuracy of the probe (mask full, last layer) on fresh sentences, "
        "averaged over tokens; levels count from 1, the root."
    ),
    (
        "For boundaries the commonest answer is right most of the time at levels near the root: "
        "boundary_balanced@level=l is the mean of the accuracies on the two answers, 0.5 for a constant one."
    ),
    "gap_untrained: ancestor accuracy minus that of a probe on the untrained model, the smallest over all levels.",
    cells.LEAST_NOTE,
    cells.CONTRAST_NOTE,
)


@gives("ancestor", "boundary", "boundary_balanced", "least_ancestor", "least_boundary", "least_boundary_balanced",
       "gap_untrained", "gap_untrained_boundary")
def probing_law(table: pd.DataFrame) -> Law:
    """Quantities, where the table allows them: ``ancestor@level=l``, ``boundary@level=l``,
    ``boundary_balanced@level=l``; ``least_ancestor``, ``least_boundary``, ``least_boundary_balanced``;
    ``gap_untrained``, ``gap_untrained@level=l``, ``gap_untrained_boundary`` (balanced).  With several grammars or
    variants: ``ancestor@cfg3f/level=l``, ``least_ancestor@cfg3f``.

    Raises:
        UserError: columns are missing.
    """
    table = with_settings(decoders(table))
    quantities: list[Quantity] = []
    for name, base in (("ancestor", "ancestor"), ("boundary", "boundary"),
                       ("boundary_balanced", "boundary_balanced")):
        by_level = last_layer(table, base, "full")
        quantities += _least(f"least_{name}", by_level)
        quantities += [Quantity.of(named(name, str(s), f"level={level}"), one) for (s, level), one in by_level.items()]
    for name, base in (("gap_untrained", "ancestor"), ("gap_untrained_boundary", "boundary_balanced")):
        gaps = gaps_to_control(table, base, "full", "untrained")
        quantities += _least(name, gaps)
        quantities += [Quantity.of(named(name, str(s), f"level={level}"), found) for (s, level), found in gaps.items()]
    details: dict[str, Any] = {
        "runs": measured_runs(table, ["setting"], quantities), "notes": list(NOTES),
        "controls": {f"{base}_{control}": {named("", str(s), f"level={level}")[1:]: found.value for (s, level), found in
                                           control_by_level(table, base, "full", control).items()}
                     for base in ("ancestor", "boundary") for control in CONTROLS},
    }
    return Law(tuple(quantities), details)


def last_layer(table: pd.DataFrame, base: str, mask: str) -> dict[Key, Interval]:
    """Accuracy at the last layer that was probed, by (setting, level); a table of ``with_settings``."""
    return combine(_last(_masked(cells.cells(table, base, ["level", "mask", "layer"]), mask)), ["setting", "level"],
                   share=True)


def by_layer(table: pd.DataFrame, base: str, mask: str) -> dict[Key, Interval]:
    """Accuracy by (setting, level, layer)."""
    found = _masked(cells.cells(table, base, ["level", "mask", "layer"]), mask)
    return combine(found, ["setting", "level", "layer"], share=True)


def by_step(table: pd.DataFrame, base: str) -> dict[Key, Interval]:
    """Accuracy (mask full, last layer) by (setting, level, step), the snapshots alone."""
    return combine(cells.cells(table, base, ["level", "step"]), ["setting", "level", "step"], share=True)


def control_by_level(table: pd.DataFrame, base: str, mask: str, control: str) -> dict[Key, Interval]:
    """Accuracy of one of ``CONTROLS`` by (setting, level)."""
    found = _masked(cells.cells(table, with_control(base, control), ["level", "mask"]), mask)
    return combine(found, ["setting", "level"], share=True)


def gaps_to_control(table: pd.DataFrame, base: str, mask: str, control: str) -> dict[Key, Interval]:
    """Trained minus control by (setting, level): run by run, then averaged."""
    trained = _last(_masked(cells.cells(table, base, ["level", "mask", "layer"]), mask))
    other = _masked(cells.cells(table, with_control(base, control), ["level", "mask"]), mask)
    first, second = (combine(rows, ["setting", "level", "run"], share=True) for rows in (trained, other))
    gaps: dict[Key, list[Interval]] = {}
    for key, found in first.items():
        if key in second:
            gaps.setdefault(key[:2], []).append(interval.difference(found, second[key], independent=False))
    return {key: interval.mean_of_runs(parts) for key, parts in gaps.items()}


def with_control(base: str, control: str) -> str:
    """``boundary_untrained_balanced`` of ``boundary_balanced``."""
    first, *rest = base.split("_")
    return "_".join([first, control, *rest])


def _least(name: str, by_level: dict[Key, Interval]) -> list[Quantity]:
    """One quantity a setting: the least over its levels."""
    own = {str(setting): [one for key, one in by_level.items() if key[0] == setting]
           for setting in dict.fromkeys(key[0] for key in by_level)}
    return [Quantity.of(named(name, setting), interval.least(parts, share=True)) for setting, parts in own.items()]


def _masked(found: pd.DataFrame, mask: str) -> pd.DataFrame:
    return found[found["mask"] == mask]


def _last(found: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's last layer."""
    return found[found["layer"] == found.groupby("run")["layer"].transform("max")] if len(found) else found
