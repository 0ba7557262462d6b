"""Answers as a table: one row a setting, one column a kind of question, in per cent (arXiv 2309.14316, figure 3)."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from physlm.figures import style
from physlm.figures.parts import SHARE, Sheet, group_rows, heat, interval, nothing, percent, wrapped
from physlm.interval import Interval
from physlm.laws.cells import cells, combine
from physlm.laws.knowledge.answers import answers, means_over
from physlm.laws.knowledge.settings import kind_title, with_settings
from physlm.laws.law import Law

GREYS = LinearSegmentedColormap.from_list("greys", ["#f6f7f8", "#d4d8dd", "#9aa1aa", "#5f6670", "#33383f"])
CONTROLS = {"untrained": "untrained model", "start": "before finetuning", "majority": "commonest answer"}
# the end of the name of a row, which names what a setting's model was asked besides
OTHERS = ": other people"  # outside of the group that was asked about
REWORDED = ": new wordings"
BESIDES = {"others": OTHERS, "reworded": REWORDED}
MASKED = "one masked word"  # the control of encoders, by attribute
TITLE: Any = {"fontsize": 10.5, "fontweight": "bold"}
MEAN, TRAINED = "mean", "asked in training"
CELL, TALL, LOW = 0.74, 0.37, 0.28  # a cell's width; its height with a published value in it, and without; inches
MARGIN, GAP, TOP = 0.25, 0.12, 1.12
WIDEST = 6.0  # at least so wide is the sheet, for its title and caption


def answers_table(by: Sequence[str], row_order: Sequence[str] | None = None,
                  published: Mapping[tuple[str, str], float] | None = None,
                  besides: Sequence[str] = ("others",), note: str = "",
                  words: Mapping[str, str] | None = None) -> Callable[[pd.DataFrame, Law], Figure]:
    """The figure of the table that ``answers_law(by)`` reads.

    Args:
        by: what the names of settings are made of.
        row_order: settings in the order of the rows; others follow, in the order of the table.
        published: (setting, kind) -> share, written small under ours; kind ``mean`` is the mean over kinds, and a
            setting that ends with a text of ``BESIDES`` is what its model was asked besides.
        besides: names in ``BESIDES`` that get a row under each setting that has them.
        note: a sentence for the caption.
        words: how the labels of rows call a part of a setting's name; of ``share=0.8`` the part is ``share``, and its
            words hold ``{}`` for the value.

    Raises (when it draws):
        UserError: columns are missing, or a name of ``by`` is unknown.
    """
    def figure(table: pd.DataFrame, law: Law) -> Figure:
        table = with_settings(table, by)
        found = answers(table, "answer")
        present, kinds = list(dict.fromkeys(found["setting"])), list(dict.fromkeys(found["kind"]))
        first = [name for name in row_order or () if name in present]
        asked = {(name, BESIDES[more]) for more in besides for name in answers(table, more)["setting"]}
        ends = ["", *(BESIDES[more] for more in besides)]
        rows = [name + end for name in (*first, *(name for name in present if name not in first)) for end in ends
                if not end or (name, end) in asked]
        known = {key: value for key, value in (published or {}).items() if key[0] in rows and
                 key[1] in (*kinds, MEAN)}
        with style.style():
            return _draw(table, rows, kinds, known, note, words or {})

    return figure


def _draw(table: pd.DataFrame, rows: list[str], kinds: list[str], published: Mapping[tuple[str, str], float],
          note: str, words: Mapping[str, str]) -> Figure:
    """The sheet: kinds, their mean, and the people asked in training; below them the controls."""
    labels = [_label(row, words) for row in rows]
    train = {(row, TRAINED): one for (row, column), one in _numbers(table, "train").items() if column == MEAN}
    more = {(row + end, column): one for name, end in BESIDES.items()
            for (row, column), one in _numbers(table, name).items() if row + end in rows}
    found = {**_numbers(table, "answer"), **more, **train}
    controls = {text: highest for name, text in CONTROLS.items() if (highest := _highest(_numbers(table, name)))}
    if masked := _highest(_masked_words(table)):
        controls[MASKED] = masked
    left = MARGIN + 0.075 * max(map(len, [*labels, *controls]), default=0)
    widths = [CELL * max(len(kinds), 1), 1.45 * CELL, *([CELL] if train else [])]
    high = (TALL if published else LOW) * max(len(rows), 1)
    width = max(left + sum(widths) + GAP * (len(widths) - 1) + MARGIN, WIDEST)
    caption = _caption(found, len(rows), controls, bool(published), width, note)
    sheet = Sheet(width, TOP + high + (GAP + LOW * len(controls)) + 0.3 + 0.16 * (caption.count("\n") + 1))
    for text, down, look in (("Questions answered about people held out of training", 0.2, TITLE),
                             ("per cent, word for word", 0.42, {"fontsize": 8.6})):
        sheet.figure.text(MARGIN / width, 1.0 - down / sheet.height, text, va="top", **look)
    sheet.caption(caption)
    if not rows:
        axes = sheet.axes(left, TOP, sum(widths), high)
        axes.set_axis_off()
        nothing(axes)
        return sheet.figure
    blocks = [len(list(group)) for _, group in groupby(rows, key=lambda row: row.partition("+")[0])]
    for place, (wide, names) in enumerate(zip(widths, (kinds, [MEAN], [TRAINED]), strict=False)):
        axes = sheet.axes(left, TOP, wide, high)
        _body(axes, found, rows, names, published)
        axes.set_yticklabels(labels if place == 0 else [""] * len(rows))
        if 1 < len(blocks) < len(rows):
            group_rows(axes, blocks)
        if controls and names != [TRAINED]:
            _controls(sheet.axes(left, TOP + high + GAP, wide, LOW * len(controls)), controls, names, place == 0)
        left += wide + GAP
    return sheet.figure


def _label(row: str, words: Mapping[str, str]) -> str:
    """The name of a row for readers: each part of its setting by its words, then what was asked besides."""
    setting, colon, besides = row.partition(": ")
    parts = [part.partition("=") for part in setting.split("/")]
    label = ", ".join(words[name].format(value) if name in words else name + equals + value
                      for name, equals, value in parts)
    return (label or "all runs") + colon + besides


def _numbers(table: pd.DataFrame, name: str) -> dict[tuple[str, str], Interval]:
    """By (setting, kind), and the mean over kinds as (setting, ``mean``)."""
    return _columns(answers(table, name), "kind")


def _masked_words(table: pd.DataFrame) -> dict[tuple[str, str], Interval]:
    """``recall_token`` by (setting, attribute), and its mean; kinds that ask for attributes have their names."""
    return _columns(cells(table, "recall_token", ["attribute"]), "attribute")


def _columns(rows: pd.DataFrame, column: str) -> dict[tuple[str, str], Interval]:
    found = {(str(key[0]), str(key[1])): one for key, one in combine(rows, ["setting", column], share=True).items()}
    return {**found, **{(str(key[0]), MEAN): one for key, one in means_over(rows, column).items()}}


def _highest(found: Mapping[tuple[str, str], Interval]) -> dict[str, float]:
    """By column, the highest of all settings."""
    highest: dict[str, float] = {}
    for (_, column), one in found.items():
        highest[column] = max(one.value, highest.get(column, one.value))
    return highest


def _body(axes: Axes, found: Mapping[tuple[str, str], Interval], rows: Sequence[str], names: Sequence[str],
          published: Mapping[tuple[str, str], float]) -> None:
    """Coloured numbers under the names of their columns, means with their interval; a published number stands small
    under ours, which moves up a little."""
    values_RC = np.array([[np.nan if (one := found.get((row, name))) is None else one.value for name in names]
                          for row in rows])
    titles = ["\n".join(textwrap.wrap(kind_title(name), 10)) for name in names]
    heat(axes, values_RC, [""] * len(rows), titles, colours=SHARE, write=_whole)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=8)
    for (r, c), text in zip(np.ndindex(values_RC.shape), list(axes.texts), strict=True):  # in the order of ``heat``
        key = rows[r], names[c]
        one = found.get(key)
        if names[c] == MEAN and one is not None:
            text.set_text(interval(one, digits=0))
        if key in published:
            text.set_y(r + 0.36)
            axes.text(c + 0.5, r + 0.77, percent(published[key]), ha="center", va="center", fontsize=5.8,
                      color=text.get_color())


def _controls(axes: Axes, controls: Mapping[str, Mapping[str, float]], names: Sequence[str], named: bool) -> None:
    """The controls in grey; only the first block of columns names them."""
    values_RC = np.array([[highest.get(name, np.nan) for name in names] for highest in controls.values()])
    heat(axes, values_RC, list(controls) if named else [""] * len(controls), [""] * len(names), colours=GREYS,
         write=_whole)
    axes.tick_params(axis="y", labelsize=8, labelcolor=style.GREY)


def _caption(found: Mapping[tuple[str, str], Interval], rows: int, controls: Collection[str], published: bool,
             width: float, note: str) -> str:
    """How to read the table, in lines of about equal length that fit into ``width`` inches."""
    single = [max(one.up, one.down) for (_, column), one in found.items() if column not in (MEAN, TRAINED)]
    if not single:
        return ""
    text = f"Brackets: 95 % intervals; those of single cells reach at most {100 * max(single):.1f} points either way."
    if controls:
        text += " Grey: controls" + (", each the highest of all rows above." if rows > 1 else ".")
    if MASKED in controls:
        text += f" {MASKED.capitalize()}: what an encoder was trained to fill in, so it should be near 100."
    if published:
        text += " Small: the published number."
    if note:
        text += f" {note}"
    return wrapped(text, width)


def _whole(value: float) -> str:
    return f"{100.0 * value:.0f}"
