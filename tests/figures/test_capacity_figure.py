"""The capacity figure shows what the table holds, for any table that the law accepts."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from planted_capacities import planted_capacity

from physlm.errors import UserError
from physlm.figures import style
from physlm.figures.knowledge.capacity import PUBLISHED, PUBLISHED_MARKER, capacity_figure
from physlm.laws.knowledge.capacity import capacity_law
from physlm.laws.knowledge.capacity_models import best_of_learning_rates, capacity_models


def draw(table: pd.DataFrame) -> Figure:
    return capacity_figure(table, capacity_law(table, resamples=100))


def texts(axes: Axes) -> list[str]:
    return [child.get_text() for child in axes.texts]


def size_labels(axes: Axes) -> list[Annotation]:
    return [t for t in axes.texts if isinstance(t, Annotation) and t.get_text().replace("x", "-").count("-") >= 1
            and t.get_text().replace("x", "-").replace("-", "").isdigit()]


TABLE = planted_capacity(scatter=0.05, penalty=0.8)


@pytest.fixture(scope="module")
def figure() -> Figure:
    return draw(TABLE)


def test_one_titled_panel_per_exposures_largest_first(figure: Figure) -> None:
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["1,000 exposures", "100 exposures"]
    for axes in figure.axes:
        assert axes.get_xscale() == axes.get_yscale() == "log"
        assert "parameters" in axes.get_xlabel()
    assert "bits" in figure.axes[0].get_ylabel()


def test_every_best_model_is_labelled_and_drawn_where_it_belongs(figure: Figure) -> None:
    best = best_of_learning_rates(capacity_models(TABLE))
    for axes, exposures in zip(figure.axes, (1000, 100), strict=True):
        rows = best[best["exposures"] == exposures]
        assert sorted(note.get_text() for note in size_labels(axes)) == sorted(rows["label"])
        drawn = {(float(x), float(y)) for bars in axes.containers
                 for x, y in zip(*bars.lines[0].get_data(), strict=True)}  # type: ignore[attr-defined]
        assert drawn == set(zip(rows["params"].astype(float), rows["bits"], strict=True))


def test_panels_state_peak_line_and_the_levels(figure: Figure) -> None:
    law = capacity_law(TABLE, resamples=100)
    for axes, exposures in zip(figure.axes, (1000, 100), strict=True):
        peak, line = law.get(f"peak_bits_per_param@{exposures}"), law.get(f"line_bits_per_param@{exposures}")
        assert peak is not None and line is not None
        assert any(f"peak {peak.value:.2f}" in t and f"line {line.value:.2f}" in t for t in texts(axes))
        for level in ("313 kbit of N = 5,000", "616 kbit of N = 10,000", "1.21 Mbit of N = 20,000"):
            assert any(level in t for t in texts(axes))


def test_caption_and_legend_explain_the_marks(figure: Figure) -> None:
    said = " ".join(t.get_text() for t in figure.texts)
    assert "best of 3 learning rates" in said
    entries = [t.get_text() for t in figure.legends[0].get_texts()]
    for entry in ("N = 5,000", "N = 20,000", "2 bits/parameter", "1 bit/parameter", "other runs"):
        assert entry in entries


def test_published_points_stand_beside_ours_and_name_their_source() -> None:
    table = planted_capacity(people=(20_000, 50_000), sizes=((2, 1, 32), (2, 2, 128), (4, 2, 128), (5, 4, 256)))
    figure = draw(table)
    hollow = [line for axes in figure.axes for line in axes.lines if line.get_marker() == PUBLISHED_MARKER]
    drawn = {(float(x), float(y)) for line in hollow for x, y in np.asarray(line.get_xydata())}
    assert {(p * 1e6, b * 1e6) for p, b in PUBLISHED[50_000]} <= drawn
    assert not any(line.get_marker() == PUBLISHED_MARKER for line in figure.axes[1].lines), "at 1000 exposures alone"
    by_n = capacity_models(table).drop_duplicates("people").sort_values("people")["people"].tolist()
    assert style.colour(by_n.index(50_000)) in {str(line.get_color()) for line in hollow}
    assert "read off by a second source" in " ".join(t.get_text() for t in figure.texts)
    assert "published" in [t.get_text() for t in figure.legends[0].get_texts()]
    other = draw(table.assign(**{"task.kind": "bioD"}))
    assert "second source" not in " ".join(t.get_text() for t in other.texts), "of bioS, not of other tasks"


def test_labels_do_not_collide_and_legend_and_caption_are_apart(figure: Figure) -> None:
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()
    for axes in figure.axes:
        boxes = [note.get_window_extent(renderer) for note in size_labels(axes)]
        pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]
        assert len(pairs) > 100
        assert not any(Bbox.intersection(a, b) for a, b in pairs)


@pytest.mark.parametrize("table", [
    TABLE,
    planted_capacity(exposures=(1000,)),
    planted_capacity(exposures=(8, 4), people=(32,), sizes=((1, 1, 8), (1, 1, 16)), people_error=0.2),
    planted_capacity(exposures=(1000, 300, 100), people=(5_000,), learning_rates=(1e-3,)),
    planted_capacity(exposures=(100,), people=(10_000,), sizes=((2, 1, 64),), learning_rates=(1e-3,)),
    planted_capacity(exposures=(1000,), people=(2_000, 8_000, 16_000, 32_000, 64_000)),
])
def test_any_shape_of_table_draws_with_legend_and_caption_inside(table: pd.DataFrame) -> None:
    figure = draw(table)
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()
    whole = figure.bbox
    legend, caption = figure.legends[0].get_window_extent(renderer), figure.texts[0].get_window_extent(renderer)
    for box in (legend, caption):
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1
    assert Bbox.intersection(legend, caption) is None
    for axes in figure.axes:
        with_texts = axes.get_tightbbox(renderer)
        assert with_texts is not None
        assert Bbox.intersection(legend, with_texts) is None
        assert max(len(axes.get_xticks()), len(axes.get_yticks())) <= 12


def knowing(table: pd.DataFrame, factor: float, rows: pd.Series) -> pd.DataFrame:
    table = table.copy()
    learned = rows & table["quantity"].isin(["bits_signed", "bits_name", "bits_value"])
    table.loc[learned, ["value", "lo", "hi"]] *= factor
    return table


def test_models_that_know_nothing_are_counted_not_drawn() -> None:
    table = planted_capacity()
    figure = draw(knowing(table, 0.0, table["task.people"] == 5_000))
    assert any("42 of 126 runs below the axis" in t for t in texts(figure.axes[0]))
    nothing = draw(knowing(table, 0.0, table["run"].notna()))
    assert any("126 of 126 runs below the axis" in t for t in texts(nothing.axes[0]))


def test_negative_knowledge_draws_too() -> None:
    table = planted_capacity(exposures=(1000,))
    flipped = knowing(table, -0.01, table["label"] == "2-1x16")
    low, high = flipped["lo"].copy(), flipped["hi"].copy()
    flipped["lo"], flipped["hi"] = np.minimum(low, high), np.maximum(low, high)
    figure = draw(flipped)
    style.save(figure, io.BytesIO(), dpi=40)
    assert any("runs below the axis" in t for t in texts(figure.axes[0]))


def test_equal_tables_give_equal_pictures() -> None:
    table = planted_capacity(exposures=(1000,), people=(5_000,))
    pictures = []
    for _ in range(2):
        buffer = io.BytesIO()
        style.save(draw(table), buffer, dpi=60, metadata={"Software": None})
        pictures.append(buffer.getvalue())
    assert pictures[0] == pictures[1]


def test_the_picture_does_not_depend_on_the_style_at_saving_time(figure: Figure) -> None:
    styled, plain = io.BytesIO(), io.BytesIO()
    style.save(figure, styled, dpi=60)
    figure.savefig(plain, dpi=60)
    assert styled.getvalue() == plain.getvalue()


def test_another_table_is_refused() -> None:
    with pytest.raises(UserError, match="missing"):
        capacity_figure(pd.DataFrame({"run": ["a"]}), capacity_law(planted_capacity(), resamples=10))


def test_drawing_needs_neither_pyplot_nor_torch() -> None:
    code = ("import sys, physlm.figures.knowledge.capacity; "
            "print([m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
