"""Groups of questions as bars: does it answer, do hints in training help, and hints at test? (arXiv 2309.14402)."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator

from physlm.figures import style
from physlm.figures.parts import (
    Sheet,
    faded,
    heading,
    nothing,
    percent,
    published_handle,
    published_marks,
    share_axis,
    wrapped,
)
from physlm.interval import Interval
from physlm.laws.knowledge.answers import answers, means_over
from physlm.laws.knowledge.settings import with_settings
from physlm.laws.law import Law

# (hints in training, name in the law) -> legend and colour; one training, one hue
SERIES: dict[tuple[str, str], tuple[str, Any]] = {
    ("plain", "answer"): ("no hints in training", style.colour(0)),
    ("hints", "answer"): ("hints in training, not at test", faded(style.colour(1), 0.45)),
    ("hints", "hinted"): ("hints in training and at test", style.colour(1)),
}
LEVEL, MAJORITY = ("", "majority"), "commonest answer"  # its key among the series, and its legend
BAR, HIGH, ROW, NARROWEST = 0.42, 2.9, 3.75, 4.2  # inches
UNIT = len(SERIES) * BAR + 0.5  # a group with the space beside it
LEFT, BETWEEN, RIGHT, WIDEST = 0.75, 0.75, 0.25, 12.5
LEGEND, ENTRY = 7.9, 1.1  # inches: the legend in one row without published marks, and what their entry adds
DIAMOND = 0.025  # half of a published mark's height, on the axis of shares
Published = Mapping[tuple[str, str, tuple[str, ...]], float]  # (hints, name in the law, kinds) -> share


def answers_bars(by: Sequence[str], groups: Mapping[str, Sequence[str]],
                 note: str = "", published: Published | None = None) -> Callable[[pd.DataFrame, Law], Figure]:
    """The figure of the table that ``answers_law(by, groups)`` reads: a panel for each setting, hints aside.

    Args:
        by: what the names of settings are made of; ``hints`` in it are told apart by bars, not by panels.
        groups: name -> kinds; a bar is the mean over the kinds of a group that were asked.
        note: a sentence for the caption.
        published: (hints, name in the law, kinds) -> share, an open mark on the bar that is the mean over exactly these
            kinds; they are of one setting, so that ``by`` tells no others apart.

    Raises (when it draws):
        UserError: columns are missing, or a name of ``by`` is unknown.
    """
    assert not published or set(by) <= {"hints"}, by

    def figure(table: pd.DataFrame, law: Law) -> Figure:
        table = with_settings(table, [name for name in by if name != "hints"])
        rows = series_rows(table)
        settings = list(dict.fromkeys(name for part in rows.values() for name in part["setting"])) or [""]
        known = {key: share for key, share in (published or {}).items() if _is_bar(rows, key, groups)}
        wide = max(len(groups) * UNIT, NARROWEST)
        columns = max(1, min(len(settings), int((WIDEST - LEFT) / (wide + BETWEEN))))
        with style.style():
            end = 0.55 + ROW * (-(-len(settings) // columns) - 1) + HIGH + 0.55
            width = LEFT + columns * wide + (columns - 1) * BETWEEN + RIGHT
            sheet = Sheet(width, end + below(width, bool(known)))
            for place, setting in enumerate(settings):
                line, column = divmod(place, columns)
                axes = sheet.axes(LEFT + column * (wide + BETWEEN), 0.55 + ROW * line, wide, HIGH)
                _panel(axes, {key: part[part["setting"] == setting] for key, part in rows.items()}, groups, known)
                heading(axes, str(setting).replace("/", ", ") or "Questions about people held out of training")
            handles: list[Any] = [Patch(color=SERIES[key][1], label=SERIES[key][0]) for key in SERIES if key in rows]
            if LEVEL in rows:
                handles.append(Line2D([], [], color="black", linewidth=1.2, linestyle=style.DASHES, label=MAJORITY))
            if known:
                handles.append(published_handle("black", "D"))
            sheet.legend(handles, top=end, columns=legend_columns(width, bool(known)))
            text = "People held out of all questions in training; mean over the kinds of a group; bars: 95 %."
            more = f"{note} {_people(rows)}" if known else note
            sheet.caption(f"{text}\n{wrapped(more.strip(), width)}".strip())
            return sheet.figure

    return figure


def below(width: float, published: bool) -> float:
    """Inches of a legend and a caption below the panels of a sheet."""
    return 1.15 if published and legend_columns(width, published) <= 3 else 0.8


def legend_columns(width: float, published: bool) -> int:
    """All entries of a legend in one row where they fit into ``width`` inches, else in rows of three or two."""
    if width > LEGEND + ENTRY * published:
        return len(SERIES) + 2
    return 3 if published and width > 0.85 * LEGEND else 2


def series_rows(table: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """The rows of each of ``SERIES`` that was measured, and under ``LEVEL`` those of the best constant answers; from
    a table of ``with_settings``."""
    answered = {name: answers(table, name) for name in ("answer", "hinted")}
    found = {(hints, name): answered[name][answered[name]["hints"] == hints] for hints, name in SERIES}
    found[LEVEL] = answers(table, "majority")
    return {key: rows for key, rows in found.items() if len(rows)}


def mean_of_kinds(rows: pd.DataFrame | None, kinds: Sequence[str]) -> Interval | None:
    """The mean over those of the kinds that have rows, all settings together."""
    if rows is None:
        return None
    return next(iter(means_over(rows[rows["kind"].isin(kinds)], "kind", ["half"]).values()), None)


def _people(rows: Mapping[tuple[str, str], pd.DataFrame]) -> str:
    """How many people our own training asked about."""
    counts = sorted({int(count) for key in SERIES if key in rows for count in rows[key]["people"]})
    return f"Ours: {' or '.join(f'{count:,}' for count in counts)}."


def _asked(rows: pd.DataFrame | None, kinds: Sequence[str]) -> set[str]:
    """Those of the kinds that have rows."""
    return set() if rows is None else set(rows["kind"]) & set(kinds)


def _is_bar(rows: Mapping[tuple[str, str], pd.DataFrame], key: tuple[str, str, tuple[str, ...]],
            groups: Mapping[str, Sequence[str]]) -> bool:
    """Whether a bar is the mean over exactly the kinds of a published number (hints, name, kinds)."""
    hints, name, kinds = key
    return any(_asked(rows.get((hints, name)), group) == set(kinds) for group in groups.values())


def _panel(axes: Axes, rows: Mapping[tuple[str, str], pd.DataFrame], groups: Mapping[str, Sequence[str]],
           published: Published) -> None:
    """One setting: bars side by side in each group, in the middle of it however many were measured."""
    marks = {(hints, name, frozenset(kinds)): share for (hints, name, kinds), share in published.items()}
    width = BAR / UNIT  # where a group is 1 wide
    drawn = 0
    for g, kinds in enumerate(groups.values()):
        level = mean_of_kinds(rows.get(LEVEL), kinds)
        found = [(key, one) for key in SERIES if (one := mean_of_kinds(rows.get(key), kinds)) is not None]
        for place, (key, one) in enumerate(found):
            mark = marks.get((*key, frozenset(_asked(rows.get(key), kinds))))
            _bar(axes, g + (place - (len(found) - 1) / 2.0) * width, one, SERIES[key][1], level, mark)
            drawn += 1
        if level is not None:
            half = max(len(found), 1) * width / 2.0 + 0.04
            axes.hlines(level.value, g - half, g + half, color="black", linewidth=1.2, linestyle=style.DASHES, zorder=3)
    if not drawn:
        axes.set_axis_off()
        return nothing(axes)
    room = max(NARROWEST / UNIT - len(groups), 0.0) / 2.0
    axes.set(xlim=(-0.5 - room, len(groups) - 0.5 + room), ylim=(0, 1.09), ylabel="answered (%)")
    axes.xaxis.set_major_locator(FixedLocator(list(range(len(groups)))))
    axes.set_xticklabels(["\n".join(textwrap.wrap(name, 18)) for name in groups])
    share_axis(axes)


def _bar(axes: Axes, x: float, one: Interval, colour: Any, level: Interval | None, mark: float | None) -> None:
    """One bar, its interval and its number, and what was published beside the interval."""
    width = BAR / UNIT
    axes.bar(x, one.value, 0.92 * width, color=colour, linewidth=0, zorder=2)
    axes.errorbar(x, one.value, yerr=[[one.down], [one.up]], color="black", elinewidth=0.9, capsize=1.8, zorder=4)
    in_the_way = [] if level is None else [level.value]
    if mark is not None:
        published_marks(axes, [x + 0.25 * width], [mark], "black", "D")
        in_the_way.append(mark + DIAMOND)
    foot = one.hi
    for edge in sorted(in_the_way):
        if foot < edge < foot + 0.08:
            foot = edge  # else the line or the mark would cross the number
    axes.annotate(percent(one.value), (x, foot), xytext=(0, 2.5), textcoords="offset points", ha="center", va="bottom",
                  fontsize=7.2)
