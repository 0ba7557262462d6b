"""Where the tree is kept: ancestors at the ends of subtrees, read there alone or there and beside, with controls."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from physlm.figures import style
from physlm.figures.grammar.probing import Column, control_table, table_heading
from physlm.figures.parts import Sheet, heading, interval, nothing, points, series_handle, share_axis
from physlm.interval import Interval
from physlm.laws.cells import named
from physlm.laws.grammar.boundaries import MASKS
from physlm.laws.grammar.probing import CONTROLS, control_by_level, last_layer
from physlm.laws.grammar.settings import decoders, with_settings
from physlm.laws.law import Law

ROW, HIGH = 4.1, 2.75
# Line and marker of the model and of each control.
LOOKS = {"trained": ("-", "o"), "untrained": ((0, (4, 2)), "s"), "shuffled": ((0, (1, 1.5)), "^"),
         "majority": ((0, (5, 1, 1, 1)), "D")}
READS = {"diagonal": "that token alone", "tridiagonal": "and both neighbours"}


def boundaries_figure(table: pd.DataFrame, law: Law) -> Figure:
    """Draw the results table that ``boundaries_law`` reads, and its law; one row of panels for each setting.

    Raises:
        UserError: columns are missing.
    """
    table = with_settings(decoders(table))
    settings = sorted(table["setting"].unique())
    with style.style():
        end = 0.75 + ROW * (len(settings) - 1) + HIGH + 0.62
        sheet = Sheet(11.6, end + 0.6)
        for place, setting in enumerate(settings):
            top = 0.75 + ROW * place
            parts = _parts(table[table["setting"] == setting])
            _table(sheet.axes(0.75, top, 5.2, HIGH), parts, law, str(setting))
            _curves(sheet.axes(6.95, top, 4.4, HIGH), parts)
        handles = [series_handle(name, style.GREY, marker, line) for name, (line, marker) in LOOKS.items()]
        masks = [series_handle(f"{mask}: {READS[mask]}", style.colour(i), "none") for i, mask in enumerate(MASKS)]
        sheet.legend([*masks, *handles], top=end, columns=6)
        sheet.caption("Per cent of the last tokens of subtrees. Levels count from 1, the root. Shuffled: labels of "
                      "another sentence. Bars: 95 % over sentences.")
        return sheet.figure


Parts = dict[tuple[str, str], dict[int, Interval]]


def _parts(table: pd.DataFrame) -> Parts:
    """Accuracy by level, by (mask, trained or control)."""
    parts: Parts = {}
    for mask in MASKS:
        found = {"trained": last_layer(table, "ancestor", mask),
                 **{control: control_by_level(table, "ancestor", mask, control) for control in CONTROLS}}
        parts.update({(mask, name): {int(str(key[1])): one for key, one in cells_.items()}
                      for name, cells_ in found.items() if cells_})
    return parts


def _table(axes: Axes, parts: Parts, law: Law, setting: str) -> None:
    columns: list[Column] = [(mask, name, by_level.get) for (mask, name), by_level in parts.items()]
    if not columns:
        return nothing(axes)
    control_table(axes, sorted(set().union(*parts.values())), columns)
    least = [f"{mask} {interval(one)}" for mask in MASKS
             if (one := law.get(named("least_ancestor", setting, mask))) is not None]
    table_heading(axes, "Ancestors at the ends of subtrees" + (f", {setting}" if setting else ""), least)


def _curves(axes: Axes, parts: Parts) -> None:
    heading(axes, "By level")
    if not parts:
        return nothing(axes)
    levels = sorted(set().union(*parts.values()))
    for (mask, name), by_level in parts.items():
        line, marker = LOOKS[name]
        place = MASKS.index(mask)
        x = sorted(by_level)
        points(axes, [level + 0.06 * (place - 0.5) for level in x], [by_level[level] for level in x],
               style.colour(place), marker, line)
    axes.set(ylim=(-0.03, 1.04), ylabel="accuracy (%)", xlabel="level (1 = root)")
    axes.xaxis.set_major_locator(FixedLocator(levels))
    share_axis(axes)
