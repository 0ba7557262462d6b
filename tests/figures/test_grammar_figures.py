"""The figures of Part 1 draw what their tables say, and whatever a table lacks, they draw the rest."""

from __future__ import annotations

import importlib
import io
from itertools import product

import numpy as np
import pandas as pd
import planted
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sheets import assert_inside_and_apart

from physlm.figures import parts, style
from physlm.interval import Interval

ACCURACY = {"cfg3b": 0.99, "cfg3i": 0.96, "cfg3f": 0.613}
VARIANTS = {"absolute": 0.7, "relative": 0.97, "rope": 0.98, "position_only": 0.9, "uniform": 0.85}
NOISE = [("none", 0.0, 0.3), ("token", 0.1, 0.8), ("nonterminal", 0.1, 0.7), ("permute", 0.5, 0.75)]


def top(kind: str, level: int) -> float:
    return 0.9 + 0.01 * level


TABLES = {
    "generation": planted.table(row for name, p in ACCURACY.items()
                                for row in planted.completion_rows(planted.run(name), p, kl=0.1 - 0.1 * p)),
    "positions": planted.table(row for (name, p), seed in product(VARIANTS.items(), (0, 1))
                               for row in planted.completion_rows(planted.run(position=name, seed=seed), p)),
    "probing": planted.table(planted.tree_rows(planted.run(), top)),
    "boundaries": planted.table(planted.tree_rows(planted.run(), top)),
    "encoder": planted.table([*planted.tree_rows(planted.run(), top),
                              *planted.tree_rows(planted.run(causal=False), lambda kind, level: 0.1 * level)]),
    "attention": planted.table(planted.attention_rows(planted.run())),
    "implicit": planted.table(row for bags, weights in product(("disjoint", "overlap"), ("uniform", "ramp"))
                              for row in planted.bag_rows(planted.run(bag_tokens=12, bags=bags, bag_weights=weights))),
    "robustness": planted.table(row for noise, share, p in NOISE for row in planted.robustness_rows(
        planted.run(noise=noise, noise_fraction=share), p)),
}


def draw(name: str, table: pd.DataFrame) -> Figure:
    law = getattr(importlib.import_module(f"physlm.laws.grammar.{name}"), f"{name}_law")(table)
    figure = getattr(importlib.import_module(f"physlm.figures.grammar.{name}"), f"{name}_figure")(table, law)
    assert isinstance(figure, Figure)
    return figure


def titled(figure: Figure, start: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(start))


def texts(axes: Axes) -> list[str]:
    return [child.get_text() for child in axes.texts]


def numbers(axes: Axes) -> list[str]:
    """The numbers in the cells of a heat table, row by row."""
    inside = [text for text in axes.texts if text.get_position()[1] % 1 == 0.5 and text.get_position()[0] % 1 == 0.5]
    return [text.get_text() for text in inside]


@pytest.mark.parametrize("name", TABLES)
def test_a_figure_can_be_saved_with_legend_and_caption_inside_and_apart(name: str) -> None:
    assert_inside_and_apart(draw(name, TABLES[name]))


@pytest.mark.parametrize("name", TABLES)
def test_half_a_table_draws_too(name: str) -> None:
    """Without controls and snapshots; with these alone; and with nothing that the figure knows."""
    table = TABLES[name]
    control = planted.names(table).str.contains("untrained|shuffled|permuted|majority|step=|truth|nearest|distance")
    for part in (table[~control], table[control], table.assign(quantity="something_else").drop_duplicates("run")):
        drawn = io.BytesIO()
        style.save(draw(name, part), drawn, dpi=40)
        assert drawn.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", [name for name in TABLES if name != "generation"])
def test_two_grammars_have_twice_the_panels(name: str) -> None:
    one = TABLES[name]
    other = one.assign(**{"task.grammar": "cfg3f", "run": one["run"] + "-f"})
    single, double = draw(name, one), draw(name, pd.concat([one, other]))
    shared = {"implicit": 2}.get(name, 0)  # the colour bar, and the panel over all settings
    assert len(double.axes) - shared == 2 * (len(single.axes) - shared)
    style.save(double, io.BytesIO(), dpi=40)


