"""What the hidden states hold: probe accuracy by level beside its controls, by layer, and by training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from physlm.figures import style
from physlm.figures.parts import (
    Sheet,
    group_columns,
    grown,
    heading,
    heat,
    interval,
    level_colours,
    log_steps,
    nothing,
    points,
    series_handle,
    share_axis,
)
from physlm.interval import Interval
from physlm.laws.cells import Key, cells, combine, named
from physlm.laws.grammar.probing import CONTROLS, by_layer, by_step, control_by_level, last_layer
from physlm.laws.grammar.settings import decoders, with_settings
from physlm.laws.law import Law

# Name above the columns -> base of the rows.
GROUPS = {"ancestor": "ancestor", "boundary": "boundary", "boundary, balanced": "boundary_balanced"}
ROW, HIGH = 4.1, 2.75


def probing_figure(table: pd.DataFrame, law: Law) -> Figure:
    """Draw the results table that ``probing_law`` reads, and its law; one row of panels for each setting.

    Raises:
        UserError: columns are missing.
    """
    table = with_settings(decoders(table))
    settings = sorted(table["setting"].unique())
    with style.style():
        end = 0.75 + ROW * (len(settings) - 1) + HIGH + 0.62
        sheet = Sheet(15.4, end + 0.6)
        colours = level_colours(probed_levels(table))
        for place, setting in enumerate(settings):
            own, top = table[table["setting"] == setting], 0.75 + ROW * place
            _table(sheet.axes(0.75, top, 6.6, HIGH), own, law, str(setting))
            curves = combine_last_step(own, "ancestor")
            layers = {key[1:]: one for key, one in by_layer(own, "ancestor", "full").items()}
            _curves(sheet.axes(8.1, top, 3.1, HIGH), layers, colours, "By layer", "ancestors; 0: embedding", False)
            _curves(sheet.axes(12.0, top, 3.1, HIGH), curves, colours, "While training", "ancestors, last layer",
                    True)
        sheet.legend([series_handle(f"level {level}", shade, "o") for level, shade in colours.items()],
                     top=end, columns=max(len(colours), 1))
        sheet.caption("Per cent of tokens. Levels count from 1, the root. Probe: linear, reads all positions with "
                      "weights that depend on positions only. Balanced: mean of the accuracies on the two answers. "
                      "Shuffled: labels of another sentence.")
        return sheet.figure


def probed_levels(table: pd.DataFrame) -> list[int]:
    """All levels with a probe of ancestors or boundaries."""
    found = pd.concat([cells(table, base, ["level", "mask", "layer"])["level"] for base in ("ancestor", "boundary")])
    return sorted({int(level) for level in found})


def combine_last_step(table: pd.DataFrame, base: str) -> dict[Key, Interval]:
    """Accuracy (mask full, last layer) by (level, step): the snapshots, and the end of training."""
    found = {key[1:]: one for key, one in by_step(table, base).items()}
    rows = cells(table, base, ["level", "mask", "layer"])
    rows = rows[rows["mask"] == "full"]
    if len(rows):
        rows = rows[rows["layer"] == rows.groupby("run")["layer"].transform("max")]
    return {**found, **combine(rows, ["level", "steps"], share=True)}


Column = tuple[str, str, Callable[[int], Interval | None]]


def control_table(axes: Axes, levels: Sequence[int], columns: Sequence[Column]) -> None:
    """A table of levels by (group, column, value of a level); neighbours of one group stand together."""
    values = np.array([[one.value if (one := value(level)) is not None else np.nan for _, _, value in columns]
                       for level in levels])
    heat(axes, values.reshape(len(levels), len(columns)), [f"level {level}" for level in levels],
         [name for _, name, _ in columns])
    names = list(dict.fromkeys(group for group, _, _ in columns))
    group_columns(axes, [(name, sum(group == name for group, _, _ in columns)) for name in names])


def table_heading(axes: Axes, title: str, least: Sequence[str]) -> None:
    """A title above the names of the columns' groups, and under it the least over levels."""
    axes.tick_params(axis="x", labelsize=7.4)
    axes.set_title(title, fontweight="bold", loc="left", pad=38)
    axes.annotate("least over levels: " + ", ".join(least) if least else "", (0, 1), xytext=(0, 25),
                  xycoords="axes fraction", textcoords="offset points", fontsize=8.6)


def _table(axes: Axes, table: pd.DataFrame, law: Law, setting: str) -> None:
    columns: list[Column] = []
    levels: set[int] = set()
    for group, base in GROUPS.items():
        parts = {"trained": last_layer(table, base, "full"),
                 **{control: control_by_level(table, base, "full", control) for control in CONTROLS}}
        for name, found in parts.items():
            if found:
                by_level = {int(str(key[1])): one for key, one in found.items()}
                levels |= by_level.keys()
                columns.append((group, name, by_level.get))
    if not columns:
        return nothing(axes)
    control_table(axes, sorted(levels), columns)
    least = [f"{word} {interval(one)}" for word in ("ancestor", "boundary")
             if (one := law.get(named(f"least_{word}", setting))) is not None]
    table_heading(axes, "Probe of the last layer" + (f", {setting}" if setting else ""), least)


def _curves(axes: Axes, found: dict[Key, Interval], colours: dict[int, object], title: str, found_text: str,
            steps: bool) -> None:
    """Accuracy by layer or step, one curve a level."""
    heading(axes, title, found_text)
    if not found:
        return nothing(axes)
    for level, shade in colours.items():
        x, values = grown(found, (level,))
        points(axes, x, values, shade)
    axes.set(ylim=(-0.03, 1.04), ylabel="accuracy (%)")
    share_axis(axes)
    if steps:
        log_steps(axes, [float(str(key[1])) for key in found])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))
        axes.set_xlabel("layer")
