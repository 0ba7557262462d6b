"""What every figure has to be, for the tests: whole, and with nothing on top of anything else; and its open marks."""

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from physlm.figures import style


def assert_inside_and_apart(figure: Figure) -> None:
    """Save it; then texts, legends and panels must lie on the sheet, and none on another."""
    style.save(figure, io.BytesIO(), dpi=40)
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    figure.set_dpi(style.DPI)
    renderer, whole = canvas.get_renderer(), figure.bbox
    boxes = [text.get_window_extent(renderer) for text in figure.texts]
    boxes += [legend.get_window_extent(renderer) for legend in figure.legends]
    boxes += [box for axes in figure.axes if (box := axes.get_tightbbox(renderer)) is not None]
    for box in boxes:
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1
    assert all(Bbox.intersection(box, other) is None for i, box in enumerate(boxes) for other in boxes[:i])


def published(axes: Axes) -> list[tuple[float, float, Any]]:
    """(x, y, colour) of each open mark, which is a published number."""
    return [(float(x), float(y), line.get_color()) for line in axes.lines if line.get_markerfacecolor() == "white"
            for x, y in np.asarray(line.get_xydata())]  # fmt: skip


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]
