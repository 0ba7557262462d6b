"""The library of plots draws what the forms give, beside controls and published numbers, inside the sheet."""

from __future__ import annotations

import io
import math

import numpy as np
import planted
import pytest
from matplotlib.figure import Figure
from sheets import assert_inside_and_apart, legend, published

from physlm.errors import UserError
from physlm.figures import style
from physlm.figures.plots import bars, curves, error_bars
from physlm.interval import Interval
from physlm.laws.forms import Best, Least, Shares
from physlm.laws.law import Law

TRUTH = {("rope", ""): 0.1, ("rope", "ABCD"): 0.6, ("none", ""): 0.2, ("none", "ABCD"): 0.5}
TABLE = planted.table(
    row for (position, canon), p in TRUTH.items()
    for rate, seed, lower in ((5e-4, 0, 0.0), (5e-4, 1, 0.02), (1e-3, 0, 0.05))
    for run in [{"run": f"{position}{canon}{rate}{seed}", "model.position": position, "model.canon": canon,
                 "train.learning_rate": rate, "train.seed": seed}]
    for row in (planted.share(run, "answer/length=10", p - lower, 2000),
                planted.share(run, "majority/length=10", 0.07, 500),
                *(planted.share(run, f"answer/length=10/step={step}", p * step / 800, 500) for step in (200, 400, 800)))
)  # fmt: skip
ANSWER = Shares("answer", ("model.position", "model.canon"), {"at.length": 10, "train.learning_rate": 5e-4})
STEPS = Shares("answer", (*ANSWER.columns, "at.step"), ANSWER.where)
BEST = Best("best", ANSWER, over="train.learning_rate")
NAMES = {"rope": "RoPE", ("position", "none"): "no positions", ("canon", ""): "without Canon"}
BARS = bars(ANSWER, "position", "canon", control=ANSWER.of("majority"), control_name="best constant", besides=BEST,
            besides_name="best rate", published={("rope", ""): 0.15, ("none", "ABCD"): 0.42}, names=NAMES,
            title="Right answers", caption="Held-out sums.")
CURVES = curves(STEPS, "step", "canon", control=ANSWER.of("majority"), control_name="best constant",
                published={("rope", "ABCD", 400): 0.33}, names=NAMES, ylabel="answered (%)", xlabel="training steps")


def heights(figure: Figure) -> list[list[float]]:
    """Of the bars of each series of each panel."""
    return [[float(bar.get_height()) for bar in axes.patches if bar.get_height() > 0] for axes in figure.axes]  # type: ignore[attr-defined]


def test_bars_are_the_cells_of_the_form_with_a_control_and_published_marks() -> None:
    figure = BARS(TABLE, Law(()))
    cells = ANSWER.cells(TABLE)
    assert heights(figure) == [[cells[key].value for key in TRUTH]]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["RoPE", "no positions"]
    assert legend(figure) == ["without Canon", "ABCD", "best constant", "best rate", "published"]
    assert [round(y, 3) for _, y, _ in published(figure.axes[0])] == [0.15, 0.42]
    caption = " ".join(text.get_text() for text in figure.texts)
    assert "Held-out sums." in caption and "over items and seeds; 2 models each" in " ".join(caption.split())
    assert_inside_and_apart(figure)


def test_settings_that_are_not_shown_have_panels_of_their_own() -> None:
    figure = bars(ANSWER, "canon", names=NAMES)(TABLE, Law(()))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["RoPE", "no positions"]
    assert heights(figure) == [pytest.approx([0.09, 0.59]), pytest.approx([0.19, 0.49])]
    assert_inside_and_apart(figure)


def test_curves_go_along_a_setting_over_a_dashed_control() -> None:
    figure = CURVES(TABLE, Law(()))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["RoPE", "no positions"]
    lines = [line for line in figure.axes[0].lines if len(np.atleast_1d(line.get_xdata())) == 3]
    steps = [np.asarray(line.get_xdata()).tolist() for line in lines if line.get_linestyle() == "-"]
    assert steps == [[200, 400, 800]] * 2
    assert np.asarray(lines[0].get_ydata()).tolist() == pytest.approx([0.025, 0.05, 0.1])
    assert legend(figure) == ["without Canon", "ABCD", "best constant", "published"]
    assert_inside_and_apart(figure)


@pytest.mark.parametrize("draw", [BARS, CURVES, bars(ANSWER, "position"), curves(STEPS, "step", log=False)])
def test_half_a_table_draws_too_and_equal_tables_draw_equal_pictures(draw: object) -> None:
    assert callable(draw)
    for part in (TABLE, TABLE[TABLE["model.position"] == "rope"], TABLE[TABLE["quantity"] == "answer"],
                 TABLE.assign(quantity="something_else")):
        pictures = []
        for _ in range(2):
            drawn = io.BytesIO()
            style.save(draw(part, Law(())), drawn, dpi=40)
            pictures.append(drawn.getvalue())
        assert pictures[0] == pictures[1] and pictures[0].startswith(b"\x89PNG")


def test_what_names_nothing_is_refused_before_anything_is_drawn() -> None:
    with pytest.raises(UserError, match="unknown name 'positions'; did you mean 'position'"):
        bars(ANSWER, "positions")
    with pytest.raises(UserError, match="unknown name 'step'"):
        curves(ANSWER, "step")
    with pytest.raises(UserError, match="answer: unknown name 'step'"):
        bars(ANSWER, "position", control=STEPS)


