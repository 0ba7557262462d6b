"""The library of plots: forms of laws by setting, drawn as bars or as curves; a table goes in, a figure comes out.

    figure = bars(ANSWER, groups="position", series="canon", control=ANSWER.of("majority"),
                  control_name="best constant", besides=Best("best", ANSWER, over="train.learning_rate"),
                  besides_name="best rate", published={("rope", ""): 0.1},
                  names={"rope": "RoPE", "none": "no positions", ("canon", ""): "without Canon"})

A plot draws the same intervals as the law, from ``form.cells``.  Settings that are neither along the axis nor told by
colour have panels of their own.  ``names`` says how readers call a value, or a value of one setting.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from physlm.config import unknown_key
from physlm.errors import UserError, counted
from physlm.figures import style
from physlm.figures.parts import (
    Sheet,
    grid,
    heading,
    nothing,
    percent,
    points,
    published_handle,
    published_marks,
    series_handle,
    share_axis,
    wrapped,
)
from physlm.interval import NOTHING, Interval
from physlm.laws.cells import Key
from physlm.laws.forms import Cells, Form, value_text
from physlm.laws.law import Law

T = TypeVar("T")
Draw = Callable[[pd.DataFrame, Law], Figure]
Names = Mapping[Any, str]  # a value, or (setting, value) -> for readers
Published = Mapping[Key, float]  # the values of the form's keys, in their order -> what was published
BAR, HIGH, LEFT, BETWEEN, RIGHT, ROW, NARROWEST = 0.46, 2.9, 0.75, 0.7, 0.25, 3.75, 4.2  # inches
COLUMNS = 3  # panels side by side, at most
DOWN = "v"  # marks of what is drawn besides


def bars(form: Form, groups: str, series: str = "", *, control: Form | None = None, control_name: str = "control",
         besides: Form | None = None, besides_name: str = "", published: Published | None = None,
         names: Names | None = None, ylabel: str = "answered (%)", title: str = "", caption: str = "") -> Draw:
    """Bars of shares with their 95 % intervals.

    Args:
        form: what is drawn.
        groups: the one of its keys along the horizontal axis.
        series: the one that is told by colour.
        control: a dashed line at each bar; by the same keys, some of them, or none.
        besides: a small mark at each bar, likewise, such as the best of rates.
        published: open marks.
        title: of a figure with one panel.
        caption: a sentence below; what the error bars cover follows by itself.

    Raises:
        UserError: a key that the form does not have; when it draws, what the form raises.
    """
    _check(form, (groups, series), (control, besides))

    def figure(table: pd.DataFrame, law: Law) -> Figure:
        found = form.cells(table)
        beside = [None if other is None else other.cells(table) for other in (control, besides)]
        told = values_of(form, found, series) if series else [None]
        along = values_of(form, found, groups)
        handles: list[Any] = [Patch(**_filled(s), label=value_name(series, one, names))
                              for s, one in enumerate(told) if series]
        if beside[0]:
            handles.append(Line2D([], [], color="black", linewidth=1.2, linestyle=style.DASHES, label=control_name))
        if beside[1]:
            handles.append(series_handle(besides_name, "black", DOWN, "none"))
        if any(key in found for key in published or ()):
            handles.append(published_handle("black", "D"))
        top = 1.09 * max([1.0 if form.unit == "1" else 0.0, *(one.hi for one in found.values())], default=1.0) or 1.0

        def panel(axes: Axes, fixed: Mapping[str, object]) -> None:
            width = 0.84 / max(len(told), 1)
            for g, group in enumerate(along):
                for s, one in enumerate(told):
                    key = _key(form, {**fixed, groups: group, series: one})
                    if key in found:
                        x = g + (s - (len(told) - 1) / 2.0) * width
                        _bar(axes, x, 0.93 * width, found[key], s, form.unit == "1")
                        others = [_match(form, key, other, cells)
                                  for other, cells in zip((control, besides), beside, strict=True)]
                        _beside(axes, x, width, others, (published or {}).get(key))
            axes.set(xlim=(-0.6, len(along) - 0.4), ylim=(0, top))
            axes.xaxis.set_major_locator(FixedLocator(list(range(len(along)))))
            axes.set_xticklabels(["\n".join(textwrap.wrap(value_name(groups, value, names), 16)) for value in along])

        wide = max(len(along) * (len(told) * BAR + 0.5), NARROWEST)
        return _sheet(form, found, (groups, series), panel, wide, handles, names, ylabel, title, caption)

    return figure


def curves(form: Form, x: str, series: str = "", *, control: Form | None = None, control_name: str = "control",
           published: Published | None = None, names: Names | None = None, xlabel: str = "", ylabel: str = "",
           log: bool = True, log_y: bool = False, guides: Sequence[float] = (), one_scale: bool = False,
           title: str = "", caption: str = "") -> Draw:
    """Curves of numbers with their 95 % intervals over a setting whose values are numbers.

    Args:
        form: what is drawn.
        x: the one of its keys along the horizontal axis.
        series: the one that is told by colour and mark.
        control: drawn dashed in the colour of its series; by the same keys, or without the series.
        published: open marks.
        log: whether the horizontal axis is logarithmic.
        log_y: whether the vertical axis is; numbers that are not above 0 are left out, and the caption says which.
        guides: slopes of grey lines y = slope x, such as bits for each parameter.
        one_scale: the vertical axes of all panels are the same.
        title, caption: as in ``bars``.

    Raises:
        UserError: a key that the form does not have; when it draws, what the form raises.
    """
    _check(form, (x, series), (control,))

    def figure(table: pd.DataFrame, law: Law) -> Figure:
        every = form.cells(table)
        found = {key: one for key, one in every.items() if one.value > 0 or not log_y}
        left = _left_out(form, [key for key in every if key not in found], series, names)
        under = control.cells(table) if control is not None else {}
        told = values_of(form, found, series) if series else [None]
        looks = [(style.colour(s), style.marker(s), style.line(s)) for s in range(len(told))]
        handles: list[Any] = [series_handle(value_name(series, one, names), *look)
                              for one, look in zip(told, looks, strict=True) if series]
        if under:
            handles.append(series_handle(control_name, "black", "none", style.DASHES))
        if any(key in found for key in published or ()):
            handles.append(published_handle("black", "o"))

        def panel(axes: Axes, fixed: Mapping[str, object]) -> None:
            for one, (colour, marker, line) in zip(told, looks, strict=True):
                own = {**fixed, **({series: one} if series else {})}
                curve(axes, form, found, x, own, colour, marker, line)
                if control is not None:
                    curve(axes, control, under, x, own, colour, "none", style.DASHES)
                marks = _with({key: value for key, value in (published or {}).items() if key in found}, form, own)
                published_marks(axes, [_number(key[form.keys.index(x)]) for key in marks], list(marks.values()),
                                colour, marker)
            number_axis(axes, [_number(value) for value in values_of(form, _with(found, form, fixed), x)], log)
            if log_y:
                axes.set_yscale("log")
                style.log_axis(axes.yaxis, *axes.get_ylim())
            _guides(axes, guides)
            axes.set_xlabel(xlabel or x.replace("_", " "))

        said = " ".join(filter(None, (caption, left)))
        sheet = _sheet(form, found, (x, series), panel, NARROWEST, handles, names, ylabel, title, said)
        if one_scale and sheet.axes:
            _one_scale(sheet.axes)
            for axes in sheet.axes if log_y else ():
                style.log_axis(axes.yaxis, *axes.get_ylim())  # its numbers are those of the scale
        return sheet

    return figure


def _left_out(form: Form, keys: Sequence[Key], series: str, names: Names | None) -> str:
    """A sentence for captions: what a logarithmic axis has no place for."""
    if not keys:
        return ""
    of = dict.fromkeys(value_name(series, key[form.keys.index(series)], names) for key in keys) if series else {}
    whose = f" ({', '.join(of)})" if of else ""
    return f"Not above 0, and not drawn: {counted(len(keys), 'point')}{whose}."


def _with(cells: Mapping[Key, T], form: Form, settings: Mapping[str, object]) -> dict[Key, T]:
    """The cells that have these settings."""
    return {key: one for key, one in cells.items()
            if all(key[form.keys.index(name)] == value for name, value in settings.items())}


def _one_scale(panels: Sequence[Axes]) -> None:
    """The same vertical axis for all."""
    lows, highs = zip(*(axes.get_ylim() for axes in panels), strict=True)
    for axes in panels:
        axes.set_ylim(min(lows), max(highs))


def _sheet(form: Form, found: Cells, shown: Sequence[str], panel: Callable[[Axes, Mapping[str, object]], None],
           wide: float, handles: Sequence[Any], names: Names | None, ylabel: str, title: str, caption: str) -> Figure:
    """A panel for each combination of the keys that are not shown within one, a legend, and what error bars cover."""
    panels = _panels(form, found, shown)
    columns = max(1, min(len(panels), COLUMNS))
    with style.style():
        width = LEFT + columns * wide + (columns - 1) * BETWEEN + RIGHT
        end = 0.55 + ROW * (-(-len(panels) // columns) - 1) + HIGH + 0.6
        sheet = Sheet(width, end + 1.0)
        for place, fixed in enumerate(panels):
            row, column = divmod(place, columns)
            axes = sheet.axes(LEFT + column * (wide + BETWEEN), 0.55 + ROW * row, wide, HIGH)
            parts = [value_name(name, value, names, alone=True) for name, value in fixed.items()]
            heading(axes, ", ".join(parts) or title)
            panel(axes, fixed)
            axes.set_ylabel(ylabel if column == 0 else "")
            if form.unit == "1":
                share_axis(axes)
            else:
                axes.yaxis.set_major_formatter(FuncFormatter(style.plain_number))
                grid(axes)
            if not found:
                nothing(axes)
        sheet.legend(handles, top=end, columns=min(max(len(handles), 1), 5 if width > 7 else 3))
        sheet.caption(wrapped(f"{caption} {error_bars(found)}".strip(), width))
        return sheet.figure


def error_bars(found: Cells) -> str:
    """What the error bars of a figure cover, for its caption."""
    runs = sorted({one.runs for one in found.values()})
    if not runs:
        return ""
    covers = max(({one.covers for one in found.values()} - {NOTHING}) or {NOTHING}, key=len)
    models = f"{runs[0]}" if len(runs) == 1 else f"{runs[0]} to {runs[-1]}"
    return f"Error bars: 95 %, over {covers}; {models} model{'s' if runs[-1] > 1 else ''} each."


def _filled(index: int) -> dict[str, Any]:
    """Colour and hatch of a series of bars."""
    return {"facecolor": style.colour(index), "hatch": style.hatch(index), "edgecolor": "white", "linewidth": 0}


def _bar(axes: Axes, x: float, width: float, one: Interval, index: int, share: bool) -> None:
    axes.bar(x, one.value, width, zorder=2, **_filled(index))
    axes.errorbar(x, one.value, yerr=[[one.down], [one.up]], color="black", elinewidth=0.9, capsize=1.8, zorder=4)
    axes.annotate(percent(one.value) if share else style.plain_number(one.value), (x, one.hi), xytext=(0, 2.5),
                  textcoords="offset points", ha="center", va="bottom", fontsize=7.2)


def _beside(axes: Axes, x: float, width: float, others: Sequence[Interval | None], published: float | None) -> None:
    """The line of a control, a mark of what is drawn besides, and an open mark of what was published."""
    level, besides = others
    if level is not None:
        axes.hlines(level.value, x - width / 2.0, x + width / 2.0, color="black", linewidth=1.2, linestyle=style.DASHES,
                    zorder=3)
    if besides is not None:
        points(axes, [x - 0.3 * width], [besides], "black", DOWN, "none", markersize=4.0)
    if published is not None:
        published_marks(axes, [x + 0.3 * width], [published], "black", "D")


def curve(axes: Axes, form: Form, found: Cells, x: str, fixed: Mapping[str, object], colour: str, marker: str,
           line: Any) -> None:
    """The cells of a form at these values of the keys that it has, along x; a level where it has no x."""
    own = {key: one for key, one in found.items()
           if all(key[form.keys.index(name)] == value for name, value in fixed.items() if name in form.keys)}
    if x not in form.keys:
        for one in own.values():
            axes.axhline(one.value, color=colour, linewidth=1.2, linestyle=line, zorder=1)
        return
    place = form.keys.index(x)
    rising = sorted(own.items(), key=lambda item: _number(item[0][place]))
    if rising:
        points(axes, [_number(key[place]) for key, _ in rising], [one for _, one in rising], colour, marker, line)


def _guides(axes: Axes, slopes: Sequence[float]) -> None:
    """Grey lines y = slope x, each with its slope at its end, within the limits that the points have set."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    xs = np.geomspace(left, right, 100) if axes.get_xscale() == "log" else np.linspace(left, right, 100)
    for slope in slopes:
        axes.plot(xs, slope * xs, color=style.GREY, linewidth=0.9, linestyle=style.DASHES, zorder=1)
        end = min(right, high / slope)
        if slope * end > low:
            axes.annotate(f"{slope:g}", (end, slope * end), xytext=(-2, -2), textcoords="offset points", ha="right",
                          va="top", fontsize=7.5, color=style.GREY)
    axes.set(xlim=(left, right), ylim=(low, high))


