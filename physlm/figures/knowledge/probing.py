"""Where knowledge is stored: the P-probe by attribute and place for each dataset, and the Q-probe of the name alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physlm.figures import style
from physlm.figures.parts import (
    MAJOR,
    Floats,
    Sheet,
    group_columns,
    group_rows,
    heading,
    heat,
    interval,
    nothing,
    percent,
    wrapped,
)
from physlm.interval import Interval
from physlm.laws.cells import Key, named
from physlm.laws.knowledge.probing import CONTROLS, by_target, mean_over_values, with_setting
from physlm.laws.law import Law

# Names of the rows of the P-probe -> the targets behind them, in the published order of the sentences.
ATTRIBUTES = {"birth month": "birth_date_first", "birth city": "birth_city_whole", "university": "university_whole",
              "major": "major_whole", "employer": "employer_whole", "employer city": "employer_city_whole"}
FIRST = [target.replace("_whole", "_first") for target in ATTRIBUTES.values()]
WHOLE = [target for target in ATTRIBUTES.values() if target.endswith("_whole")]
PLACES = (1, 2, 3, 4, 5, 6)
CONTROL_NAMES = {"untrained": "untrained", "shuffled": "others' values", "majority": "commonest",
                 "first_word": "first word known", "unmapped": "without its map"}
PUBLISHED = "published"
WIDE, GAP, RIGHT = 3.75, 0.45, 0.2
P_CELL, Q_CELL = 0.31, 0.27
P_TOP, Q_TOP, BELOW = 0.6, 0.62, 0.62  # what stands above the cells of a panel, and below them


def knowledge_figure(published: Mapping[str, Sequence[float]] | None = None) -> Callable[[pd.DataFrame, Law], Figure]:
    """The figure of the results table that ``knowledge_law`` reads, and its law: a heat map for each dataset, two in a
    row, and below them one table.

    Args:
        published: by dataset the Q-probe's accuracies, of first tokens and then of whole values.

    Raises (when drawn):
        UserError: columns are missing.
    """
    for setting, values in (published or {}).items():
        assert len(values) == len(FIRST) + len(WHOLE), setting
    return lambda table, law: _figure(with_setting(table), law, published or {})


def _figure(table: pd.DataFrame, law: Law, published: Mapping[str, Sequence[float]]) -> Figure:
    # unaugmented data first
    settings = sorted(table["setting"].unique(), key=lambda name: (not name.split("/")[-1].startswith("single"), name))
    rows = _rows(table, settings, published)
    p_high, q_high = P_CELL * (len(ATTRIBUTES) + 1), Q_CELL * max(len(rows), 4)
    row_high = P_TOP + p_high + BELOW
    q_top = row_high * ((len(settings) + 1) // 2) + Q_TOP
    left = max(1.15, 0.35 + 0.075 * max(map(len, settings), default=0))
    with style.style():
        width = left + 2 * WIDE + GAP + RIGHT
        caption = wrapped(_caption(table, {base for _, base in rows}), width)
        sheet = Sheet(width, q_top + q_high + BELOW + 0.2 * (1 + caption.count("\n")))
        for number, setting in enumerate(settings):
            row, column = divmod(number, 2)
            axes = sheet.axes(left + column * (WIDE + GAP), row * row_high + P_TOP, WIDE, p_high)
            _p_panel(axes, table, law, setting, named_rows=not column)
        _q_table(sheet.axes(left, q_top, 2 * WIDE + GAP, q_high), table, rows, published)
        sheet.caption(caption)
        return sheet.figure


def _p_panel(axes: Axes, table: pd.DataFrame, law: Law, setting: str, named_rows: bool) -> None:
    """Attributes by places, and under them the untrained model."""
    early, untrained = (law.get(named(name, setting)) for name in ("p_early", "p_early_untrained"))
    parts = [f"whole values at place 1: {interval(early)}"] if early is not None else []
    parts += [f"untrained {percent(untrained.value)}"] if untrained is not None else []
    heading(axes, f"P-probe, {setting}", ", ".join(parts))
    own = table[table["setting"] == setting]
    accuracy = by_target(own, "p_probe")
    if not accuracy:
        return nothing(axes)
    trained = [_values(accuracy, [(setting, target, place) for place in PLACES]) for target in ATTRIBUTES.values()]
    before = [mean_over_values(own, "p_probe_untrained", place).get((setting,)) for place in PLACES]
    values = np.stack([*trained, [one.value if one is not None else np.nan for one in before]])
    heat(axes, values, [*ATTRIBUTES, "untrained"] if named_rows else [""] * len(values), list(map(str, PLACES)))
    group_rows(axes, [len(ATTRIBUTES), 1])
    axes.set_xlabel("place: before the 1st, 2nd, ... attribute that the text names", fontsize=8.5)


def _q_table(axes: Axes, table: pd.DataFrame, rows: Sequence[tuple[str, str]],
             published: Mapping[str, Sequence[float]]) -> None:  # fmt: skip
    """Datasets, each with what was published and its controls, by the 11 targets."""
    axes.set_title("Q-probe: read from the name alone", **MAJOR, pad=24)
    if not rows:
        return nothing(axes)
    by_base = {base: by_target(table, base) for _, base in rows}
    values = [np.array(published[setting]) if base == PUBLISHED else
              _values(by_base[base], [(setting, target) for target in (*FIRST, *WHOLE)]) for setting, base in rows]
    names = [PUBLISHED if base == PUBLISHED else CONTROL_NAMES.get(base.removeprefix("q_probe_"), setting)
             for setting, base in rows]
    columns = [name.replace(" ", "\n") for name in (*ATTRIBUTES, *list(ATTRIBUTES)[1:])]
    heat(axes, np.stack(values), names, columns)
    for label, (_, base) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if base == "q_probe" else "normal")
    settings = [setting for setting, _ in rows]
    group_rows(axes, [settings.count(setting) for setting in dict.fromkeys(settings)])
    group_columns(axes, [("first token of the value", len(FIRST)), ("whole value", len(WHOLE))])


def _rows(
    table: pd.DataFrame, settings: Sequence[str], published: Mapping[str, Sequence[float]]
) -> list[tuple[str, str]]:
    """(setting, base) of every row of the Q-probe's table, those without a number left out."""
    bases = ["q_probe", PUBLISHED, *(f"q_probe_{control}" for control in CONTROLS)]
    measured = {(key[0], base) for base in bases if base != PUBLISHED for key in by_target(table, base)}
    measured |= {(setting, PUBLISHED) for setting in published if (setting, "q_probe") in measured}
    return [(setting, base) for setting in settings for base in bases if (setting, base) in measured]


def _caption(table: pd.DataFrame, bases: set[str]) -> str:
    """How to read it, and how wide the intervals are that have no place in it."""
    shown = [one for base in ("p_probe", "q_probe") for one in by_target(table, base).values()]
    parts = ["Per cent of people that the probe did not learn from. Heat maps: whole values and the birth month."]
    if shown:
        widest = 100 * max(max(one.up, one.down) for one in shown)
        parts.append(f"95 % intervals reach at most {widest:.1f} points either way. Untrained: the model before its "
                     "first step; in the heat maps, mean of five whole values.")
    explained = {
        "q_probe_shuffled": "Others' values: every person has somebody else's.",
        "q_probe_first_word": "First word known: the best answer by who knows it and no more.",
        "q_probe_unmapped": "Without its map: what the model's own output answers to what the probe asks.",
    }
    return " ".join([*parts, *(text for base, text in explained.items() if base in bases)])


def _values(found: dict[Key, Interval], keys: Sequence[Key]) -> Floats:
    return np.array([found[key].value if key in found else np.nan for key in keys])
