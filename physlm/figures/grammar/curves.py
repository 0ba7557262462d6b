"""Accuracy of grammars by cut, and learning curves: accuracy and KL by training step, snapshots and end together."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from physlm.figures import style
from physlm.figures.parts import bars, grid, grown, heading, log_steps, nothing, points, share_axis
from physlm.interval import Interval
from physlm.laws.cells import Key, cells, combine


def accuracy_bars(axes: Axes, table: pd.DataFrame, by: str, series: Sequence[str], title: str) -> None:
    """Completion accuracy of each series: light from the start, full from the larger cuts."""
    found = combine(cells(table, "accuracy", ["cut"]), [by, "cut"], share=True)
    cuts = sorted({int(str(key[1])) for key in found})
    bars(axes, series, [[one for cut in cuts if (one := found.get((name, cut))) is not None] for name in series],
         [style.colour(i) for i in range(len(series))], [0.45, *[1.0] * max(len(cuts) - 1, 1)])
    axes.set_ylabel("accuracy (%)")
    larger = ", ".join(str(cut) for cut in cuts[1:])
    heading(axes, title, f"light: from the start; full: from a true prefix of {larger} tokens" if larger
            else "from the start")


def accuracy_by_step(table: pd.DataFrame, by: str) -> dict[Key, Interval]:
    """Accuracy from the larger cut by (series, step); a table with the column ``by``."""
    parts = [cells(table, "accuracy", ["cut", "step"]), _at_the_end(cells(table, "accuracy", ["cut"]))]
    found = pd.concat([part for part in parts if len(part)]) if any(map(len, parts)) else parts[0]
    if len(found):
        found = found[found["cut"] == found.groupby(by)["cut"].transform("max")]
    return combine(found, [by, "step"], share=True)


def kl_by_step(table: pd.DataFrame, by: str) -> dict[Key, Interval]:
    """KL by (series, step), nats/token."""
    parts = [cells(table, "kl", ["step"]), _at_the_end(cells(table, "kl"))]
    return combine(pd.concat([part for part in parts if len(part)]) if any(map(len, parts)) else parts[0],
                   [by, "step"])


def accuracy_curves(axes: Axes, table: pd.DataFrame, by: str, series: Sequence[str]) -> None:
    """One curve a series, on a logarithmic axis of steps."""
    found = accuracy_by_step(table, by)
    for place, name in enumerate(series):
        steps, values = grown(found, (name,))
        points(axes, steps, values, style.colour(place), style.marker(place), label=name)
    axes.set(ylim=(-0.03, 1.04), ylabel="accuracy (%)")
    share_axis(axes)
    if found:
        log_steps(axes, [float(str(key[1])) for key in found])
    else:
        nothing(axes)


def kl_curves(axes: Axes, table: pd.DataFrame, by: str, series: Sequence[str]) -> None:
    """One curve a series, both axes logarithmic."""
    found = {key: one for key, one in kl_by_step(table, by).items() if one.value > 0}
    if not found:
        return nothing(axes)
    lo, hi = min(one.value for one in found.values()) / 1.6, max(one.value for one in found.values()) * 1.6
    for place, name in enumerate(series):
        steps, values = grown(found, (name,))
        # An interval that reaches 0 has no end on this axis: it goes down to the edge.
        points(axes, steps, [Interval(one.value, max(one.lo, lo), one.hi, one.n, one.runs) for one in values],
               style.colour(place), style.marker(place), label=name)
    axes.set(yscale="log", ylim=(lo, hi), ylabel="KL(truth || model) (nats/token, log)")
    axes.yaxis.set_major_locator(FixedLocator(style.log_ticks(lo, hi)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    grid(axes)
    log_steps(axes, [float(str(key[1])) for key in found])


def _at_the_end(found: pd.DataFrame) -> pd.DataFrame:
    """Rows without a step happened after all of the run's."""
    return found.assign(step=found["steps"]) if len(found) else found.assign(step=[])
