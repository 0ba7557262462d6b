"""Robustness as a table: training data by prefix and temperature, accuracies in per cent."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physlm.figures import style
from physlm.figures.parts import Sheet, group_columns, group_rows, heat, interval, nothing
from physlm.interval import Interval
from physlm.laws.cells import Key, named
from physlm.laws.grammar.robustness import PREFIXES, accuracies, data_order, named_data
from physlm.laws.law import Law

CELL, WIDE = 0.3, 6.0
HEADINGS = {"none": "no prefix", "clean": "true prefix", "corrupted": "corrupted prefix"}


def robustness_figure(table: pd.DataFrame, law: Law) -> Figure:
    """Draw the results table that ``robustness_law`` reads, and its law; one table for each setting.

    Raises:
        UserError: columns are missing.
    """
    table = named_data(table)
    found = accuracies(table)
    settings = sorted(table["setting"].unique())
    own = {setting: {key[1:]: one for key, one in found.items() if key[0] == setting} for setting in settings}
    with style.style():
        rows = {setting: data_order([str(key[0]) for key in own[setting]]) for setting in settings}
        heights = [CELL * max(len(rows[setting]), 3) for setting in settings]
        sheet = Sheet(8.6, sum(heights) + 1.35 * len(settings) + 0.4)
        top = 0.95
        for setting, height in zip(settings, heights, strict=True):
            _table(sheet.axes(2.2, top, WIDE, height), own[setting], rows[setting], law, str(setting))
            top += height + 1.35
        sheet.caption("Per cent of completions that are right. Rows: share of perturbed training strings, by kind of "
                      "noise; columns: sampling temperature.")
        return sheet.figure


def _table(axes: Axes, found: dict[Key, Interval], rows: list[str], law: Law, setting: str) -> None:
    axes.set_title("Accuracy after corrupted prefixes" + (f", {setting}" if setting else ""), fontweight="bold",
                   loc="left", pad=38)
    parts = [f"{text} {interval(judged)}"
             for text, name in (("drop after clean training", "drop"), ("gain with 10 % noise", "gain"))
             if (judged := law.get(named(name, setting))) is not None]
    axes.annotate(", ".join(parts) + " points" if parts else "", (0, 1), xytext=(0, 25), xycoords="axes fraction",
                  textcoords="offset points", fontsize=8.6)
    columns = [(prefix, float(str(t))) for prefix in PREFIXES
               for t in sorted({key[2] for key in found if key[1] == prefix}, key=lambda t: float(str(t)))]
    if not columns:
        return nothing(axes)
    values = np.array([[one.value if (one := found.get((data, *column))) is not None else np.nan for column in columns]
                       for data in rows])
    heat(axes, values, [_row_name(data) for data in rows], [f"τ = {t:g}" for _, t in columns])
    present = [prefix for prefix in PREFIXES if any(column[0] == prefix for column in columns)]
    group_columns(axes, [(HEADINGS[p], sum(column[0] == p for column in columns)) for p in present])
    kinds = [data.partition("=")[0] for data in rows]
    group_rows(axes, [kinds.count(kind) for kind in dict.fromkeys(kinds)])


def _row_name(data: str) -> str:
    """``token noise, 10 %``."""
    kind, _, share = data.partition("=")
    word = {"token": "token noise", "nonterminal": "nonterminal noise", "permute": "permutation"}.get(kind, kind)
    return f"{word} {100 * float(share):g} %" if share else "clean data"
