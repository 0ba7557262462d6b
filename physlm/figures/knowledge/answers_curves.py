"""How many people must be asked about in training before questions about others are answered (arXiv 2309.14402)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from physlm.figures import style
from physlm.figures.knowledge.answers_bars import LEVEL, MAJORITY, SERIES, below, legend_columns, series_rows
from physlm.figures.parts import (
    Sheet,
    heading,
    log_steps,
    nothing,
    points,
    published_handle,
    published_marks,
    series_handle,
    share_axis,
    wrapped,
)
from physlm.laws.cells import combine
from physlm.laws.knowledge.settings import kind_title, with_settings
from physlm.laws.law import Law

LEFT, WIDE, HIGH, BETWEEN, ROW = 0.75, 2.75, 2.3, 0.6, 3.45  # inches
COLUMNS, TICKS = 4, 6  # panels in a line, and numbers of people that are written out, at most
Published = Mapping[tuple[str, str, str], Mapping[int, float]]  # (hints, name in the law, kind) -> people -> share


def answers_curves(by: Sequence[str], note: str = "",
                   published: Published | None = None) -> Callable[[pd.DataFrame, Law], Figure]:
    """The figure of the table that ``answers_law(by)`` reads: one panel for each kind of question, and each setting.

    Args:
        by: what the names of settings are made of; ``people`` and ``hints`` in it are told apart within a panel, as
            the horizontal axis and by colour.
        note: a sentence for the caption.
        published: (hints, name in the law, kind) -> people asked about in training -> share, open marks of the series
            that was measured; they are of one setting, so that ``by`` tells no others apart.

    Raises (when it draws):
        UserError: columns are missing, or a name of ``by`` is unknown.
    """
    assert not published or set(by) <= {"people", "hints"}, by

    def figure(table: pd.DataFrame, law: Law) -> Figure:
        table = with_settings(table, [name for name in by if name not in ("people", "hints")])
        rows = series_rows(table)
        lines = _lines(rows)
        known = {key: found for key, found in (published or {}).items() if _measured(rows, key)}
        columns = max(len(line) for line in lines)
        wide = WIDE if columns > 1 else 4.35
        with style.style():
            end = 0.55 + ROW * (len(lines) - 1) + HIGH + 0.6
            width = LEFT + columns * wide + (columns - 1) * BETWEEN + 0.3
            sheet = Sheet(width, end + below(width, bool(known)))
            for place, line in enumerate(lines):
                for column, (setting, kind) in enumerate(line):
                    axes = sheet.axes(LEFT + column * (wide + BETWEEN), 0.55 + ROW * place, wide, HIGH)
                    _panel(axes, {key: part[(part["setting"] == setting) & (part["kind"] == kind)]
                                  for key, part in rows.items()},
                           {key[:2]: found for key, found in known.items() if key[2] == kind})
                    axes.set_ylabel("answered (%)" if column == 0 else "")
                    heading(axes, kind_title(kind), setting.replace("/", ", "))
            handles = [series_handle(text, colour, style.marker(place))
                       for place, (key, (text, colour)) in enumerate(SERIES.items()) if key in rows]
            if LEVEL in rows:
                handles.append(series_handle(MAJORITY, "black", "none", style.DASHES))
            if known:
                handles.append(published_handle(style.GREY, "o"))
            sheet.legend(handles, top=end, columns=legend_columns(width, bool(known)))
            text = f"People held out of all questions in training. Bars: 95 %. {note}".strip()
            sheet.caption(wrapped(text, width))
            return sheet.figure

    return figure


def _lines(rows: Mapping[tuple[str, str], pd.DataFrame]) -> list[list[tuple[str, str]]]:
    """The panels, (setting, kind), line by line; each setting begins a line."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for part in (rows[key] for key in SERIES if key in rows):
        for setting, kind in dict.fromkeys(zip(part["setting"], part["kind"], strict=True)):
            if (setting, kind) not in panels.setdefault(setting, []):
                panels[setting].append((setting, kind))
    return [found[start:start + COLUMNS] for found in panels.values() for start in range(0, len(found), COLUMNS)] or [
        [("", "")]]


def _measured(rows: Mapping[tuple[str, str], pd.DataFrame], key: tuple[str, str, str]) -> bool:
    """Whether a published series (hints, name, kind) has one of ours to stand beside."""
    hints, name, kind = key
    return (hints, name) in rows and kind in set(rows[hints, name]["kind"])


def _panel(axes: Axes, rows: Mapping[tuple[str, str], pd.DataFrame],
           published: Mapping[tuple[str, str], Mapping[int, float]]) -> None:  # fmt: skip
    """One kind of question in one setting; ``rows`` and ``published`` by series."""
    drawn: set[int] = set()
    for place, key in enumerate(SERIES):
        if key not in rows:
            continue
        found = combine(rows[key], ["people"], share=True)
        people = [int(str(count)) for count, in found]
        shift = 1.03 ** (place - 1)  # so that intervals stand side by side
        points(axes, [shift * count for count in people], list(found.values()), SERIES[key][1], style.marker(place))
        more = published.get(key, {})
        published_marks(axes, [shift * count for count in more], list(more.values()), SERIES[key][1],
                        style.marker(place))
        drawn |= {*people, *more}
    if not drawn:
        axes.set_axis_off()
        return nothing(axes)
    for level in combine(rows[LEVEL], ["kind"], share=True).values() if LEVEL in rows else ():
        axes.axhline(level.value, color="black", linewidth=1.2, linestyle=style.DASHES, zorder=3)
    axes.set(ylim=(-0.03, 1.04))
    share_axis(axes)
    log_steps(axes, [min(drawn) / 1.1, max(drawn) * 1.1])
    if len(drawn) <= TICKS:
        axes.xaxis.set_major_locator(FixedLocator(sorted(drawn)))
    axes.set_xlabel("people asked about in training (log)")