def number_axis(axes: Axes, values: Sequence[float], log: bool) -> None:
    """Ticks at numbers that are written plainly: 20k."""
    if log and values and min(values) > 0:
        lo, hi = min(values) / 1.15, max(values) * 1.15
        axes.set(xscale="log", xlim=(lo, hi))
        axes.xaxis.set_major_locator(FixedLocator(style.log_ticks(lo, hi)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(style.plain_number))


def _panels(form: Form, found: Cells, shown: Sequence[str]) -> list[dict[str, object]]:
    """The values of the keys that are not shown within a panel; one panel where there are none."""
    rest = [name for name in form.keys if name not in shown]
    keys = dict.fromkeys(tuple(key[form.keys.index(name)] for name in rest) for key in found)
    return [dict(zip(rest, key, strict=True)) for key in keys] or [{}]


def values_of(form: Form, found: Cells, name: str) -> list[Any]:
    """The values of one key in the order of the table."""
    place = form.keys.index(name)
    return list(dict.fromkeys(key[place] for key in found))


def _key(form: Form, values: Mapping[str, Any]) -> Key:
    return tuple(values[name] for name in form.keys)


def _match(form: Form, key: Key, other: Form | None, cells: Cells | None) -> Interval | None:
    """The cell of another form at the values that it shares with this one."""
    if other is None or cells is None:
        return None
    return cells.get(tuple(key[form.keys.index(name)] for name in other.keys))


def value_name(setting: str, value: object, names: Names | None, alone: bool = False) -> str:
    """How readers call a value; ``alone`` says which setting it is of, where no name was given."""
    for key in ((setting, value), value):
        if names is not None and key in names:
            return names[key]
    text = value_text(value)
    return f"{setting.replace('_', ' ')} {text}" if alone or text == "none" else text


def _number(value: object) -> float:
    return float(str(value))


def _check(form: Form, keys: Sequence[str], others: Sequence[Form | None]) -> None:
    for name in keys:
        if name and name not in form.keys:
            raise UserError(unknown_key(f"figure of {form.name}", name, form.keys))
    for other in others:
        for name in other.keys if other is not None else ():
            if name not in form.keys:
                raise UserError(unknown_key(f"figure of {form.name}: {other.name if other else ''}", name, form.keys))
