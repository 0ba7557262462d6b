"""Several forms in one figure, each in a panel of its own, whose series have one legend; and curves that are computed.

    figure = panels(Drawn("Softmax fades", {"softmax": [(1, 1.0), (2, 0.99)]}, "tokens", "largest weight"),
                    Panel("Copy", ANSWER, "times", "scheme"), Panel("Entropy", ENTROPY, "times", "scheme", "nats"),
                    names={"rope": "RoPE"}, xlabel="length, in those of training")

A series that several panels have looks the same in all of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.figures import style
from physlm.figures.parts import Sheet, grid, heading, nothing, series_handle, share_axis, wrapped
from physlm.figures.plots import Draw, Names, curve, error_bars, number_axis, value_name, values_of
from physlm.laws.forms import Cells, Form
from physlm.laws.law import Law

WIDE, HIGH, LEFT, BETWEEN, RIGHT, ROW, TOP = 3.3, 2.6, 0.75, 0.7, 0.25, 3.5, 0.5  # inches
LEGEND_LINE, MOST_TICKS = 0.21, 7


@dataclass(frozen=True)
class Panel:
    """Curves of a form over one of its keys.

    Attributes:
        x, series: all of its keys; the series may be empty.
        control: drawn as a dashed black line; by x, or by nothing.
        log: whether the horizontal axis is logarithmic.
        xlabel: its own; empty: that of the figure.
    """

    title: str
    form: Form
    x: str
    series: str = ""
    ylabel: str = "answered (%)"
    control: Form | None = None
    log: bool = True
    xlabel: str = ""

    def __post_init__(self) -> None:
        shown = {self.x, self.series} - {""}
        for key in (self.x, self.series):
            if key and key not in self.form.keys:
                raise UserError(unknown_key(f"panel {self.title}: {self.form.name}", key, self.form.keys))
        if set(self.form.keys) != shown or not set(self.control.keys if self.control else ()) <= {self.x}:
            raise UserError(f"panel {self.title}: got {self.form.name} by {', '.join(self.form.keys)}, expected "
                            f"{' and '.join(sorted(shown))} alone, and a control by {self.x} or nothing")


@dataclass(frozen=True)
class Drawn:
    """Curves that no table has, by name, drawn as they are given."""

    title: str
    lines: Mapping[str, Sequence[tuple[float, float]]] = field(hash=False)
    xlabel: str = ""
    ylabel: str = ""


def panels(*parts: Panel | Drawn, names: Names | None = None, xlabel: str = "", columns: int = 4, caption: str = "",
           prepare: Callable[[pd.DataFrame], pd.DataFrame] | None = None) -> Draw:  # fmt: skip
    """The parts side by side, ``columns`` in a line; parts that have no number in the table are left out.

    Args:
        names: how readers call values of series, as in ``plots.bars``.
        xlabel: of all panels of forms.
        prepare: that of the law.
    """

    def figure(table: pd.DataFrame, law: Law) -> Figure:
        table = table if prepare is None else prepare(table)
        cells = {place: part.form.cells(table) for place, part in enumerate(parts) if isinstance(part, Panel)}
        shown = [place for place in range(len(parts)) if cells.get(place, True)]
        told = list(dict.fromkeys(
            value for place in shown if isinstance(part := parts[place], Panel) and part.series
            for value in values_of(part.form, cells[place], part.series)))
        if all(isinstance(value, int | float) for value in told):
            told.sort()
        looks = {value: (style.colour(s), style.marker(s), style.line(s)) for s, value in enumerate(told)}
        with style.style():
            across = max(1, min(columns, len(shown)))
            width = LEFT + across * WIDE + (across - 1) * BETWEEN + RIGHT
            down = -(-len(shown) // across)
            in_line = max(1, int(width / 2.0))
            end = TOP + ROW * (down - 1) + HIGH + 0.55
            sheet = Sheet(width, end + LEGEND_LINE * (-(-len(told) // in_line)) + 0.5)
            for number, place in enumerate(shown):
                row, column = divmod(number, across)
                axes, part = sheet.axes(LEFT + column * (WIDE + BETWEEN), TOP + ROW * row, WIDE, HIGH), parts[place]
                heading(axes, part.title)
                if isinstance(part, Drawn):
                    _draw(axes, part)
                else:
                    _panel(axes, part, cells[place], looks, table)
                    axes.set_xlabel(part.xlabel or xlabel or part.x.replace("_", " "))
                axes.set_ylabel(part.ylabel)
            handles = [series_handle(_named(parts, value, names), *looks[value]) for value in told]
            sheet.legend(handles, top=end, columns=min(in_line, max(1, len(told))))
            every = {(place, *key): one for place in shown if place in cells for key, one in cells[place].items()}
            sheet.caption(wrapped(f"{caption} {error_bars(every)}".strip(), width))
            return sheet.figure

    return figure


def _named(parts: Sequence[Panel | Drawn], value: object, names: Names | None) -> str:
    series = next((part.series for part in parts if isinstance(part, Panel) and part.series), "")
    return value_name(series, value, names)


def _draw(axes: Axes, part: Drawn) -> None:
    for s, (name, line) in enumerate(part.lines.items()):
        axes.plot(*zip(*line, strict=True), color=style.colour(s), linestyle=style.LINES[s % 2], label=name)
    number_axis(axes, [x for line in part.lines.values() for x, _ in line], log=True)
    axes.set_xlabel(part.xlabel)
    axes.legend(loc="best", fontsize=8)
    grid(axes)


def _apart(values: Sequence[float], log: bool) -> bool:
    """Whether numbers below sorted ticks do not run into each other: a tenth of the axis is between neighbours."""
    places = [math.log(value) if log else value for value in values]
    gaps = [after - before for before, after in itertools.pairwise(places)]
    return not gaps or min(gaps) >= (places[-1] - places[0]) / 10


def _panel(axes: Axes, part: Panel, found: Cells, looks: Mapping[Any, tuple[str, str, Any]],
           table: pd.DataFrame) -> None:  # fmt: skip
    for value in values_of(part.form, found, part.series) if part.series else [None]:
        look = looks[value] if part.series else (style.colour(0), style.marker(0), "-")
        curve(axes, part.form, found, part.x, {part.series: value} if part.series else {}, *look)
    if part.control is not None:
        curve(axes, part.control, part.control.cells(table), part.x, {}, style.GREY, "none", style.DASHES)
    measured = sorted(float(str(value)) for value in values_of(part.form, found, part.x))
    number_axis(axes, measured, part.log)
    if len(measured) <= MOST_TICKS and _apart(measured, part.log and measured[:1] > [0]):
        axes.xaxis.set_major_locator(FixedLocator(measured))
    if part.form.unit == "1":
        share_axis(axes)
    else:
        grid(axes)
    if not found:
        nothing(axes)