def test_bars_stand_for_the_accuracies() -> None:
    axes = titled(draw("generation", TABLES["generation"]), "Completion accuracy")
    heights = [bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]
    assert heights == [value for p in ACCURACY.values() for value in (p - 0.01, p)]
    assert {"98.0", "99.0", "60.3", "61.3"} <= set(texts(axes))
    assert [label.get_text() for label in axes.get_xticklabels()] == list(ACCURACY)


def test_learning_curves_end_with_the_end_of_training() -> None:
    axes = titled(draw("generation", TABLES["generation"]), "Learning")
    assert axes.get_xscale() == "log"
    for container, p in zip(axes.containers, ACCURACY.values(), strict=True):
        x, y = container.lines[0].get_data()  # type: ignore[attr-defined]
        assert list(x) == [125, 250, 500, 1000]
        assert y == pytest.approx([p * step / 1000 for step in x])


def test_the_probe_table_holds_models_and_controls() -> None:
    figure = draw("probing", TABLES["probing"])
    table = titled(figure, "Probe")
    rows = np.array(numbers(table)).reshape(5, -1)
    assert [label.get_text() for label in table.get_yticklabels()] == [f"level {level}" for level in range(2, 7)]
    assert rows[:, 0].tolist() == ["92.0", "93.0", "94.0", "95.0", "96.0"]
    assert set(rows[:, 1]) == {"40.0"} and set(rows[:, 2]) == {"35.0"} and set(rows[:, 3]) == {"34.0"}
    layers = titled(figure, "By layer").containers[0].lines[0].get_data()  # type: ignore[attr-defined]
    assert list(layers[0]) == list(range(7)) and layers[1][-1] == pytest.approx(0.92)
    steps = titled(figure, "While training").containers[0].lines[0].get_data()  # type: ignore[attr-defined]
    assert list(steps[0]) == [250, 500, 1000]


def test_the_attention_panels_show_the_peak_and_its_controls() -> None:
    axes = titled(draw("attention", TABLES["attention"]), "To the ends")
    *levels, mean, shuffled, untrained = (c.lines[0].get_data()[1] for c in axes.containers)  # type: ignore[attr-defined]
    assert len(levels) == 4
    for line, height in ((levels[0], 4.0), (mean, 4.0), (shuffled, 0.4), (untrained, 0.0)):
        assert line == pytest.approx([0, 0, height, 0, 0])
    assert "3.60" in " ".join(texts(axes))


def test_words_are_sorted_by_bag() -> None:
    figure = draw("implicit", TABLES["implicit"])
    mesh = titled(figure, "12-disjoint-uniform").collections[0].get_array()
    assert mesh is not None
    assert np.asarray(mesh) == pytest.approx(np.kron(np.eye(3), np.full((1, 4), 0.6)) - 0.1)


def test_the_robustness_table_reads_row_by_row() -> None:
    axes = titled(draw("robustness", TABLES["robustness"]), "Accuracy")
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "clean data", "token noise 10 %", "nonterminal noise 10 %", "permutation 50 %"]
    rows = np.array(numbers(axes)).reshape(4, 9)
    assert rows[0].tolist() == ["97.0"] * 6 + ["30.0", "25.0", "20.0"]
    assert rows[1, 6:].tolist() == ["80.0", "75.0", "70.0"]


def test_equal_tables_give_equal_pictures() -> None:
    pictures = []
    for _ in range(2):
        buffer = io.BytesIO()
        style.save(draw("attention", TABLES["attention"]), buffer, dpi=40, metadata={"Software": None})
        pictures.append(buffer.getvalue())
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize(("value", "text"), [(1.0, "100"), (0.9951, "99.5"), (0.0, "0"), (0.07, "7.0")])
def test_percent(value: float, text: str) -> None:
    assert parts.percent(value) == text


def test_intervals_are_written_with_their_value() -> None:
    assert parts.interval(Interval(0.5, 0.4, 0.61, 10)) == "50.0 [40.0, 61.0]"
