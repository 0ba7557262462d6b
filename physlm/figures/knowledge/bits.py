"""Learned bits against parameters, log-log, one colour for each kind of model: Figures 3, 4, 5 and 7 of 2404.05405.

    figure = bits_against_parameters("architecture", (Panel("1000 exposures", {"exposures": "1000"}),
                                                      Panel("by active parameters", params="params_active")),
                                     prepare=named, names={"gpt2": "GPT-2"})

A dot is the best learning rate of one size, faint dots are the other rates.  Slanted guide lines are the published 2
and 1 bits a parameter, a dashed level is all that the data hold.  Open marks are what was published of one kind of
model, so many bits a parameter, at the sizes that ours have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from physlm.figures import style
from physlm.figures.parts import (
    Sheet,
    heading,
    nothing,
    points,
    published_handle,
    published_marks,
    series_handle,
    wrapped,
)
from physlm.interval import Interval
from physlm.laws.cells import intervals
from physlm.laws.columns import known, measured
from physlm.laws.law import Law

GUIDES = ((2.0, (0, (6, 2))), (1.0, (0, (1, 1.6))))  # published, bits/parameter
LEFT, BETWEEN, RIGHT, TOP, WIDE, HIGH, ROW = 0.75, 0.62, 0.25, 0.55, 4.2, 3.3, 4.3  # inches
COLUMNS, LEGEND_COLUMNS, LEGEND_ROW, NARROWEST = 2, 4, 0.19, 7.4


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        where: column -> the value that the rows of the panel have, or several in a tuple.
        params: the column of parameters along the horizontal axis.
        published: value of the series -> bits for each of these parameters.
    """

    title: str
    where: Mapping[str, object] = field(default_factory=dict, hash=False)
    params: str = "params_used"
    published: Mapping[str, float] = field(default_factory=dict, hash=False)


def bits_against_parameters(
    series: str, panels: Sequence[Panel], *, prepare: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table,
    names: Mapping[str, str] | None = None, caption: str = "",
) -> Callable[[pd.DataFrame, Law], Figure]:
    """A figure of the rows ``bits``, two panels in a row.

    Args:
        series: the column that is told by colour and mark.
        prepare: makes columns that are named here.
        names: how readers call the values of ``series``.

    Raises:
        UserError: when it draws, for a column that the table does not have.
    """

    def figure(table: pd.DataFrame, law: Law) -> Figure:
        table = prepare(table)
        known(table, [series, *(name for panel in panels for name in (panel.params, *panel.where))])
        bits, all_bits = measured(table, "bits", ()), measured(table, "bits_max", ())
        told = list(dict.fromkeys(bits[series]))
        place = {value: s for s, value in enumerate(told)}
        beside = any(value in place for panel in panels for value in panel.published)
        rows = -(-(len(told) + len(GUIDES) + 2 + beside) // LEGEND_COLUMNS)
        columns = min(len(panels), COLUMNS)
        end = TOP + ROW * (-(-len(panels) // columns) - 1) + HIGH + 0.6
        with style.style():
            width = max(LEFT + columns * WIDE + (columns - 1) * BETWEEN + RIGHT, NARROWEST)
            sheet = Sheet(width, end + 0.5 + LEGEND_ROW * rows)
            for p, panel in enumerate(panels):
                row, column = divmod(p, columns)
                axes = sheet.axes(LEFT + column * (WIDE + BETWEEN), TOP + ROW * row, WIDE, HIGH)
                heading(axes, panel.title)
                here, level = (_where(found, panel.where) for found in (bits, all_bits))
                _panel(axes, here, sorted(set(level["value"])), panel, series, place)
                axes.set_ylabel("learned knowledge (bits)" if column == 0 else "")
            handles = [series_handle(str((names or {}).get(value, value)), *_look(s), "none")
                       for value, s in place.items()]
            handles += [Line2D([], [], color=style.GREY, linewidth=1.0, linestyle=dashes,
                               label=f"{ratio:g} bit{'s' * (ratio > 1)}/parameter") for ratio, dashes in GUIDES]
            handles.append(Line2D([], [], color="black", linewidth=1.0, linestyle=(0, (4, 3)), label="all in the data"))
            handles.append(Line2D([], [], color=style.GREY, alpha=0.4, marker="o", markersize=3.6, linestyle="none",
                                  markeredgewidth=0, label="other learning rates"))
            handles += [published_handle("black", "o")] if beside else []
            sheet.legend(handles, top=end, columns=LEGEND_COLUMNS)
            text = f"{caption} Best of the learning rates of each size. Bars: 95 % over people, one model each."
            sheet.caption(wrapped(text.strip(), width))
        return sheet.figure

    return figure


def _where(rows: pd.DataFrame, where: Mapping[str, object]) -> pd.DataFrame:
    for name, wanted in where.items():
        rows = rows[rows[name].isin(wanted if isinstance(wanted, tuple) else (wanted,))]
    return rows


def _panel(axes: Axes, rows: pd.DataFrame, levels: Sequence[float], panel: Panel, series: str,
           place: Mapping[str, int]) -> None:
    shown, params = rows[rows["value"] > 0], panel.params
    if shown.empty:
        nothing(axes, "no bits were learned" if len(rows) else "not measured")
        axes.set(xticks=[], yticks=[])
        return
    x_lo, x_hi = shown[params].min() / 1.3, shown[params].max() * 1.3
    told = (shown[params] * shown[series].map(dict(panel.published)).astype(float)).dropna()
    y_lo, y_hi = min([*shown["value"], *told]) / 1.4, max([*shown["value"], *told, *levels]) * 1.4
    axes.set(xscale="log", yscale="log", xlim=(x_lo, x_hi), ylim=(y_lo, y_hi))
    for axis, lo, hi in ((axes.xaxis, x_lo, x_hi), (axes.yaxis, y_lo, y_hi)):
        style.log_axis(axis, lo, hi)
    axes.grid(True, color=style.LIGHT, linewidth=0.5)
    x = np.geomspace(x_lo, x_hi, 50)
    for guide, dashes in GUIDES:
        axes.plot(x, guide * x, color=style.GREY, linewidth=1.0, linestyle=dashes, zorder=1.5)
    for level in levels:
        axes.axhline(level, color="black", linewidth=1.0, linestyle=(0, (4, 3)), alpha=0.7, zorder=1.4)
    for value, group in shown.groupby(series, sort=False):
        colour, mark = _look(place[str(value)])
        best = group.loc[group.groupby([params, "label"])["value"].idxmax()].sort_values(params)
        others = group.drop(index=best.index)
        axes.plot(others[params], others["value"], mark, color=colour, alpha=0.28, markersize=3.6, markeredgewidth=0,
                  zorder=3)
        points(axes, list(best[params]), _positive(intervals(best)), colour, mark, "none", markersize=5.6)
        if (ratio := panel.published.get(str(value))) is not None:
            sizes = sorted(set(best[params]))
            published_marks(axes, sizes, [ratio * size for size in sizes], colour, mark)
    kind = "active parameters" if params == "params_active" else "parameters"
    axes.set_xlabel(f"{kind} (rows of tokens in use included)")


def _look(place: int) -> tuple[str, str]:
    """Colour and mark; where colours begin anew, marks are others."""
    return style.colour(place), style.marker(place + place // len(style.COLOURS))


def _positive(found: Sequence[Interval]) -> list[Interval]:
    """With lower ends that a logarithmic axis can show."""
    return [replace(one, lo=max(one.lo, one.value / 1e3)) for one in found]
