"""Grids draw each number with its interval and what was published, one panel a form, and refuse other settings."""

from __future__ import annotations

import planted
import pytest
from matplotlib.figure import Figure
from sheets import assert_inside_and_apart

from physlm.errors import UserError
from physlm.figures.grids import grids
from physlm.laws.forms import Shares
from physlm.laws.law import Law

TRUTH = {("rope", "none"): 0.1, ("rope", "canon"): 0.6, ("none", "none"): 0.2}
TABLE = planted.table(
    row for place, ((position, local), p) in enumerate(TRUTH.items())
    for run in [{"run": str(place), "model.position": position, "model.local": local}]
    for row in (planted.share(run, "answer", p, 2500), planted.number(run, "bits", 2.0 * p, 100, "bits"))
)
BY = ("model.position", "model.local")
FORMS = {"Mano": Shares("answer", BY), "Capo": Shares("bits", BY, unit="bits", share=False),
         "Lano": Shares("accuracy", BY)}  # fmt: skip
DRAW = grids(FORMS, "position", "local", published={"Mano": {("rope", "canon"): 0.951}},
             names={"rope": "RoPE", ("local", "canon"): "with Canon"}, caption="Of small models.")  # fmt: skip


def texts(figure: Figure, panel: int) -> list[str]:
    return [text.get_text() for text in figure.axes[panel].texts]


def test_cells_are_numbers_with_intervals_and_published_ones() -> None:
    figure = DRAW(TABLE, Law(()))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Mano", "Capo"], "what was not measured is left out"
    assert texts(figure, 0) == ["10.0", "60.0", "20.0", "–", "8.8 to 11.2", "58.1 to 61.9 [95.1]", "18.4 to 21.6"]
    assert texts(figure, 1)[:4] == ["0.2", "1.2", "0.4", "–"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["RoPE", "position none"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["local none", "with Canon"]
    (caption,) = (text.get_text() for text in figure.texts)
    assert "Of small models." in caption and "Brackets: published." in caption and "1 model each" in caption
    assert_inside_and_apart(figure)


def test_an_empty_table_says_so() -> None:
    figure = DRAW(TABLE[TABLE["quantity"] == "nothing"], Law(()))
    assert "not measured" in texts(figure, 0)
    assert_inside_and_apart(figure)


def test_one_column_needs_no_setting_and_others_are_refused() -> None:
    rope = Shares("answer", BY[1:], {"model.position": "rope"})
    assert len(texts(grids({"Mano": rope}, "local")(TABLE, Law(())), 0)) == 4
    with pytest.raises(UserError, match="expected no others than local"):
        grids(FORMS, "local")
    with pytest.raises(UserError, match="positions"):
        grids(FORMS, "positions", "local")
