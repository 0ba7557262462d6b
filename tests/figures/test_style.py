"""The style stays inside its block, and labels keep clear of each other."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from physlm.figures import style


def test_style_leaves_matplotlibs_defaults_alone() -> None:
    before = dict(matplotlib.rcParams)
    with style.style():
        assert matplotlib.rcParams["legend.frameon"] is False
        figure, _ = style.panels(1, 0.5, 0.5)
    style.save(figure, io.BytesIO(), dpi=50)
    assert dict(matplotlib.rcParams) == before


def test_style_is_put_back_after_an_error() -> None:
    before = dict(matplotlib.rcParams)
    with pytest.raises(RuntimeError), style.style():
        raise RuntimeError
    assert dict(matplotlib.rcParams) == before


def test_colours_are_many_and_differ_in_lightness_too() -> None:
    assert len(set(style.COLOURS)) == len(set(style.MARKERS)) == 8
    rgb = np.array([matplotlib.colors.to_rgb(c) for c in style.COLOURS[:4]])
    # Also printed in grey, the first four must not all be one.
    assert np.ptp(rgb @ [0.2126, 0.7152, 0.0722]) > 0.15
    assert style.colour(9) == style.colour(1)
    assert style.marker(9) == style.marker(1)


@pytest.mark.parametrize(("value", "text"), [(200_000, "200k"), (1.2e6, "1.2M"), (999_900, "1M"), (1e3, "1k"),
                                             (42.0, "42"), (2.5e9, "2.5G"), (0.0, "0")])
def test_plain_number(value: float, text: str) -> None:
    assert style.plain_number(value) == text


def test_plain_number_leaves_room_for_a_unit() -> None:
    assert style.plain_number(313_000, blank=True) + "bit" == "313 kbit"
    assert style.plain_number(12, blank=True) + "bit" == "12 bit"


@pytest.mark.parametrize(("lo", "hi"), [(1e5, 3e5), (5e4, 2e6), (1e3, 1e9), (900.0, 2200.0), (1.0, 10.0)])
def test_log_ticks_are_a_handful_within_the_limits(lo: float, hi: float) -> None:
    ticks = style.log_ticks(lo, hi)
    assert 2 <= len(ticks) <= 9
    assert ticks == sorted(ticks)
    assert lo <= ticks[0] and ticks[-1] <= hi


def boxes_of(labels: list[style.Label], obstacles: np.ndarray) -> tuple[list[Bbox], Bbox, np.ndarray]:
    with style.style():
        figure, (axes,) = style.panels(1, 0.5, 0.5)
        axes.set(xlim=(0, 10), ylim=(0, 10))
        notes = style.place_labels(axes, labels, obstacles)
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()
    extents = [note.get_window_extent(renderer) for note in notes]
    return extents, axes.get_window_extent(renderer), axes.transData.transform(obstacles)


def test_labels_of_crowded_points_do_not_collide() -> None:
    rng = np.random.default_rng(0)
    xy = np.concatenate([rng.uniform(0, 10, (12, 2)), np.full((3, 2), 5.0), [[0.0, 0.0], [10.0, 10.0]]])
    labels = [style.Label(x, y, f"{i}-1x32", "black") for i, (x, y) in enumerate(xy)]
    extents, inside, points = boxes_of(labels, xy)
    for i, box in enumerate(extents):
        assert all(Bbox.intersection(box, other) is None for other in extents[:i])
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
        assert not np.any(np.all((points >= box.min) & (points <= box.max), axis=1))


def test_a_lone_label_stays_beside_its_point() -> None:
    (box,), _, ((x, y),) = boxes_of([style.Label(5, 5, "2-1", "black")], np.array([[5.0, 5.0]]))
    gap = np.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))
    assert gap < 12 * style.DPI / 72


def test_a_level_is_named_where_nothing_is_hidden() -> None:
    with style.style():
        _, (axes,) = style.panels(1, 0.5, 0.5)
        axes.set(xlim=(0, 10), ylim=(0, 10))
        crowd = np.stack([np.linspace(0, 4, 50), np.full(50, 5.15)], axis=1)
        free = style.name_level(axes, 5.0, "all of it", "black", crowd)
    pixels = axes.transData.transform(crowd)
    assert not np.any(np.all((pixels >= free.min) & (pixels <= free.max), axis=1))
