"""What the figures of grammars share: sheets measured in inches, tables of coloured numbers, curves with intervals.

Shapes: R rows and C columns of a table.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter
from numpy.typing import NDArray

from physlm.figures import style
from physlm.interval import Interval

Floats = NDArray[np.float64]
EMPTY = "#eceef0"  # a cell without a number
# Pale to the house's blue and on to nearly black: reads in grey too.
SHARE = LinearSegmentedColormap.from_list("share", ["#f1f6fa", "#cfe3f1", "#6aaad4", "#0072B2", "#003a5c"])
SIGNED = LinearSegmentedColormap.from_list("signed", ["#8a3c00", "#D55E00", "#ffffff", "#0072B2", "#003a5c"])
OPEN: Any = {"linestyle": "none", "markersize": 5.4, "markerfacecolor": "white", "markeredgewidth": 1.2}
MAJOR: Any = {"fontweight": "bold", "loc": "left"}


class Sheet:
    """A figure of ``width`` x ``height`` inches; positions are in inches from its top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=style.DPI)
        FigureCanvasAgg(self.figure)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes whose frame begins ``left`` and ``top`` inches from the corner."""
        box = (left / self.width, 1.0 - (top + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box)
        # Ticks come into being when the figure is drawn, perhaps after style() has ended: they get their look now.
        axes.tick_params(labelsize=8.5, labelcolor="black", color=style.GREY, width=0.8, length=3.5)
        return axes

    def caption(self, text: str) -> None:
        """Small grey text along the lower edge; lines are the caller's."""
        self.figure.text(0.5, 0.1 / self.height, text, ha="center", va="bottom", fontsize=7.5, color=style.GREY,
                         linespacing=1.4)

    def legend(self, handles: Sequence[Any], top: float, columns: int) -> None:
        """A legend in the middle, its upper edge ``top`` inches from the upper edge of the sheet."""
        self.figure.legend(handles=handles, loc="upper center", ncols=columns, borderaxespad=0.0, columnspacing=1.8,
                           handlelength=2.2, bbox_to_anchor=(0.5, 1.0 - top / self.height))


def heading(axes: Axes, title: str, found: str = "") -> None:
    """A bold title, and under it what was found."""
    axes.set_title(title, **MAJOR, pad=19 if found else 7)
    if found:
        axes.annotate(found, (0, 1), xytext=(0, 6), xycoords="axes fraction", textcoords="offset points", fontsize=8.6)


def percent(value: float) -> str:
    """``99.5``, ``100``, ``7.3``: a share in per cent with one decimal where it can be seen."""
    text = f"{100.0 * value:.1f}"
    return text.removesuffix(".0") if text in ("100.0", "0.0") else text


def interval(found: Interval | Any, scale: float = 100.0, digits: int = 1) -> str:
    """``99.5 [99.1, 99.8]``, times ``scale``."""
    value, lo, hi = (minus(f"{scale * part:.{digits}f}") for part in (found.value, found.lo, found.hi))
    return f"{value} [{lo}, {hi}]"


def signed(value: float, digits: int = 1) -> str:
    """``+1.5`` or ``−1.5``."""
    return minus(f"{value:+.{digits}f}")


def minus(number: str) -> str:
    """With a minus sign for its hyphen, as on the axes."""
    return number.replace("-", "−")


def wrapped(text: str, width: float) -> str:
    """The text of a caption in lines of about equal length that fit into ``width`` inches."""
    lines = math.ceil(len(text) / (width / 0.063))
    return "\n".join(textwrap.wrap(text, math.ceil(len(text) / lines) + 8)) if lines else ""


def faded(colour: str, share: float) -> tuple[float, float, float]:
    """``share`` of the colour in white: what alpha would give on white paper, with nothing shining through."""
    red, green, blue = (1.0 - share * (1.0 - part) for part in to_rgb(colour))
    return red, green, blue


def heat(axes: Axes, values_RC: Floats, rows: Sequence[str], columns: Sequence[str], lo: float = 0.0, hi: float = 1.0,
         colours: Colormap = SHARE, write: Callable[[float], str] = percent, size: float = 8.0) -> None:
    """A table of coloured cells, the first row on top; cells without a finite value are pale grey with a dash."""
    shades = colours.with_extremes(bad=EMPTY)
    norm = Normalize(lo, hi)
    axes.pcolormesh(np.ma.masked_invalid(values_RC), cmap=shades, norm=norm, edgecolors="white", linewidth=1.0)
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    axes.xaxis.set_major_locator(FixedLocator([c + 0.5 for c in range(len(columns))]))
    axes.yaxis.set_major_locator(FixedLocator([r + 0.5 for r in range(len(rows))]))
    axes.set_xticklabels(columns)
    axes.set_yticklabels(rows)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for (r, c), value in np.ndenumerate(values_RC):
        known = bool(np.isfinite(value))
        red, green, blue, _ = shades(norm(value)) if known else (1.0, 1.0, 1.0, 1.0)
        dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.55
        axes.text(c + 0.5, r + 0.5, write(float(value)) if known else "–", ha="center", va="center", fontsize=size,
                  color="white" if dark else "black" if known else style.GREY)


