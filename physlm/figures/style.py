"""One style for every figure: colours that colour-blind readers can tell apart, one font, labels that keep clear.

Figures are ``matplotlib.figure.Figure`` objects drawn by Agg: no pyplot, no window, no state shared between figures.
``style()`` sets matplotlib's defaults for the ``with`` block alone and puts them back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

# Okabe and Ito's palette (Color Universal Design, 2008), ordered so that the first few differ most.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5C00", "#000000")
DASHES: Any = (0, (4, 2))
HATCHES = ("", "////", "....")
LINES = ("-", DASHES)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#5f6670"
LIGHT = "#d4d8dd"
DPI = 200
PANEL_INCHES = (4.9, 4.3)
FOOTNOTE_INCHES = 0.25

_DEFAULTS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 10.5,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's defaults in our style, inside the ``with`` block only."""
    with matplotlib.rc_context(_DEFAULTS):
        yield


def colour(index: int) -> str:
    """The colour of the ``index``-th series; repeats after eight, where bars are hatched and lines dashed."""
    return COLOURS[index % len(COLOURS)]


def hatch(index: int) -> str:
    """How bars of the ``index``-th series are hatched, so that those after the eighth differ from the first."""
    return HATCHES[index // len(COLOURS) % len(HATCHES)]


def line(index: int) -> Any:
    """How the line of the ``index``-th series is drawn, so that those after the eighth differ from the first."""
    return LINES[index // len(COLOURS) % len(LINES)]


def marker(index: int) -> str:
    """The marker of the ``index``-th series, so that colour is never the only difference."""
    return MARKERS[index % len(MARKERS)]


def panels(columns: int, margin_top: float, margin_bottom: float, share: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure of ``columns`` panels side by side, with fixed margins in inches above and below them.

    The margins are fixed rather than computed so that labels placed against the pixels stay where they were put.
    """
    left, gap, right = 0.75, 0.75 if not share else 0.55, 0.15
    wide, high = PANEL_INCHES
    width = left + columns * wide + (columns - 1) * gap + right
    height = margin_bottom + high + margin_top
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    axes: list[Axes] = []
    for column in range(columns):
        box = ((left + column * (wide + gap)) / width, margin_bottom / height, wide / width, high / height)
        first = axes[0] if axes and share else None
        axes.append(figure.add_axes(box, sharex=first, sharey=first))
        # Ticks come into being when the figure is drawn, perhaps after style() has ended: they get their look now.
        axes[-1].tick_params(labelsize=8.5, labelcolor="black", color=GREY, width=0.8, length=3.5)
    return figure, axes


def plain_number(value: float, _position: int | None = None, blank: bool = False) -> str:
    """``200k`` for 200,000, ``1.2M`` for 1,200,000; with ``blank``, ``1.2 M``, so that a unit may follow."""
    space = " " if blank else ""
    for scale, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale * 0.9995:
            return f"{value / scale:.3g}{space}{suffix}"
    return f"{value:.3g}{space}"


def log_ticks(lo: float, hi: float) -> list[float]:
    """About four to nine ticks on a logarithmic axis: 1, 2, 5 of each decade, or fewer where it spans many."""
    steps = (1, 2, 5) if hi / lo < 300 else (1,)
    if hi / lo < 5:
        steps = (1, 1.5, 2, 3, 4, 5, 6, 8)  # type: ignore[assignment]
    first, last = math.floor(math.log10(lo)), math.ceil(math.log10(hi))
    ticks = [step * 10.0**decade for decade in range(first, last + 1) for step in steps]
    return [tick for tick in ticks if lo <= tick <= hi]


def log_axis(axis: Axis, lo: float, hi: float) -> None:
    """Ticks of ``log_ticks`` with plain numbers, and nothing between them."""
    axis.set_major_locator(FixedLocator(log_ticks(lo, hi)))
    axis.set_major_formatter(FuncFormatter(plain_number))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


@dataclass(frozen=True)
class Label:
    """A text to be put beside a point (data coordinates)."""

    x: float
    y: float
    text: str
    colour: str


# Where a label may go, nearest first: distance in points, and direction in degrees.
_DISTANCES = (7.0, 10.0, 14.0, 19.0, 25.0, 32.0, 40.0)
_DIRECTIONS = (-45, 135, -90, 90, 0, 180, 45, -135, -22, 158, -68, 112, 22, -158, 68, -112)


def place_labels(axes: Axes, labels: Sequence[Label], obstacles: NDArray[np.float64], size: float = 7.5,
                 boxes: Sequence[Bbox] = ()) -> list[Annotation]:
    """Write every label beside its point where it touches no other label, no obstacle and no edge, if it can.

    Greedy: labels in the given order, each at the nearest free place; where none is free, at the one with the
    least overlap.  A label that had to move away gets a thin line to its point.  Axis limits must be final.

    Args:
        axes: where to write.
        labels: what to write.
        obstacles: (k, 2) points in data coordinates that should stay visible: markers, samples along lines.
        size: font size in points.
        boxes: regions in pixels that are taken already, such as other texts.
    """
    figure = axes.figure
    canvas = figure.canvas
    assert isinstance(figure, Figure) and isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()
    pixels = axes.transData.transform(obstacles) if len(obstacles) else np.empty((0, 2))
    inside = axes.get_window_extent(renderer)
    point = figure.dpi / 72.0
    taken = list(boxes)
    written = []
    for label in labels:
        note = axes.annotate(label.text, (label.x, label.y), xytext=(0, 0), textcoords="offset points",
                             fontsize=size, color=label.colour, ha="center", va="center", zorder=6)
        extent = note.get_window_extent(renderer)
        half = np.array([extent.width, extent.height]) / 2.0 + 0.8 * point
        anchor = axes.transData.transform((label.x, label.y))
        best: tuple[float, tuple[float, float], Bbox, float] | None = None
        for distance in _DISTANCES:
            for degrees in _DIRECTIONS:
                direction = np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
                # The box's nearest edge, not its middle, stands ``distance`` away from the point.
                shift = direction * distance * point + np.sign(np.round(direction, 3)) * half * np.abs(direction)
                box = Bbox([anchor + shift - half, anchor + shift + half])
                cost = _overlap(box, taken, pixels, inside)
                if best is None or cost < best[0] - 1e-9:
                    best = (cost, (float(shift[0] / point), float(shift[1] / point)), box, distance)
            if best is not None and best[0] <= 0.0:
                break
        assert best is not None
        note.set_position(best[1])
        taken.append(best[2])
        written.append(note)
        if best[3] > _DISTANCES[1]:
            near = anchor + (np.clip(anchor, best[2].min, best[2].max) - anchor) * 0.95
            ends = axes.transData.inverted().transform([anchor, near])
            axes.plot(ends[:, 0], ends[:, 1], color=label.colour, linewidth=0.5, alpha=0.7, zorder=2)
    return written


def name_level(axes: Axes, level: float, text: str, colour: str, obstacles: NDArray[np.float64],
               size: float = 7.2) -> Bbox:
    """Name a horizontal line at whichever of its ends, above or below it, hides the fewest ``obstacles``.

    Returns:
        The text's box in pixels, for ``place_labels``.
    """
    figure = axes.figure
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()
    pixels, inside = axes.transData.transform(obstacles), axes.get_window_extent(renderer)
    note = axes.annotate(text, (0, level), xytext=(0, 0), xycoords=axes.get_yaxis_transform(),
                         textcoords="offset points", fontsize=size, color=colour, zorder=5)
    costs = []
    for above in (True, False):
        for left in (True, False):
            place = (0.0 if left else 1.0, (4.0 if left else -4.0, 1.5 if above else -2.0), left, above)
            _put(note, level, *place)
            costs.append((_overlap(note.get_window_extent(renderer).padded(2.0), [], pixels, inside), place))
    _put(note, level, *min(costs, key=lambda pair: pair[0])[1])
    return note.get_window_extent(renderer)


def _put(note: Annotation, level: float, end: float, offset: tuple[float, float], left: bool, above: bool) -> None:
    note.xy = (end, level)
    note.set_position(offset)
    note.set_horizontalalignment("left" if left else "right")
    note.set_verticalalignment("bottom" if above else "top")


def _overlap(box: Bbox, taken: Sequence[Bbox], pixels: NDArray[np.float64], inside: Bbox) -> float:
    """Zero where ``box`` is free; text over text costs most, then text outside the axes, then text over a point."""
    cost = 0.0
    for other in taken:
        common = Bbox.intersection(box, other)
        if common is not None:
            cost += 50.0 + 5.0 * common.width * common.height
    for edge in (inside.x0 - box.x0, box.x1 - inside.x1, inside.y0 - box.y0, box.y1 - inside.y1):
        cost += 100.0 * max(float(edge), 0.0)
    if len(pixels):
        cost += 10.0 * float(np.all((pixels >= box.min) & (pixels <= box.max), axis=1).sum())
    return cost


def empty(text: str) -> Figure:
    """A figure of nothing but a text, where there is nothing to draw."""
    figure = Figure(figsize=(PANEL_INCHES[0], 1.0), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=9.0, color=GREY)
    return figure


def with_footnote(figure: Figure, text: str) -> Bbox:
    """Write ``text`` in a line of its own under the figure, whatever it looks like; save it with the box returned.

    Returns:
        What to give to ``savefig`` as ``bbox_inches``: the figure and the line under it.
    """
    width, height = figure.get_size_inches()
    figure.text(0.1 / width, -FOOTNOTE_INCHES / 2.0 / height, text, ha="left", va="center", fontsize=8.0, color=GREY)
    return Bbox.from_extents(0.0, -FOOTNOTE_INCHES, width, height)


def save(figure: Figure, target: Any, **options: Any) -> None:
    """Write ``figure`` (a path or a binary file) in our style, at its own resolution unless ``dpi`` is given."""
    with style():
        figure.savefig(target, **{"dpi": figure.dpi, **options})