def test_the_caption_says_what_error_bars_cover() -> None:
    assert error_bars({}) == ""
    one = TABLE[TABLE["train.seed"] == 0]
    assert error_bars(ANSWER.cells(one)) == "Error bars: 95 %, over items; 1 model each."
    assert math.isfinite(Least("least", ANSWER).cells(one)[()].value)


def test_bars_of_nothing_draw() -> None:
    none = planted.table([planted.number({"run": "a", "model.position": "rope"}, "bits", 0.0, 48, "bits")])
    axes, = bars(Shares("bits", ("model.position",), unit="bits", share=False), "position")(none, Law(())).axes
    assert axes.get_ylim() == (0.0, 1.0)


def test_logarithmic_curves_leave_out_what_is_not_above_zero_and_guide_lines_keep_their_slope() -> None:
    table = planted.table(
        planted.number({"run": f"{size}", "params_used": size, "train.seed": 0}, "bits", value, 48, "bits", 1.0)
        for size, value in ((100, 180.0), (1_000, 2_100.0), (5_000, 0.0), (10_000, 9_000.0))
    )
    form = Shares("bits", {"params": "params_used"}, unit="bits", share=False)
    sheet = curves(form, "params", log_y=True, guides=(2.0, 0.5), caption="Bits.")(table, Law(()))
    (axes,) = sheet.axes
    assert any("Bits. Not above 0, and not drawn: 1 point." in " ".join(text.get_text().split())
               for text in sheet.texts)  # fmt: skip
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    lines = [(np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)) for line in axes.lines]
    slopes = sorted(float(y[0] / x[0]) for x, y in lines if len(x) == 100)
    assert slopes == pytest.approx([0.5, 2.0])
    points = next(zip(x, y, strict=True) for x, y in lines if len(x) == 3)
    assert list(points) == [(100, 180), (1_000, 2_100), (10_000, 9_000)]


def test_what_is_left_out_is_named_and_panels_of_one_scale_have_one_set_of_numbers() -> None:
    table = planted.table(
        planted.number({"run": f"{kind}{size}{way}", "params_used": size, "kind": kind, "way": way}, "bits", value, 48,
                       "bits", 1.0)
        for kind, way, size, value in (("a", "x", 100, 200.0), ("a", "x", 1_000, 4e5), ("a", "y", 100, 3e5),
                                       ("a", "y", 1_000, 4e5), ("b", "y", 100, 0.0), ("b", "y", 1_000, 0.0))
    )
    form = Shares("bits", {"params": "params_used", "kind": "kind", "way": "way"}, unit="bits", share=False)
    sheet = curves(form, "params", "kind", names={"b": "the other"}, log_y=True, one_scale=True)(table, Law(()))
    assert any("not drawn: 2 points (the other)" in " ".join(text.get_text().split()) for text in sheet.texts)
    one, two = sheet.axes
    assert one.get_ylim() == two.get_ylim() and list(one.get_yticks()) == list(two.get_yticks())


def test_an_exact_number_beside_others_does_not_say_what_error_bars_cover() -> None:
    items, exact = Interval(0.5, 0.4, 0.6, 10), Interval.exact(0.0)
    assert error_bars({(1,): exact, (2,): items}) == "Error bars: 95 %, over items; 1 model each."
    assert error_bars({(1,): exact}) == "Error bars: 95 %, over nothing; 1 model each."


def test_each_panel_reaches_over_its_own_numbers() -> None:
    """Swept settings differ in scale: 1 to 10 of the one, 100 to 1,000 of the other."""
    rows = [planted.number({**planted.run(), "dial": dial, "task.size": size, "run": f"{dial}{size}"}, "learnt", 1.0, 9)
            for dial, size in (("K", 1), ("K", 10), ("D", 100), ("D", 1000))]
    form = Shares("learnt", {"dial": "dial", "size": "task.size"}, pooled=("task.size",))
    found = curves(form, "size")(planted.table(rows), Law(()))
    assert [axes.get_xlim() for axes in found.axes] == [pytest.approx((1 / 1.15, 11.5)),
                                                        pytest.approx((100 / 1.15, 1150))]


MANY = planted.table(
    planted.share({"run": f"{mixer}{rows}", "model.mixer": mixer, "task.rows": rows}, "answer", 0.5, 100)
    for mixer in [f"mixer {k}" for k in range(2 * len(style.COLOURS))] for rows in (1, 2))  # fmt: skip
BY_MIXER = Shares("answer", ("task.rows", "model.mixer"))


def test_series_after_the_eighth_look_like_none_before() -> None:
    drawn, drawn_lines = (draw(BY_MIXER, "rows", "mixer")(MANY, Law(())) for draw in (bars, curves))
    looks = [(bar.get_facecolor(), bar.get_hatch()) for bar in drawn.axes[0].patches]
    assert len(set(looks)) == 2 * len(style.COLOURS) == len(looks) / 2
    assert {(patch.get_facecolor(), patch.get_hatch()) for patch in drawn.legends[0].get_patches()} == set(looks)
    lines = [(one.get_color(), one.get_marker(), one.get_linestyle()) for one in drawn_lines.legends[0].get_lines()]
    assert len(set(lines)) == 2 * len(style.COLOURS) == len(lines)
    shown = {(one.get_color(), one.get_marker(), one.get_linestyle()) for one in drawn_lines.axes[0].get_lines()}
    assert set(lines) <= shown