def group_columns(axes: Axes, groups: Sequence[tuple[str, int]]) -> None:
    """Names above neighbouring columns of ``heat`` and a gap between them; (name, number of columns)."""
    at = 0
    for place, (name, count) in enumerate(groups):
        axes.annotate(name, (at + count / 2.0, 1), xytext=(0, 5), xycoords=axes.get_xaxis_transform(),
                      textcoords="offset points", ha="center", va="bottom", fontsize=8.5)
        at += count
        if place < len(groups) - 1:
            axes.axvline(at, color="white", linewidth=5.0)


def group_rows(axes: Axes, counts: Sequence[int]) -> None:
    """Gaps between groups of neighbouring rows of ``heat``."""
    for at in np.cumsum(counts)[:-1]:
        axes.axhline(float(at), color="white", linewidth=4.0)


def points(axes: Axes, x: Sequence[float], found: Sequence[Interval], colour: Any, marker: str = "o",
           line: Any = "-", **options: Any) -> None:
    """Marks with 95 % bars, joined by a line (``none`` for no line)."""
    value = [one.value for one in found]
    axes.errorbar(x, value, yerr=[[one.down for one in found], [one.up for one in found]], color=colour,
                  marker=marker, linestyle=line, **{"markersize": 4.6, "markeredgecolor": "white",
                                                    "markeredgewidth": 0.5, "elinewidth": 0.9, "capsize": 1.8,
                                                    "linewidth": 1.3, "zorder": 4, **options})


def published_marks(axes: Axes, x: Sequence[float], shares: Sequence[float], colour: Any, marker: str) -> None:
    """What was published, on top of our own numbers: open marks without a line."""
    axes.plot(x, shares, color=colour, marker=marker, zorder=5, **OPEN)


def published_handle(colour: Any, marker: str) -> Line2D:
    """An entry of a legend that looks like ``published_marks``."""
    return Line2D([], [], color=colour, marker=marker, label="published", **OPEN)


def bars(axes: Axes, groups: Sequence[str], found: Sequence[Sequence[Interval | None]], colours: Sequence[str],
         alphas: Sequence[float], size: float = 7.2) -> None:
    """Bars of shares with 95 % intervals and their number in per cent: ``found[group][bar in the group]``."""
    most = max((len(parts) for parts in found), default=0)
    if not most:
        return nothing(axes)
    width = 0.8 / most
    for g, parts in enumerate(found):
        for b, one in enumerate(parts):
            if one is None:
                continue
            x = g + (b - (most - 1) / 2.0) * width
            axes.bar(x, one.value, 0.92 * width, color=faded(colours[g], alphas[b]), linewidth=0, zorder=2)
            axes.errorbar(x, one.value, yerr=[[one.down], [one.up]], color="black", elinewidth=0.9, capsize=1.8,
                          zorder=3)
            axes.annotate(percent(one.value), (x, one.hi), xytext=(0, 2.5), textcoords="offset points", ha="center",
                          va="bottom", fontsize=size)
    axes.set(xlim=(-0.55, len(groups) - 0.45), ylim=(0, 1.09))
    axes.xaxis.set_major_locator(FixedLocator(list(range(len(groups)))))
    axes.set_xticklabels(groups)
    share_axis(axes)


def share_axis(axes: Axes) -> None:
    """A vertical axis of shares, written in per cent, and a grid."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    grid(axes)


def grid(axes: Axes) -> None:
    """Thin horizontal lines."""
    axes.grid(True, axis="y", color=style.LIGHT, linewidth=0.5)


def log_steps(axes: Axes, steps: Sequence[float]) -> None:
    """A logarithmic horizontal axis that holds ``steps``, labelled ``20k``."""
    lo, hi = (min(steps) / 1.15, max(steps) * 1.15) if steps else (1.0, 10.0)
    axes.set(xscale="log", xlim=(lo, hi))
    style.log_axis(axes.xaxis, lo, hi)
    axes.set_xlabel("training steps (log)")


def nothing(axes: Axes, text: str = "not measured") -> None:
    """Says in an empty panel that it is empty on purpose."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=8.5, color=style.GREY)


def series_handle(label: str, colour: Any, marker: str, line: Any = "-") -> Line2D:
    """An entry of a legend that looks like ``points``."""
    return Line2D([], [], color=colour, marker=marker, markersize=4.6, markeredgecolor="white", markeredgewidth=0.5,
                  linestyle=line, linewidth=1.3, label=label)


def level_colours(levels: Sequence[int]) -> dict[int, Any]:
    """Levels are an order, not a set: from dark (the root) to light."""
    map_ = matplotlib.colormaps["viridis"]
    ordered = sorted(levels)
    return {level: map_(0.85 * place / max(len(ordered) - 1, 1)) for place, level in enumerate(ordered)}


def grown(found: Mapping[tuple[Any, ...], Interval], start: tuple[Any, ...]) -> tuple[list[Any], list[Interval]]:
    """The last keys and values of the cells whose key begins with ``start``, rising."""
    chosen = sorted((key[-1], one) for key, one in found.items() if key[:-1] == start)
    return [x for x, _ in chosen], [one for _, one in chosen]
