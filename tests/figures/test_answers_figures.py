"""The figures of questions draw what their tables say, and whatever a table lacks, they draw the rest."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from planted import Row, names, share, table
from sheets import assert_inside_and_apart, legend, published

from physlm.config import content_hash
from physlm.figures import style
from physlm.figures.knowledge.answers_bars import answers_bars
from physlm.figures.knowledge.answers_curves import answers_curves
from physlm.figures.knowledge.answers_table import answers_table
from physlm.figures.knowledge.without_layer import without_layer_figure
from physlm.lab import results
from physlm.laws.knowledge.answers import answers_law
from physlm.laws.knowledge.without_layer import without_layer_law
from physlm.laws.law import Law
from physlm.models.config import ModelConfig
from physlm.tasks.biography.augmentation import AUGMENTATIONS, augmentation
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.kinds import CLASSIFICATION, COMPARISON, INVERSE, RETRIEVAL
from physlm.tasks.biography.question_config import Ask, QuestionsConfig
from physlm.training.config import RunSpec, TrainConfig

GROUPS = {"retrieval": RETRIEVAL, "classification": CLASSIFICATION, "comparison": COMPARISON, "inverse search": INVERSE}
LEVELS = {"retrieval": 0.95, "classification": 0.6, "comparison": 0.5, "inverse search": 0.01}
PEOPLE = (50, 200, 500)


def finetuned(name: str = "single", seed: int = 0, **ask: Any) -> dict[str, Any]:
    base = RunSpec(BioSConfig(1000, questions=True, **augmentation(name)), ModelConfig(), TrainConfig())
    spec = RunSpec(QuestionsConfig(1000, ask=Ask(**ask)), ModelConfig(), TrainConfig(seed=seed), base)
    return {"run": content_hash(spec), **results.settings_of(spec)}


def rows(run: dict[str, Any], base: str, numbers: Mapping[str, float], half: str = "test") -> list[Row]:
    return [share(run, f"{base}/kind={kind}/half={half}", p, 1000) for kind, p in numbers.items()]


def augmented(names: tuple[str, ...] = AUGMENTATIONS) -> pd.DataFrame:
    """The share grows by 0.05 a dataset and by 0.01 a kind; controls too, by a hundredth of that."""
    found: list[Row] = []
    for place, name in enumerate(names):
        run, numbers = finetuned(name), {kind: 0.05 * place + 0.01 * i for i, kind in enumerate(RETRIEVAL)}
        found += [*rows(run, "answer", numbers), *rows(run, "answer", dict.fromkeys(numbers, 1.0), "train")]
        for base in ("majority", "answer_untrained", "answer_start"):
            found += rows(run, base, {kind: p / 100 + 0.1 * (base == "majority") for kind, p in numbers.items()})
    return table(found)


def tasks(name: str = "single") -> list[Row]:
    """One finetuning for each of the four tasks, and with hints, which add 0.1 and 0.3, where there are any."""
    found: list[Row] = []
    for group, kinds in GROUPS.items():
        run, level = finetuned(name, kinds=kinds), LEVELS[group]
        found += [*rows(run, "answer", dict.fromkeys(kinds, level)), *rows(run, "majority", dict.fromkeys(kinds, 0.05))]
        if group in ("classification", "comparison"):
            run = finetuned(name, kinds=kinds, hints=0.5)
            found += rows(run, "answer", dict.fromkeys(kinds, level + 0.1))
            found += rows(run, "answer_hinted", dict.fromkeys(kinds, level + 0.3))
    return found


def by_people(kinds: tuple[str, ...], name: str = "single") -> list[Row]:
    found: list[Row] = []
    for people, kind, hints in product(PEOPLE, kinds, (0.0, 0.5)):
        run = finetuned(name, kinds=(kind,), most=people, hints=hints)
        found += rows(run, "answer", {kind: people / 1000 + hints / 5})
        found += [*rows(run, "majority", {kind: 0.25}), *(rows(run, "answer_hinted", {kind: 0.9}) if hints else [])]
    return found


def damaged(layers: int = 4) -> list[Row]:
    found: list[Row] = []
    for seed in (0, 1):
        run = finetuned(seed=seed)
        found += rows(run, "answer", {"birth_date": 0.9, "major": 0.7})
        for i, kind, (part, p) in product(range(layers), ("birth_date", "major"), (("block", 0.0), ("mlp", 0.1))):
            found.append(share(run, f"answer_without/kind={kind}/half=test/layer={i}/part={part}", p * i, 1000))
    return found


Draw = Callable[[pd.DataFrame, Law], Figure]
TABLES = {
    "table": augmented(), "published": augmented(AUGMENTATIONS[:3]), "one row": augmented(("single",)),
    "bars": table(tasks()), "panels": table([*tasks(), *tasks("multi5")]),
    "published bars": table(tasks()), "curves": table(by_people(CLASSIFICATION)),
    "published curves": table(by_people(CLASSIFICATION)), "published curve": table(by_people(("month_mod2",))),
    "settings": table([*by_people(("month_mod2",)), *by_people(("month_mod2",), "multi5")]),
    "layers": table(damaged()), "one layer": table(damaged(1)),
}
PUBLISHED = {("single", "birth_date"): 0.334, ("single+fullname", "mean"): 0.489, ("multi5", "mean"): 0.41}
# a mark between our number and its interval, one above, and of kinds that no bar is the mean of
ON_BARS = {("plain", "answer", RETRIEVAL): 0.9, ("hints", "answer", COMPARISON): 0.63,
           ("hints", "hinted", CLASSIFICATION[:2]): 0.5}  # fmt: skip
ON_CURVES = {("plain", "answer", "month_mod2"): {200: 0.604, 5_000: 0.953},
             ("hints", "hinted", "month_mod2"): {1_000: 0.942}, ("plain", "hinted", "month_mod2"): {50: 0.1},
             ("plain", "answer", "month_later"): {50: 0.1}}
NOTE = "Open marks: published, of 100,000 people in all, and a sentence for which a narrow sheet has no room in a line."
BY: dict[str, tuple[str, ...]] = {
    "table": ("augmentation",), "published": ("augmentation",), "one row": (), "bars": ("hints",),
    "published bars": ("hints",), "published curves": ("hints", "people"), "published curve": ("hints", "people"),
    "panels": ("hints", "augmentation"), "curves": ("hints", "people"), "settings": ("augmentation", "hints", "people"),
}
FIGURES: dict[str, Draw] = {
    "table": answers_table(BY["table"]), "published": answers_table(BY["published"], published=PUBLISHED),
    "one row": answers_table(()), "bars": answers_bars(BY["bars"], GROUPS),
    "published bars": answers_bars(BY["published bars"], GROUPS, NOTE, ON_BARS),
    "published curves": answers_curves(BY["published curves"], NOTE, ON_CURVES),
    "published curve": answers_curves(BY["published curve"], NOTE, ON_CURVES),
    "panels": answers_bars(BY["panels"], GROUPS), "curves": answers_curves(BY["curves"]),
    "settings": answers_curves(BY["settings"]), "layers": without_layer_figure, "one layer": without_layer_figure,
}


def draw(name: str, table: pd.DataFrame) -> Figure:
    law = answers_law(BY[name]) if name in BY else without_layer_law
    return FIGURES[name](table, law(table))


def panel(figure: Figure, start: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(start))


def texts(axes: Axes) -> list[str]:
    return [child.get_text() for child in axes.texts]


def curves(axes: Axes) -> list[tuple[Any, Any]]:
    """(x, y) of each curve with intervals."""
    return [container.lines[0].get_data() for container in axes.containers]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", TABLES)
def test_a_figure_can_be_saved_with_legend_and_caption_inside_and_apart(name: str) -> None:
    assert_inside_and_apart(draw(name, TABLES[name]))


@pytest.mark.parametrize("name", TABLES)
def test_half_a_table_draws_too(name: str) -> None:
    """Without controls; with these alone; one run alone; and with nothing that the figure knows."""
    table = TABLES[name]
    control = names(table).str.contains("untrained|start|majority|hinted|half=train|without")
    for part in (table[~control], table[control], table[table["run"] == table["run"].iloc[0]],
                 table.assign(quantity="something_else").drop_duplicates("run")):
        drawn = io.BytesIO()
        style.save(draw(name, part), drawn, dpi=40)
        assert drawn.getvalue().startswith(b"\x89PNG")


def test_the_table_reads_row_by_row() -> None:
    figure = draw("table", TABLES["table"])
    kinds, control, means, _, train = figure.axes
    assert [label.get_text() for label in kinds.get_yticklabels()] == list(AUGMENTATIONS)
    assert [label.get_text().replace("\n", " ") for label in kinds.get_xticklabels()] == [
        "birth date", "birth city", "university", "major", "employer", "employer city"]
    numbers = np.array(texts(kinds)).reshape(len(AUGMENTATIONS), len(RETRIEVAL))
    assert numbers[0].tolist() == ["0", "1", "2", "3", "4", "5"]
    assert numbers[:, 2].tolist() == [f"{5 * place + 2}" for place in range(len(AUGMENTATIONS))]
    law = answers_law(BY["table"])(TABLES["table"])
    for text, name in zip(texts(means), AUGMENTATIONS, strict=True):
        mean = law.get(f"answer@{name}")
        assert mean is not None
        assert text == f"{100 * mean.value:.0f} [{100 * mean.lo:.0f}, {100 * mean.hi:.0f}]"
    assert set(texts(train)) == {"100"}
    assert [label.get_text() for label in control.get_yticklabels()] == [
        "untrained model", "before finetuning", "commonest answer"]
    assert np.array(texts(control)).reshape(3, -1)[:, 3].tolist() == ["1", "1", "11"]  # the highest of all rows


def test_rows_have_the_order_that_was_asked_for_and_gaps_are_dashes() -> None:
    table_ = TABLES["published"]
    table_ = table_[~((table_["start.task.fullname"] == True) & names(table_).str.contains("major"))]  # noqa: E712
    figure = answers_table(("augmentation",), ("single+permute1", "multi2", "single"))(table_, Law(()))
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["single+permute1", "single", "single+fullname"]
    assert texts(axes)[-6:] == ["5", "6", "7", "–", "9", "10"]


def test_rows_are_called_by_the_words_that_a_reader_knows() -> None:
    by, words = ("task.ask.share", "augmentation"), {"share": "{} of the rows", "single": "one biography"}
    drawn = answers_table(by, words=words)(TABLES["published"].assign(**{"task.ask.share": 0.8}), Law(()))
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == [
        "0.8 of the rows, one biography", "0.8 of the rows, single+fullname", "0.8 of the rows, single+permute1"]


def test_published_numbers_stand_small_under_ours() -> None:
    figure = draw("published", TABLES["published"])
    cells, means = figure.axes[0], figure.axes[2]
    small = {(text.get_text(), text.get_position()[0]) for axes in (cells, means) for text in axes.texts
             if float(text.get_fontsize()) < 7}
    assert small == {("33.4", 0.5), ("48.9", 0.5)}
    assert not [text for axes in draw("table", TABLES["table"]).axes for text in axes.texts
                if float(text.get_fontsize()) < 7]


def test_bars_stand_for_the_groups_and_lines_for_the_commonest_answer() -> None:
    figure = draw("bars", TABLES["bars"])
    axes = figure.axes[0]
    heights = [bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]
    assert heights == pytest.approx([0.95, 0.6, 0.7, 0.9, 0.5, 0.6, 0.8, 0.01])
    centres = [bar.get_x() + bar.get_width() / 2 for bar in axes.patches]  # type: ignore[attr-defined]
    assert [centres[i] for i in (0, 2, 5, 7)] == pytest.approx([0, 1, 2, 3])
    lines = [segment[:, 1] for lines in axes.collections for segment in np.asarray(lines.get_segments())  # type: ignore[attr-defined]
             if np.ptp(segment[:, 0]) > 0]
    assert len(lines) == 4 and np.allclose(lines, 0.05)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "no hints in training", "hints in training, not at test", "hints in training and at test", "commonest answer"]
    single, multi5 = draw("panels", TABLES["panels"]).axes
    assert (single.get_title(loc="left"), multi5.get_title(loc="left")) == ("single", "multi5")


def test_published_numbers_are_open_marks_on_the_bars_that_they_are_about() -> None:
    figure = draw("published bars", TABLES["published bars"])
    axes, = figure.axes
    bars = [bar for bar in axes.patches if bar.get_height() in (LEVELS["retrieval"], 0.6)]  # type: ignore[attr-defined]
    retrieval, comparison = bars[0], bars[-1]
    assert [y for _, y, _ in published(axes)] == [0.9, 0.63]
    for (x, _, colour), bar in zip(published(axes), (retrieval, comparison), strict=True):
        assert bar.get_x() < x < bar.get_x() + bar.get_width()  # type: ignore[attr-defined]
        assert colour == "black"  # on a bar of any colour
    over = next(text for text in axes.texts if text.get_text() == "60.0" and text.xy[0] > 1.5)  # type: ignore[attr-defined]
    assert over.xy[1] > 0.64  # type: ignore[attr-defined]
    assert legend(figure)[-1] == "published"
    assert "Ours: 500." in " ".join(text.get_text() for text in figure.texts)


def test_published_numbers_are_open_marks_at_their_number_of_people() -> None:
    figure = draw("published curves", TABLES["published curves"])
    month, *others = figure.axes
    assert [mark for axes in others for mark in published(axes)] == []
    marks = published(month)
    assert [y for _, y, _ in marks] == [0.604, 0.953, 0.942]
    assert [x for x, _, _ in marks] == pytest.approx([200, 5_000, 1_000], rel=0.05)
    assert [colour for _, _, colour in marks] == [line.lines[0].get_color() for line in  # type: ignore[attr-defined]
                                                  (month.containers[0], month.containers[0], month.containers[2])]
    ticks = [label.get_text() for label in month.get_xticklabels()]
    assert ticks == ["50", "200", "500", "1k", "5k"]
    assert legend(figure)[-1] == "published"


@pytest.mark.parametrize("name", ["bars", "curves"])
def test_without_published_numbers_there_are_no_open_marks(name: str) -> None:
    """Nor where what they are about was not measured."""
    part = TABLES[name][~names(TABLES[name]).str.contains("month_mod2|/kind=birth_date/")]
    part = part[part["task.ask.hints"] == 0.0]
    for drawn in (draw(name, TABLES[name]), draw(f"published {name}", part)):
        assert "published" not in legend(drawn)
        assert [mark for axes in drawn.axes for mark in published(axes)] == []


def test_published_numbers_are_of_one_setting() -> None:
    with pytest.raises(AssertionError):
        answers_bars(BY["panels"], GROUPS, published=ON_BARS)
    with pytest.raises(AssertionError):
        answers_curves(BY["settings"], published=ON_CURVES)


def test_curves_rise_with_the_number_of_people() -> None:
    figure = draw("curves", TABLES["curves"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "month mod 2", "month mod 6", "month mod 12", "luck mod 5", "luck mod 20", "luck mod 100"]
    for axes in figure.axes:
        assert axes.get_xscale() == "log"
        for (x, y), expected in zip(curves(axes), ([0.05, 0.2, 0.5], [0.15, 0.3, 0.6], [0.9] * 3), strict=True):
            assert x == pytest.approx(PEOPLE, rel=0.05) and y == pytest.approx(expected)
        assert axes.lines[-1].get_ydata() == pytest.approx([0.25, 0.25])
    assert len(draw("settings", TABLES["settings"]).axes) == 2


def test_layers_are_drawn_beside_the_intact_model() -> None:
    axes = panel(draw("layers", TABLES["layers"]), "Answers without")
    (x, block), _, (_, mlp) = curves(axes)
    assert x == pytest.approx(range(4), abs=0.1)
    assert block == pytest.approx([0.0] * 4) and mlp == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert any(np.allclose(line.get_ydata(), 0.8) for line in axes.lines)
    assert "the median layer leaves 0 % (block), 18.8 % (MLP) of the intact" in " ".join(texts(axes))


def test_equal_tables_give_equal_pictures() -> None:
    pictures = []
    for _ in range(2):
        buffer = io.BytesIO()
        style.save(draw("published", TABLES["published"]), buffer, dpi=40, metadata={"Software": None})
        pictures.append(buffer.getvalue())
    assert pictures[0] == pictures[1]
