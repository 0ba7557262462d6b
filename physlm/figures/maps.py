"""Maps of weights beside each other, such as those of attention: a row for each query, a column for each key.

    maps({"without Canon": weights_TT, "with Canon": others_TT}, caption="one head of the second layer")

Shape letters: R rows and C columns of a map.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from physlm.figures import style
from physlm.figures.parts import EMPTY, SHARE, Floats, Sheet, heading, wrapped

SIDE, GAP, ABOVE = 1.75, 0.42, 0.42  # inches: a map, between two of them, and above one
MARGIN, BELOW = 0.55, 0.55  # left of the maps, and below them


def in_sight(weights_RC: Floats) -> Floats:
    """Each query's weights over the largest of them, so that all rows read alike; NaN where the weight is 0."""
    most = weights_RC.max(-1, keepdims=True)
    return np.where(weights_RC > 0, weights_RC / np.where(most > 0, most, 1.0), np.nan)


def maps(parts: Mapping[str, Floats], columns: int = 4, caption: str = "", xlabel: str = "key",
         ylabel: str = "query") -> Figure:
    """Maps of numbers from 0, pale, to 1, dark; NaN is grey.  The first row of each lies on top.

    Args:
        parts: titles, and (R, C) numbers each.
        columns: maps in a line, at most.
    """
    columns = min(columns, len(parts))
    lines = math.ceil(len(parts) / columns)
    width = MARGIN + columns * SIDE + (columns - 1) * GAP + 0.15
    text = wrapped(caption, width)
    below = BELOW + 0.16 * len(text.splitlines())
    with style.style():
        sheet = Sheet(width, lines * (SIDE + ABOVE) + below)
        shades = SHARE.with_extremes(bad=EMPTY)
        for number, (title, values_RC) in enumerate(parts.items()):
            line, column = divmod(number, columns)
            axes = sheet.axes(MARGIN + column * (SIDE + GAP), ABOVE + line * (SIDE + ABOVE), SIDE, SIDE)
            axes.imshow(values_RC, cmap=shades, vmin=0.0, vmax=1.0, aspect="auto", interpolation="nearest")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(4, integer=True))
            axes.tick_params(labelsize=7.5, length=2.5)
            heading(axes, title)
            axes.title.set_fontsize(8.8)
            if number + columns >= len(parts):
                axes.set_xlabel(xlabel)
            if not column:
                axes.set_ylabel(ylabel)
        if text:
            sheet.caption(text)
    return sheet.figure
