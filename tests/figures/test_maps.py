"""Maps of weights: what is in them, and where."""

from __future__ import annotations

import io

import numpy as np
import pytest

from physlm.figures import style
from physlm.figures.maps import in_sight, maps


def test_each_row_of_what_is_in_sight_has_its_largest_at_one() -> None:
    weights = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.1, 0.2, 0.7]])
    found = in_sight(weights)
    np.testing.assert_allclose(np.nanmax(found, 1), 1.0)
    assert (np.isnan(found) == (weights == 0)).all()
    np.testing.assert_allclose(found[2], weights[2] / 0.7)
    assert np.isnan(in_sight(np.zeros((2, 2)))).all()


@pytest.mark.parametrize(("count", "columns", "lines"), [(1, 4, 1), (3, 4, 1), (5, 3, 2)])
def test_maps_stand_in_lines_with_their_titles_and_numbers(count: int, columns: int, lines: int) -> None:
    parts = {f"map {n}": np.full((4, 6), n / count) for n in range(count)}
    figure = maps(parts, columns=columns, caption="what they show")
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(parts)
    assert len({round(axes.get_position().y0, 6) for axes in figure.axes}) == lines
    for axes, values in zip(figure.axes, parts.values(), strict=True):
        (image,) = axes.images
        np.testing.assert_array_equal(image.get_array(), values)
        assert image.get_clim() == (0.0, 1.0)
    assert [text.get_text() for text in figure.texts] == ["what they show"]
    style.save(figure, io.BytesIO(), dpi=50)


def test_nothing_overlaps() -> None:
    figure = maps({f"a title of a map {n}": np.eye(32) for n in range(6)}, columns=3, caption="a caption " * 20)
    style.save(figure, io.BytesIO(), dpi=50)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes] + [figure.texts[0].get_window_extent(renderer)]
    for i, box in enumerate(boxes):
        assert box is not None and not any(box.overlaps(other) for other in boxes[:i] if other)
