"""The dependency graph of one iGSM problem: parameters in columns by their distance from the query, arrows to users.

    dependency_graph([Node("Maple Academy", "Physics Lab", 12, (1,), 0, False), Node(...)], "iGSM op=10")

Needed parameters are filled, the others hollow; the query has a frame of its own, totals are rounded.  An arrow leads
from a parameter to each that is computed from it; those that come no nearer to the query are lighter.

Columns are ordered by barycentres with the fewest crossings found (Sugiyama et al. 1981), where an arrow that passes a
column has a place of its own there.  All lengths are inches.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from physlm.figures import style
from physlm.figures.parts import Sheet, wrapped

FONT = 7.0  # points
HIGH, BETWEEN = 0.36, 0.16  # a box, and between two of them
PORT = 0.075  # between two arrows at one side of a box, which is as high as they need
GAP, MORE = 0.55, 0.04  # between two columns, and for each arrow there
LANE = 0.12  # the place of an arrow that passes a column
PAD, VALUE = 0.07, 0.27  # inside of a box: beside its text, and the field of its value
MARGIN, TOP, BOTTOM, NARROWEST = 0.25, 0.62, 0.82, 4.6
SWEEPS = 12  # over the columns, there and back
FILLED, LINE, PALE = "#d6e7f3", style.colour(0), "#9aa1a9"
CAPTION = ("Arrows lead to what is computed from a parameter; light ones come no nearer to the query. Columns: least "
           "number of arrows to the query. Totals are rounded.")
HEAD = "-|>,head_length=3.2,head_width=1.7"
ASIDE = style.colour(5)  # of arrows between needed parameters that lead no step nearer to the query
QUERY = style.colour(1)


@dataclass(frozen=True)
class Node:
    """A parameter.

    Attributes:
        needs: places, in the list of nodes, of what it is computed from.
        distance: of the shortest way from the query, which has 0; -1 where the query does not depend on it.
    """

    owner: str
    owned: str
    value: int
    needs: tuple[int, ...]
    distance: int
    total: bool


@dataclass(eq=False)
class _Place:
    """A box, or the place at which an arrow passes a column, with the neighbours that its order follows."""

    column: int
    node: Node | None
    needed: bool
    y: float = 0.0
    before: list[_Place] = field(default_factory=list)  # in the column to the left
    after: list[_Place] = field(default_factory=list)
    ports: Counter[bool] = field(default_factory=Counter)  # arrows at its left and at its right side

    @property
    def box(self) -> float:
        """The height of its box."""
        return max(HIGH, PORT * (max(self.ports.values(), default=0) + 0.5))

    @property
    def high(self) -> float:
        """The height that it takes in its column."""
        return self.box + BETWEEN if self.node is not None else LANE


@dataclass(frozen=True)
class _Arrow:
    """From a parameter to its user, with the places at which it passes columns."""

    ends: tuple[_Place, _Place]
    passes: tuple[_Place, ...]

    @property
    def needed(self) -> bool:
        return all(end.needed for end in self.ends)

    @property
    def nearer(self) -> bool:
        """Whether it leads one step nearer to the query."""
        return self.ends[0].column == self.ends[1].column + 1

    @property
    def sides(self) -> tuple[bool, bool]:
        """At which side of its two boxes it ends: true is the right one."""
        start, user = (end.column for end in self.ends)
        return start <= user, start >= user


def dependency_graph(nodes: Sequence[Node], title: str = "") -> Figure:
    """The graph; of the nodes exactly one has the distance 0."""
    assert [node.distance for node in nodes].count(0) == 1, "one query"
    columns, arrows = _layout(nodes)
    wide = max(_width(text) for node in nodes for text in _lines(node)) + 2 * PAD + VALUE
    inside = max(sum(place.high for place in column) for column in columns)
    height = _heights(columns)
    for place in itertools.chain(*columns):
        place.y = TOP + inside / 2.0 + height[id(place)]
    gaps = _gaps(len(columns), arrows)
    graph = len(columns) * wide + sum(gaps)
    width = max(2 * MARGIN + graph, NARROWEST)
    left = [(width - graph) / 2.0 + column * wide + sum(gaps[:column]) for column in range(len(columns))]
    with style.style():
        sheet = Sheet(width, TOP + inside + BOTTOM)
        axes = sheet.axes(0.0, 0.0, width, sheet.height)
        axes.set(xlim=(0.0, width), ylim=(sheet.height, 0.0))
        axes.axis("off")
        axes.text(MARGIN, 0.2, title, fontsize=9.0, fontweight="bold", va="center")
        for distance, x in enumerate(left[: max(node.distance for node in nodes) + 1]):
            axes.text(x + wide / 2.0, TOP - 0.14, str(distance) if distance else "distance 0", fontsize=FONT,
                      color=style.GREY, ha="center", va="center")
        _draw_arrows(axes, arrows, left, gaps, wide)
        for place in itertools.chain(*columns):
            if place.node is not None:
                _draw_box(axes, place.node, left[place.column], place, wide)
        sheet.legend([
            Patch(facecolor=FILLED, edgecolor=QUERY, linewidth=1.8, label="query"),
            Patch(facecolor=FILLED, edgecolor=LINE, label="needed"),
            Patch(facecolor="white", edgecolor=PALE, label="not needed"),
        ], top=TOP + inside + 0.14, columns=3)  # fmt: skip
        sheet.caption(wrapped(CAPTION, width))
        return sheet.figure


def _lines(node: Node) -> tuple[str, str]:
    return f"{node.owner}'s", node.owned


def _width(text: str) -> float:
    return float(TextPath((0, 0), text, size=FONT).get_extents().width) / 72.0


def _layout(nodes: Sequence[Node]) -> tuple[list[list[_Place]], list[_Arrow]]:
    """Boxes and passing places in the order of their columns, and the arrows between them."""
    at = _columns(nodes)
    boxes = [_Place(column, node, node.distance >= 0) for node, column in zip(nodes, at, strict=True)]
    columns: list[list[_Place]] = [[] for _ in range(max(at) + 1)]
    for box in boxes:
        columns[box.column].append(box)
    arrows = []
    for user in boxes:
        for need in user.node.needs if user.node is not None else ():
            start = boxes[need]
            step = 1 if start.column < user.column else -1
            passes = [_Place(column, None, start.needed and user.needed)
                      for column in range(start.column + step, user.column, step)]  # fmt: skip
            for lane in passes:
                columns[lane.column].append(lane)
            way = [start, *passes, user]
            for one, other in itertools.pairwise(way):
                if one.column != other.column:
                    left, right = (one, other) if one.column < other.column else (other, one)
                    left.after.append(right)
                    right.before.append(left)
            arrows.append(_Arrow((start, user), tuple(passes)))
            for box, side in zip(arrows[-1].ends, arrows[-1].sides, strict=True):
                box.ports[side] += 1
    return _ordered(columns), arrows


def _columns(nodes: Sequence[Node]) -> list[int]:
    """The distance of what is needed.  The others stand behind the query and what is computed from them, one column
    before the nearest of what they need, and in the last column where they have neither."""
    last = max(node.distance for node in nodes)
    users: list[list[int]] = [[] for _ in nodes]
    for place, node in enumerate(nodes):
        for need in node.needs:
            users[need].append(place)

    @functools.cache
    def column(place: int) -> int:
        node = nodes[place]
        if node.distance >= 0:
            return node.distance
        near = [column(need) - 1 for need in node.needs if nodes[need].distance >= 0]
        least = min(near) if near else 0 if users[place] or node.needs else last
        return max(1, least, *(column(user) + 1 for user in users[place]))

    return [column(place) for place in range(len(nodes))]


def _gaps(columns: int, arrows: Sequence[_Arrow]) -> list[float]:
    """The width to the right of each column; there is none after the last one but for the bows there."""
    counts = [0] * columns
    for arrow in arrows:
        least, most = sorted(end.column for end in arrow.ends)
        for column in range(least, max(most, least + 1)):
            counts[column] += 1
    return [GAP + MORE * count if count or column < columns - 1 else 0.0 for column, count in enumerate(counts)]


def _ordered(columns: list[list[_Place]]) -> list[list[_Place]]:
    """The order with the fewest crossings that sweeps over the columns find; in each, what is needed comes first."""
    columns = [sorted(column, key=lambda place: not place.needed) for column in columns]
    best, least = columns, _crossings(columns)
    for sweep in range(SWEEPS):
        columns = [list(column) for column in columns]
        forth = sweep % 2 == 0
        for number in range(len(columns)) if forth else reversed(range(len(columns))):
            height = _heights(columns)

            def key(place: _Place, forth: bool = forth, height: dict[int, float] = height) -> tuple[bool, float]:
                beside = place.before if forth else place.after
                others = [height[id(other)] for other in beside] or [height[id(place)]]
                return not place.needed, sum(others) / len(others)

            columns[number].sort(key=key)
        crossings = _crossings(columns)
        if crossings < least:
            best, least = columns, crossings
    return best


def _heights(columns: list[list[_Place]]) -> dict[int, float]:
    """The middle of every place, columns being centred."""
    height = {}
    for column in columns:
        top = -sum(place.high for place in column) / 2.0
        for place in column:
            height[id(place)], top = top + place.high / 2.0, top + place.high
    return height


def _crossings(columns: list[list[_Place]]) -> int:
    order = {id(place): number for column in columns for number, place in enumerate(column)}
    count = 0
    for column in columns:
        lines = [(order[id(place)], order[id(other)]) for place in column for other in place.after]
        count += sum((a - c) * (b - d) < 0 for i, (a, b) in enumerate(lines) for c, d in lines[:i])
    return count


def _draw_box(axes: Axes, node: Node, left: float, place: _Place, wide: float) -> None:
    y, high = place.y, place.box
    needed, query = node.distance >= 0, node.distance == 0
    rounded = f"round,pad=0,rounding_size={HIGH / 2.4}" if node.total else "square,pad=0"
    colour = QUERY if query else LINE if needed else PALE
    axes.add_patch(FancyBboxPatch((left, y - high / 2.0), wide, high, boxstyle=rounded, edgecolor=colour,
                                  facecolor=FILLED if needed else "white", linewidth=1.8 if query else 0.9, zorder=3))
    ink = "black" if needed else style.GREY
    middle = left + PAD + (wide - VALUE - 2 * PAD) / 2.0
    for line, shift in zip(_lines(node), (-0.075, 0.08), strict=True):
        axes.text(middle, y + shift, line, fontsize=FONT, color=ink, ha="center", va="center", zorder=4)
    axes.text(left + wide - VALUE / 2.0 - PAD / 2.0, y, str(node.value), fontsize=8.5, fontweight="bold", color=ink,
              ha="center", va="center", zorder=4)


def _draw_arrows(axes: Axes, arrows: Sequence[_Arrow], left: Sequence[float], gaps: Sequence[float],
                 wide: float) -> None:  # fmt: skip
    """Curves from side to side of boxes, each with a point of its own there."""
    sides: dict[tuple[int, bool], list[tuple[float, int, int]]] = {}  # of a box: height of the other end, arrow, end
    for number, arrow in enumerate(arrows):
        for end, right in enumerate(arrow.sides):
            way = [arrow.ends[0], *arrow.passes, arrow.ends[1]]
            toward = way[1] if end == 0 else way[-2]
            sides.setdefault((id(arrow.ends[end]), right), []).append((toward.y, number, end))
    shifts: dict[tuple[int, int], float] = {}
    for met in sides.values():
        for place, (_, number, end) in enumerate(sorted(met)):
            shifts[number, end] = (place - (len(met) - 1) / 2.0) * max(PORT, HIGH / (len(met) + 1.5))
    for number, arrow in enumerate(arrows):
        points = [(left[one.column] + wide * right, one.y + shifts[number, end])
                  for end, (one, right) in enumerate(zip(arrow.ends, arrow.sides, strict=True))]  # fmt: skip
        axes.add_patch(FancyArrowPatch(
            path=_way(arrow, points[0], points[1], left, gaps, wide), arrowstyle=HEAD, shrinkA=0, shrinkB=0,
            linewidth=0.9, color=(LINE if arrow.nearer else ASIDE) if arrow.needed else PALE,
            zorder=2 if arrow.needed else 1))  # fmt: skip


def _way(arrow: _Arrow, start: tuple[float, float], end: tuple[float, float], left: Sequence[float],
         gaps: Sequence[float], wide: float) -> Path:  # fmt: skip
    """Horizontal at both ends and where it passes a column; a bow beside the column where both ends are in one."""
    if arrow.ends[0].column == arrow.ends[1].column:
        out = start[0] + min(0.3 + 0.16 * abs(start[1] - end[1]), 1.15 * gaps[arrow.ends[0].column])
        return Path([start, (out, start[1]), (out, end[1]), end], [Path.MOVETO, *[Path.CURVE4] * 3])
    forward = arrow.ends[0].column < arrow.ends[1].column
    points, codes = [start], [Path.MOVETO]
    for lane in arrow.passes:
        near, far = (left[lane.column] + wide * side for side in ((0, 1) if forward else (1, 0)))
        points += [*_bend(points[-1], (near, lane.y)), (far, lane.y)]
        codes += [*[Path.CURVE4] * 3, Path.LINETO]
    return Path([*points, *_bend(points[-1], end)], [*codes, *[Path.CURVE4] * 3])


def _bend(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    middle = (start[0] + end[0]) / 2.0
    return [(middle, start[1]), (middle, end[1]), end]
