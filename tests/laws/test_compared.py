"""The comparison of mixers: what is compared is alike, a cell is the best rate, costs are times softmax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import planted
import pytest

from physlm.figures.compared import compared as drawn
from physlm.lab.experiment import experiment_names, load_experiment
from physlm.laws.compared import compared
from physlm.laws.forms import Best, Shares
from physlm.laws.words import pattern_words

SPEED = {"rope": 1000.0, "gla": 700.0}


def row(mixer: str, kind: Any = "flipflop", value: Any = 0.5, *, rate: Any = 1e-3, seed: Any = 1,
        local: Any = "none", width: Any = 64, quantity: Any = "forced/kind=sparse/half=test", n: Any = 10_000,
        **more: Any) -> dict[str, Any]:  # fmt: skip
    """A row of a run that differs from others in these."""
    label = f"2-1x{width}-{mixer}-{local}"
    settings = {"run": f"{kind}-{label}-{rate}-{seed}", "task.kind": kind, "task.row_tokens": 512, "task.seed": 0,
                "model.layers": 2, "model.width": width, "model.mixer": mixer, "model.local": local,
                "model.mlp": "plain", "train.batch_rows": 16, "train.learning_rate": rate, "train.seed": seed,
                "label": label, "steps": 100, "tokens": 1000, "training_flops": 6000.0 * (2 if mixer == "gla" else 1),
                "params_used": width * 1000, "state_bytes": 4000 if mixer == "rope" else 1000,
                "tokens_per_second": SPEED.get(mixer), **more}  # fmt: skip
    return planted.share(settings, quantity, value, n)


def test_a_cell_is_the_mean_over_seeds_at_the_best_rate() -> None:
    rows = [row("rope", value=value, rate=rate, seed=seed) for rate, values in ((1e-3, (0.7, 0.8)), (1e-2, (0.2, 0.3)))
            for seed, value in enumerate(values)]
    (column,) = compared([planted.table(rows)]).columns
    cell = column.cells["RoPE"]
    assert cell.found.value == pytest.approx(0.75) and cell.rate == 1e-3 and cell.rates == 2 and cell.found.runs == 2
    assert cell.found.lo < 0.7 and cell.found.hi > 0.8, "two seeds that differ"


def test_rates_are_compared_by_the_seeds_that_all_of_them_have() -> None:
    """Three seeds at one rate and one at others: the best of a mean over three and of single runs leans to these."""
    rows = [row("rope", value=value, rate=1e-3, seed=seed) for seed, value in ((1, 0.70), (2, 0.50), (3, 0.45))]
    rows += [row("rope", value=0.65, rate=2e-3), row("rope", value=0.60, rate=5e-4)]
    rows += [row("gla", value=value, seed=seed) for seed, value in ((1, 0.2), (2, 0.3), (3, 0.4))]
    (column,) = compared([planted.table(rows)]).columns
    rope, gla = column.cells["RoPE"], column.cells["GLA"]
    assert rope.found.value == pytest.approx(0.70) and (rope.rate, rope.rates, rope.found.runs) == (1e-3, 3, 1)
    assert gla.found.value == pytest.approx(0.3) and gla.found.runs == 3, "one rate alone: all its seeds"
    table = planted.table(rows)
    best = Best("best", Shares("forced", {"mixer": "model.mixer"}, {"at.half": "test", "at.kind": "sparse"}),
                over="train.learning_rate").cells(table)
    assert best["rope",] == rope.found, "as the form has it"


def test_hops_of_the_largest_k_are_picked_in_each_setting() -> None:
    """One mixer was also trained on more hops than the two that are compared."""
    rows = [row(mixer, "depo", value / k, quantity=f"forced/kind=k{k}/half=test", **{"task.hops": 4})
            for mixer, value in (("rope", 0.8), ("gla", 0.6)) for k in (1, 2, 4)]
    more = [row("rope", "depo", 0.9 / k, quantity=f"forced/kind=k{k}/half=test", run="more", **{"task.hops": 16})
            for k in (1, 2, 4, 8, 16)]
    (column,) = compared([planted.table([*rows, *more])]).columns
    assert {name: cell.found.value for name, cell in column.cells.items()} == pytest.approx({"RoPE": 0.2, "GLA": 0.15})


def test_runs_of_several_claims_count_once_and_stand_in_one_column() -> None:
    first = planted.table([row("rope"), row("gla", value=0.6)])
    second = planted.table([row("rope"), row("mean", value=0.3, **{"task.new": 1})])
    found = compared([first, second.drop(columns="task.new")])
    assert [sorted(column.cells) for column in found.columns] == [["GLA", "RoPE", "mean"]]
    assert found.columns[0].cells["RoPE"].found.runs == 1
    assert found.rows[0] == "RoPE" and set(found.rows) == {"RoPE", "GLA", "mean"}


def test_what_differs_in_setting_is_not_compared_and_the_setting_of_most_mixers_is_shown() -> None:
    rows = [row("rope", value=0.1), row("gla", value=0.2), row("rope", value=0.9, width=128)]
    (column,) = compared([planted.table(rows)]).columns
    assert {name: round(cell.found.value, 3) for name, cell in column.cells.items()} == {"RoPE": 0.1, "GLA": 0.2}
    assert column.setting == "2 x 64, 100 steps of 16 x 512 tokens"
    (larger,) = compared([planted.table([*rows, row("gla", value=0.8, width=128)])]).columns
    assert larger.setting.startswith("2 x 128")


def test_costs_are_times_those_of_softmax_and_unknown_ones_are_said_to_be_so() -> None:
    found = compared([planted.table([row("rope"), row("gla"), row("mean")])])
    assert found.cost("GLA", "state_bytes") == pytest.approx(0.25)
    assert found.cost("GLA", "flops_per_token") == pytest.approx(2.0)
    assert found.cost("GLA", "tokens_per_second") == pytest.approx(0.7)
    assert found.cost("mean", "tokens_per_second") is None and found.cost("mean", "params_used") == pytest.approx(1.0)
    without = planted.table([row("rope"), row("gla")]).drop(columns=["state_bytes", "tokens_per_second"])
    assert compared([without]).cost("GLA", "state_bytes") is None, "of an older table"


def test_models_of_one_mixer_are_told_apart_by_what_differs() -> None:
    rows = [row("rope"), row("rope", local="canon", value=0.8), row("gla", local="canon", value=0.7)]
    (column,) = compared([planted.table(rows)]).columns
    assert set(column.cells) == {"RoPE", "RoPE, Canon", "GLA"}, "gla has one alone"
    assert column.cells["RoPE, Canon"].found.value == pytest.approx(0.8)


def test_models_are_called_in_words_and_those_of_looped_layers_stand_beside_as_many_layers() -> None:
    settings = {"model.loops": 1, "model.norm": "rmsnorm"}
    rows = [row("rope", **settings, **{"model.layers": 6}), row("gated_deltanet_levels9", **settings, **{
        "model.layers": 6}), row("rope", value=0.8, run="looped", **{**settings, "model.layers": 2, "model.loops": 3,
                                                                    "label": "2-loops3"}),
            row("rope", run="dyt", **{**settings, "model.layers": 6, "model.norm": "dyt_alpha25", "label": "6-dyt"}),
            row("rope", run="small", **{**settings, "model.layers": 2, "label": "2"})]  # fmt: skip
    (column,) = compared([planted.table(rows)]).columns
    assert set(column.cells) == {"RoPE", "Gated DeltaNet, 9 levels", "RoPE, 3 passes", "RoPE, DyT, alpha 25"}
    assert column.cells["RoPE, 3 passes"].found.value == pytest.approx(0.8)
    assert column.setting.startswith("6 x 64"), "layers that a token goes through"
    older = planted.table(rows[:2]).drop(columns="model.loops")
    (both,) = compared([older, planted.table(rows[2:3])]).columns
    assert set(both.cells) == {"RoPE", "Gated DeltaNet, 9 levels", "RoPE, 3 passes"}, "tables older than loops have one"


@pytest.mark.parametrize(("label", "told"), [
    ("nope_alibi", "ALiBi"), ("gla,gla,nope", "2 x GLA and no positions"), ("rope0.25", "RoPE of 0.25 of a head"),
    ("mamba2_size16_levels9", "Mamba2, N = 16, 9 levels"), ("rope_qkhead", "RoPE, QK-norm"), ("latch", "latch"),
    ("deltanet_negativetrue_steps2", "DeltaNet, to -1, 2 updates a token"),
    ("deltanet_negativetrue_silufalse", "DeltaNet, to -1, no SiLU"), ("gated_deltanet", "Gated DeltaNet"),
    ("moe_alpha0_bias_rate0.001", "experts, alpha 0, bias rate 0.001"), ("own_width3", "own_width3")])  # fmt: skip
def test_labels_in_words(label: str, told: str) -> None:
    assert pattern_words(label) == told


def test_every_label_of_a_mixer_that_claims_have_has_words_of_its_own() -> None:
    """Two that are called alike could not be told apart in the table."""
    folder = Path(__file__).parents[2] / "experiments"
    claims = [name for name in experiment_names(folder) if name.startswith(("beyond_", "p41_"))]
    labels = {",".join(mixer.label for mixer in spec.model.mixer)
              for name in claims for spec in load_experiment(name, folder).specs("gpu")}
    told = {label: pattern_words(label) for label in labels}
    assert len(set(told.values())) == len(told) > 20
    assert not [words for words in told.values() if "_" in words]


def test_tasks_without_a_score_of_their_own_show_what_was_measured_once() -> None:
    both = [row("rope", "own", quantity=name, value=value) for name, value in (
        ("answer/kind=a/half=test", 0.2), ("answer/kind=b/half=test", 0.4), ("forced/kind=a/half=test", 0.9))]
    (column,) = compared([planted.table(both)]).columns
    assert (column.title, column.quantity) == ("own", "forced") and column.cells["RoPE"].found.value == 0.9
    (answers,) = compared([planted.table(both[:2])]).columns
    assert answers.cells["RoPE"].found.value == pytest.approx(0.3), "the mean over kinds"
    stepped = row("rope", "own", quantity="answer/kind=a/half=test/step=50", value=0.0)
    assert compared([planted.table([*both[:2], stepped])]).columns[0].cells["RoPE"].found.value == pytest.approx(0.3)
    assert compared([planted.table([row("rope", quantity="loss", value=0.1)])]).columns == ()


def test_groups_of_words_and_mixtures_have_columns_of_their_own() -> None:
    rows = [row("rope", "words", quantity="forced/kind=every/half=test", **{"task.group": name, "label": f"x-{name}",
                "run": name}) for name in ("A5", "S5")]  # fmt: skip
    assert [column.title for column in compared([planted.table(rows)]).columns] == ["words of A5", "words of S5"]
    tasks = '[{"kind": "mqar", "pairs": 4}, {"kind": "mqar", "pairs": 8}]'
    mixed = row("rope", "mixture", quantity="answer/kind=a/half=test", **{"task.tasks": tasks})
    again = row("rope", "mixture", quantity="answer/kind=a/half=test", run="again", **{
        "task.tasks": '[{"kind": "mqar", "reassigned": 1}]'})
    titles = [column.title for column in compared([planted.table([mixed, again])]).columns]
    assert titles == ["MQAR", "MQAR, reassigned"]


def test_the_figure_has_every_row_and_column_and_the_costs() -> None:
    found = compared([pd.concat([planted.table([row("rope"), row("gla", value=0.9)]), planted.table([
        row("rope", "mano", quantity="answer/kind=a/half=test", value=0.25)])], ignore_index=True)])
    scores, costs = drawn(found).axes
    assert [label.get_text() for label in scores.get_yticklabels()] == ["RoPE", "GLA"]
    assert [text.get_text().split(".")[0] for text in scores.texts] == ["50", "25", "90", "no run"]
    assert all("[" in text.get_text() for text in scores.texts[:3]), "intervals"
    assert [text.get_text() for text in costs.texts][-4:] == ["1", "2", "0.25", "0.7"]
