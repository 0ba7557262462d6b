"""All mixers and tasks in one figure: a coloured table of scores, and what each mixer costs beside it."""

from __future__ import annotations

import io
import math
import textwrap

import numpy as np
from matplotlib.figure import Figure

from physlm.figures import style
from physlm.figures.parts import SHARE, Sheet, heading, heat, percent, wrapped
from physlm.laws.compared import COSTS, Cell, Comparison

WIDE, TALL, TOP, BETWEEN, LETTER = 0.95, 0.36, 0.75, 0.3, 0.078  # inches
NO_RUN = "no run"
TITLES = {"params_used": "parameters", "flops_per_token": "FLOPs a token", "state_bytes": "state",
          "tokens_per_second": "tokens/s"}  # fmt: skip
CAPTION = ("Left: the score at the best learning rate; shares in per cent, other numbers as shares of the best in "
           "their column by colour, with 95 % intervals. Right: times that of softmax attention in the same columns. "
           "No run: this mixer was not trained in this setting.")


def compared(comparison: Comparison) -> Figure:
    """Scores left, costs right; columns in the order of the comparison."""
    rows, columns = comparison.rows, comparison.columns
    cells = [[column.cells.get(row) for column in columns] for row in rows]
    tops = [max((one.found.value for row in cells if (one := row[c]) is not None), default=1.0) or 1.0
            for c in range(len(columns))]
    scores_RC = np.array([[math.nan if one is None else _height(one, tops[c]) for c, one in enumerate(row)]
                          for row in cells]).reshape(len(rows), len(columns))
    costs_RC = np.array([[_log(comparison.cost(row, name)) for name in COSTS] for row in rows]).reshape(len(rows), -1)
    heads = ["\n".join(textwrap.wrap(column.title, 13)) for column in columns]
    left = 0.25 + LETTER * max((len(row) for row in rows), default=0)
    high = TALL * max(len(rows), 1)
    with style.style():
        scores, costs = WIDE * max(len(columns), 1), WIDE * len(COSTS)
        width = left + scores + BETWEEN + costs + 0.2
        text = wrapped(CAPTION, width)
        sheet = Sheet(width, TOP + high + 0.55 + 0.17 * (text.count("\n") + 1))
        axes = sheet.axes(left, TOP, scores, high)
        heading(axes, "Scores")
        heat(axes, scores_RC, list(rows), heads, hi=1.0, colours=SHARE, write=percent, size=7.0)
        _rewrite(axes.texts, [NO_RUN if one is None else _shown(one) for row in cells for one in row])
        axes = sheet.axes(left + scores + BETWEEN, TOP, costs, high)
        heading(axes, "Costs, times softmax")
        # white is as much as softmax: a factor of four less or more is the end of the scale
        heat(axes, np.clip(0.5 + costs_RC / math.log(16.0), 0.0, 1.0), [""] * len(rows),
             ["\n".join(textwrap.wrap(TITLES[name], 10)) for name in COSTS], hi=1.0, colours=SHARE, write=percent,
             size=8.5)
        _rewrite(axes.texts, [None if math.isnan(value) else f"{math.exp(value):.2g}" for value in costs_RC.flat])
        sheet.caption(text)
    return sheet.figure


def png(comparison: Comparison) -> bytes:
    """The figure as a file."""
    buffer = io.BytesIO()
    compared(comparison).savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def _height(cell: Cell, top: float) -> float:
    return cell.found.value if cell.unit == "1" else cell.found.value / top


def _log(ratio: float | None) -> float:
    return math.nan if ratio is None else math.log(ratio)


def _shown(cell: Cell) -> str:
    """The number, and below it its interval."""
    found, write = cell.found, percent if cell.unit == "1" else style.plain_number
    return f"{write(found.value)}\n[{write(found.lo)}, {write(found.hi)}]"


def _rewrite(texts: object, shown: list[str | None]) -> None:
    """Other words in the cells, in the order of ``heat``."""
    for text, words in zip(list(texts), shown, strict=True):  # type: ignore[call-overload]
        text.set_text(words if words is not None else text.get_text())
