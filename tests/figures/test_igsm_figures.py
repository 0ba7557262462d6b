"""Dependency graphs of iGSM: every parameter has its box, boxes are apart, texts are inside of theirs."""

from __future__ import annotations

import itertools

import pytest
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.transforms import Bbox

from physlm.commands.igsm import drawn
from physlm.figures.igsm.dependencies import FILLED, QUERY, Node, dependency_graph
from physlm.tasks.igsm.config import FAMILIES, IgsmConfig
from physlm.tasks.igsm.draws import stream_key
from physlm.tasks.igsm.plain import generate

MED, HARD = FAMILIES["med"], FAMILIES["hard"]


def boxes(figure: Figure) -> list[FancyBboxPatch]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]


def arrows(figure: Figure) -> list[FancyArrowPatch]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]


@pytest.mark.parametrize("config", [MED, MED.exactly(15), HARD.exactly(32), FAMILIES["small4"].exactly(1),
                                    FAMILIES["tiny"]], ids=lambda config: config.title)  # fmt: skip
def test_graphs_are_complete_and_nothing_overlaps(config: IgsmConfig) -> None:
    for index in range(6):
        problem = generate(config, stream_key(config), index)
        figure = drawn(problem)
        found = boxes(figure)
        assert len(found) == len(problem.graph)
        assert len(arrows(figure)) == sum(len(problem.direct[parameter]) for parameter in problem.graph)
        assert sum(same_color(box.get_facecolor(), FILLED) for box in found) == len(problem.needed)
        (query,) = [box for box in found if same_color(box.get_edgecolor(), QUERY)]
        extents = [box.get_window_extent() for box in found]
        assert not [pair for pair in itertools.combinations(extents, 2) if pair[0].padded(2).overlaps(pair[1])]
        texts = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
        for one, other in itertools.combinations(texts, 2):
            assert Bbox.intersection(one.padded(-1.5), other.padded(-1.5)) is None  # lines of one box stand close
        inside = [text for text in texts if any(box.overlaps(text) for box in extents)]
        assert len(inside) == 3 * len(found)
        for text in inside:
            assert sum(box.x0 <= text.x0 and text.x1 <= box.x1 and box.y0 <= text.y0 and text.y1 <= box.y1
                       for box in extents) == 1  # fmt: skip
        width, height = figure.get_size_inches() * figure.dpi
        for patch in figure.axes[0].patches:
            extent = patch.get_window_extent()
            assert extent.x0 >= 0 and extent.y0 >= 0 and extent.x1 <= width and extent.y1 <= height
        owner, _, owned = problem.parameters[problem.query].name.partition("'s ")
        at_query = [text.get_text() for text in figure.axes[0].texts if query.get_window_extent().overlaps(
            text.get_window_extent())]  # fmt: skip
        assert at_query == [f"{owner}'s", owned, str(problem.answer)]


def test_columns_are_distances_and_arrows_lead_to_users() -> None:
    """a from b and c, c from b; a is asked for.  Not needed: d, which is computed from a, and e."""
    nodes = [Node("A", "a", 1, (1, 2), 0, True), Node("B", "b", 2, (), 1, False), Node("C", "c", 3, (1,), 1, False),
             Node("D", "d", 4, (0,), -1, False), Node("E", "e", 5, (), -1, False)]  # fmt: skip
    figure = dependency_graph(nodes)
    box = {name_in(figure, box): box.get_window_extent() for box in boxes(figure)}
    assert box["a"].x1 < box["b"].x0 == box["c"].x0 == box["d"].x0 == box["e"].x0
    ways = set()
    for arrow in arrows(figure):
        points = arrow.get_transform().transform(arrow.get_path().vertices)
        met = [name for point in points for name in box if box[name].padded(1).contains(*point)]
        ways.add("".join(dict.fromkeys(met)))
    assert ways == {"ba", "ca", "bc", "ad"}


def name_in(figure: Figure, box: FancyBboxPatch) -> str:
    """The small letter that stands in a box."""
    extent = box.get_window_extent()
    (name,) = [text.get_text() for text in figure.axes[0].texts
               if text.get_text() in {*"abcde"} and extent.overlaps(text.get_window_extent())]  # fmt: skip
    return name
