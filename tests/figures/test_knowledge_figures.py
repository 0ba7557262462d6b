"""The figure of the knowledge probes draws what its table says, and whatever a table lacks, it draws the rest."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import planted
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sheets import assert_inside_and_apart

from physlm.figures import style
from physlm.figures.knowledge.probing import ATTRIBUTES, FIRST, WHOLE, knowledge_figure
from physlm.figures.parts import percent
from physlm.laws.knowledge.probing import knowledge_law
from physlm.tasks.biography.augmentation import augmentation
from physlm.tasks.biography.config import BioSConfig

TARGETS = [*FIRST, *WHOLE]
CONTROLS = {"untrained": 0.02, "shuffled": 0.01, "majority": 0.03, "first_word": 0.6, "unmapped": 0.5}
PUBLISHED = {"single": tuple(0.01 * k for k in range(11))}


def p_truth(setting: str, target: str, place: int) -> float:
    """Known early after augmentation, and before its own place, number by number, without."""
    number = FIRST.index(target.replace("_whole", "_first")) + 1
    return 0.9 + 0.01 * number if setting != "single" else 0.99 if place >= number else 0.01 * place


def rows(setting: str) -> list[dict[str, Any]]:
    task = BioSConfig(**augmentation(setting))
    run = {"run": setting, "task.kind": "bioS", "task.people": 10_000, "model.causal": True,
           **{f"task.{name}": getattr(task, name) for name in ("fresh", "texts", "permute", "fullname", "reverse")}}
    made = []
    for k, target in enumerate(TARGETS):
        made.append(planted.share(run, f"q_probe/target={target}", 0.8 + 0.01 * k, 5000))
        made += [planted.share(run, f"q_probe_{control}/target={target}", p, 5000) for control, p in CONTROLS.items()]
        made += [planted.share(run, f"p_probe/target={target}/place={place}", p_truth(setting, target, place), 5000)
                 for place in range(1, 7)]
        made += [planted.share(run, f"p_probe_untrained/target={target}/place={place}", 0.02 * place, 5000)
                 for place in range(1, 7)]
    return made


TABLE = planted.table([*rows("multi5+permute"), *rows("single")])


def draw(table: pd.DataFrame) -> Figure:
    return knowledge_figure(PUBLISHED)(table, knowledge_law(table))


def titled(figure: Figure, title: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def numbers(axes: Axes, columns: int) -> list[list[str]]:
    """The numbers in the cells of a heat table, row by row."""
    inside = [text for text in axes.texts if text.get_position()[1] % 1 == 0.5 and text.get_position()[0] % 1 == 0.5]
    found: list[list[str]] = np.array([text.get_text() for text in inside]).reshape(-1, columns).tolist()
    return found


def test_heat_maps_read_attribute_by_attribute_and_place_by_place() -> None:
    figure = draw(TABLE)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "P-probe, single", "P-probe, multi5+permute", "Q-probe: read from the name alone"]
    for setting in ("single", "multi5+permute"):
        axes = titled(figure, f"P-probe, {setting}")
        *trained, untrained = numbers(axes, 6)
        assert trained == [[percent(p_truth(setting, target, place)) for place in range(1, 7)]
                           for target in ATTRIBUTES.values()]
        assert untrained == [percent(0.02 * place) for place in range(1, 7)]
        assert [label.get_text() for label in axes.get_xticklabels()] == list("123456")
    labels = titled(figure, "P-probe, single").get_yticklabels()
    assert [label.get_text() for label in labels] == [*ATTRIBUTES, "untrained"]
    notes = [text.get_text() for text in titled(figure, "P-probe, multi5+permute").texts]
    assert any(note.startswith("whole values at place 1: 94.0 [") and note.endswith("untrained 2.0") for note in notes)


def test_the_table_of_names_has_a_row_for_each_dataset_and_control() -> None:
    axes = titled(draw(TABLE), "Q-probe: read from the name alone")
    names = [label.get_text() for label in axes.get_yticklabels()]
    controls = ["untrained", "others' values", "commonest", "first word known", "without its map"]
    assert names == ["single", "published", *controls, "multi5+permute", *controls]
    found = numbers(axes, 11)
    assert found.pop(1) == [percent(value) for value in PUBLISHED["single"]]
    for place, row in enumerate(found):
        control = list(CONTROLS.values())[place % 6 - 1]
        assert row == [percent(control if place % 6 else 0.8 + 0.01 * k) for k in range(11)]
    columns = [label.get_text().replace("\n", " ") for label in axes.get_xticklabels()]
    assert columns == [*ATTRIBUTES, *list(ATTRIBUTES)[1:]]


@pytest.mark.parametrize("settings", [["single"], ["single", "multi5+permute"],
                                      ["single", "multi5+permute+fullname", "single+permute5+fullname"]])
def test_everything_is_inside_the_sheet_and_apart(settings: list[str]) -> None:
    figure = draw(planted.table([row for setting in settings for row in rows(setting)]))
    assert_inside_and_apart(figure)


def test_half_a_table_draws_too() -> None:
    """Without controls; with these alone; one probe alone; and with nothing that the figure knows."""
    names = planted.names(TABLE)
    control = names.str.contains("untrained|shuffled|majority|first_word|unmapped")
    for part in (TABLE[~control], TABLE[control], TABLE[names.str.startswith("q_")], TABLE[names.str.startswith("p_")],
                 TABLE.assign(quantity="something_else").drop_duplicates("run"), TABLE[~names.str.contains("place=3")]):
        drawn = io.BytesIO()
        style.save(draw(part), drawn, dpi=40)
        assert drawn.getvalue().startswith(b"\x89PNG")
    gap = numbers(titled(draw(TABLE[~names.str.contains("place=3")]), "P-probe, single"), 6)
    assert [row[2] for row in gap] == ["–"] * 7


def test_equal_tables_give_equal_pictures() -> None:
    pictures = []
    for table in (TABLE, TABLE.sample(frac=1.0, random_state=0)):
        buffer = io.BytesIO()
        style.save(draw(table), buffer, dpi=40, metadata={"Software": None})
        pictures.append(buffer.getvalue())
    assert pictures[0] == pictures[1]
