"""Grids of coloured numbers, one panel a task, as arXiv 2512.17351 draws its comparisons.

    figure = grids({"Mano": ANSWER, "Depo": HOPS}, rows="position", columns="local",
                   published={"Mano": {("rope", "none"): 0.594}}, names={"rope": "RoPE"})

A cell is a form's number, with its 95 % interval below it and, in brackets, what was published.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.figures import style
from physlm.figures.parts import SHARE, Sheet, heading, heat, minus, nothing, percent, wrapped
from physlm.figures.plots import Draw, Names, Published, error_bars, value_name, values_of
from physlm.laws.forms import Cells, Form
from physlm.laws.law import Law

CELL, TALL, TOP, BOTTOM, BETWEEN, RIGHT = 1.02, 0.46, 0.42, 0.5, 0.3, 0.2  # inches
LETTER, TITLE_LETTER = 0.075, 0.085  # of a label of a row, and of a panel's title
WIDEST = 12.5  # panels go on in the next line beyond this width
NARROWEST, ROW_LABEL, COLUMN_LABEL = 4.4, 24, 13  # letters in a line of a label


def grids(forms: Mapping[str, Form], rows: str, columns: str = "", *, published: Mapping[str, Published] | None = None,
          names: Names | None = None, caption: str | Callable[[pd.DataFrame], str] = "") -> Draw:
    """A panel for each form, under its title; forms that have no number in the table are left out.

    Args:
        rows, columns: keys of the forms; each has these, and no others.  Without columns there is one.
        published: title -> values of the form's keys, in their order -> what was published.
        names: how readers call values, as in ``plots.bars``.
        caption: a text below; or how it is made of the table, such as of the sizes of models that differ between tiers.

    Raises:
        UserError: a form whose keys are not these; when it draws, what a form raises.
    """
    shown = (rows, columns) if columns else (rows,)
    for form in forms.values():
        for key in shown:
            if key not in form.keys:
                raise UserError(unknown_key(f"figure of {form.name}", key, form.keys))
        if more := [key for key in form.keys if key not in shown]:
            raise UserError(f"figure of {form.name}: got the settings {', '.join(form.keys)}, expected no others than "
                            f"{' and '.join(shown)}; take {', '.join(more)} into where")

    def figure(table: pd.DataFrame, law: Law) -> Figure:
        found = {title: cells for title, form in forms.items() if (cells := form.cells(table))}
        down, across = (list(dict.fromkeys(value for title, cells in found.items()
                                           for value in values_of(forms[title], cells, key))) if key else [""]
                        for key in (rows, columns))
        labels = ["\n".join(textwrap.wrap(value_name(rows, value, names), ROW_LABEL)) for value in down]
        heads = ["\n".join(textwrap.wrap(value_name(columns, value, names), COLUMN_LABEL)) if columns else ""
                 for value in across]
        left = 0.25 + LETTER * max((len(line) for label in labels for line in label.split("\n")), default=0)
        wide, high = CELL * max(len(across), 1), TALL * max(len(down), 1)
        # a title begins where its panel does, and may be longer
        step = BETWEEN + max(left + wide, TITLE_LETTER * max(map(len, found), default=0))
        abreast = max(1, min(len(found), int((WIDEST - RIGHT) / step)))
        with style.style():
            width = max(abreast * step + RIGHT, NARROWEST)
            covers = error_bars({(title, *key): one for title, cells in found.items() for key, one in cells.items()})
            said = caption(table) if callable(caption) else caption
            text = wrapped(" ".join(filter(None, (
                said, covers.replace("Error bars", "Small numbers") if found else "",
                "Brackets: published." if any(published or ()) else ""))), width)
            lines = -(-len(found) // abreast) or 1
            sheet = Sheet(width, lines * (TOP + high + BOTTOM) + 0.16 * (text.count("\n") + 1) + 0.1)
            for place, (title, cells) in enumerate(found.items()):
                line, column = divmod(place, abreast)
                axes = sheet.axes(left + column * step, TOP + line * (TOP + high + BOTTOM), wide,
                                  high)
                form = forms[title]
                keys = [[tuple({rows: one, columns: other}[key] for key in form.keys) for other in across]
                        for one in down]
                heading(axes, title)
                _panel(axes, form, cells, keys, labels, heads, (published or {}).get(title, {}))
            if not found:
                nothing(sheet.axes(left, TOP, wide, high))
            sheet.caption(text)
        return sheet.figure

    return figure


def _panel(axes: Axes, form: Form, cells: Cells, keys: list[list[tuple[object, ...]]], labels: list[str],
           heads: list[str], published: Published) -> None:
    """The numbers of one form, shares in per cent."""
    share = form.unit == "1"
    values_RC = np.array([[one.value if (one := cells.get(key)) else math.nan for key in row] for row in keys])
    write = percent if share else style.plain_number
    top = 1.0 if share else float(np.nanmax(values_RC)) or 1.0
    heat(axes, values_RC, labels, heads, hi=top, colours=SHARE, write=write, size=8.5)
    for (r, c), text in zip(np.ndindex(values_RC.shape), list(axes.texts), strict=True):  # in the order of ``heat``
        if (one := cells.get(keys[r][c])) is None:
            continue
        text.set_y(r + 0.34)
        small = f"{minus(write(one.lo))} to {minus(write(one.hi))}"
        if keys[r][c] in published:
            small += f" [{write(published[keys[r][c]])}]"
        axes.text(c + 0.5, r + 0.74, small, ha="center", va="center", fontsize=5.8, color=text.get_color())
