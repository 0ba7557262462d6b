"""Planted truth: from a table with a known ratio the law returns that ratio, and only where it may."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from capacity_fits import FAST, LEARNED, SMALL, fit, scaled, width
from planted import get
from planted_capacities import planted_capacity

from physlm.errors import UserError
from physlm.laws.knowledge.capacity import CONSTANT, capacity_law
from physlm.laws.knowledge.capacity_models import best_of_learning_rates, capacity_models, published_ratio
from physlm.laws.law import Law


def test_the_reference_ratio_is_the_published_one_at_both_exposures() -> None:
    assert published_ratio(1000) == pytest.approx(2.0)
    assert published_ratio(100) == pytest.approx(1.0)
    assert 1.0 < published_ratio(300) < 2.0


@pytest.mark.parametrize("truth", [1.4, 2.0, 2.3])
def test_a_planted_ratio_is_recovered_at_both_exposures(truth: float) -> None:
    law = fit(planted_capacity(ratio=truth, scatter=0.03, people_error=0.005, seed=3, seeds=range(5)))
    for exposures, value in ((1000, truth), (100, truth / 2)):
        line = get(law, f"line_bits_per_param@{exposures}")
        assert line.lo <= value <= line.hi
        assert line.value == pytest.approx(value, rel=0.03)
        peak = get(law, f"peak_bits_per_param@{exposures}")
        assert peak.lo <= value <= peak.hi and peak.value == pytest.approx(value, rel=0.05)
        # The best of many noisy runs lies above the truth, by no more than a few times the noise.
        assert value * 1.03 <= get(law, f"most_bits_per_param@{exposures}").value <= value * 1.15


def test_a_line_that_depends_on_n_is_no_constant_and_where_it_begins_to_hold_is_said() -> None:
    table = planted_capacity(exposures=(1000,), people=(5_000, 10_000, 20_000), people_error=0.0, sizes=SMALL)
    flat = fit(table)
    assert get(flat, "constancy@1000").value == pytest.approx(1.0)
    assert get(flat, "slope_per_doubling@1000").value == pytest.approx(0.0, abs=1e-9)
    assert get(flat, "holds_from_people@1000").value == 5_000
    assert get(flat, "constant_from_params@1000").value == capacity_models(table)["params"].min()
    for people, factor in ((5_000, 0.5), (10_000, 0.5**0.5)):
        table = scaled(table, factor, table["task.people"] == people)
    steep = fit(table)
    assert get(steep, "constancy@1000").value == pytest.approx(2.0) and get(steep, "constancy@1000").lo > CONSTANT
    assert get(steep, "slope_per_doubling@1000").value == pytest.approx(0.5)
    assert get(steep, "holds_from_people@1000").value == 20_000
    assert fit(scaled(table, 0.9, table["run"].notna())).get("holds_from_people@1000") is None
    assert steep.get("constant_from_params@1000") is None, "the largest model is that of every N"


def test_sizes_from_which_on_the_line_is_constant() -> None:
    table = planted_capacity(exposures=(1000,), people=(20_000,), people_error=0.0, sizes=SMALL)
    sizes = sorted(capacity_models(table)["params"].unique())
    assert len(sizes) > 2
    law = fit(scaled(table, 0.5, table["params_used"] == sizes[0]))
    assert get(law, "constant_from_params@1000").value == sizes[1]
    assert get(law, "constant_from_params@1000").n == len(sizes) - 1


def test_without_noise_everything_is_exact() -> None:
    law = fit(planted_capacity(ratio=2.0, people_error=0.0))
    for name, value in (("peak_bits_per_param@1000", 2.0), ("line_bits_per_param@1000", 2.0),
                        ("peak_bits_per_param@100", 1.0), ("line_bits_per_param@100", 1.0),
                        ("saturation@1000", 1.0), ("saturation_ample@1000", 1.0), ("saturation@100", 1.0)):
        assert get(law, name).value == pytest.approx(value)
    line = get(law, "line_bits_per_param@1000")
    assert width(line) == pytest.approx(0.0, abs=1e-12)


def test_the_line_covers_the_planted_ratio_in_repeated_worlds() -> None:
    trials = 60
    hits = 0
    for seed in range(trials):
        # One learning rate: with several, the best of them leans upwards, and the interval does not know.
        table = planted_capacity(exposures=(1000,), learning_rates=(4e-3,), scatter=0.05, people_error=0.01, seed=seed)
        line = get(fit(table, 300), "line_bits_per_param@1000")
        hits += line.lo <= 2.0 <= line.hi
    assert 0.85 <= hits / trials <= 1.0


def test_the_best_of_several_learning_rates_leans_upwards_as_the_docstring_says() -> None:
    def mean_line(rates: tuple[float, ...], seeds: tuple[int, ...]) -> float:
        tables = (planted_capacity(exposures=(1000,), learning_rates=rates, penalty=1.0, scatter=0.05, seed=s,
                                   seeds=seeds) for s in range(10))
        return float(np.mean([get(fit(t, 10), "line_bits_per_param@1000").value for t in tables]))

    assert mean_line((4e-3,), (0,)) == pytest.approx(2.0, rel=0.015)
    assert mean_line((2e-3, 4e-3, 8e-3), (0,)) > 2.04
    assert mean_line((2e-3, 4e-3, 8e-3), (0, 1, 2)) == pytest.approx(2.0, rel=0.015), "not where it is judged on others"


def test_more_scatter_between_models_widens_the_line() -> None:
    quiet, loud = (fit(planted_capacity(scatter=s, seed=1)) for s in (0.01, 0.1))
    assert width(get(loud, "line_bits_per_param@1000")) > 3 * width(get(quiet, "line_bits_per_param@1000"))


def test_more_error_over_people_widens_every_interval() -> None:
    quiet, loud = (fit(planted_capacity(people_error=e, seed=1)) for e in (0.002, 0.05))
    for name in ("line_bits_per_param@1000", "peak_bits_per_param@1000", "saturation_ample@100"):
        assert width(get(loud, name)) >= width(get(quiet, name))
    assert width(get(loud, "line_bits_per_param@1000")) > 3 * width(get(quiet, "line_bits_per_param@1000"))


def test_a_noisily_measured_outlier_pulls_less_than_a_well_measured_one() -> None:
    table = planted_capacity(exposures=(1000,), people_error=0.01, seed=2, seeds=(0,))
    outlier = (table["task.people"] == 20_000) & (table["label"] == "2-1x16")
    wrong = scaled(table, 0.5, outlier)
    noisy = wrong.copy()
    rows = outlier & (noisy["quantity"] == "bits_signed")
    noisy.loc[rows, "lo"] = noisy.loc[rows, "value"] * 0.1
    noisy.loc[rows, "hi"] = noisy.loc[rows, "value"] * 1.9
    without, sharp, blurred = (get(fit(t), "line_bits_per_param@1000").value for t in (table, wrong, noisy))
    assert sharp < blurred < without * 1.001


def test_saturated_models_do_not_drag_the_line() -> None:
    few = ((2, 1, 16), (2, 1, 24))
    many = (*few, (4, 2, 128), (8, 2, 128), (12, 2, 128))
    alone, with_large = (fit(planted_capacity(exposures=(1000,), people_error=0.0, sizes=s)) for s in (few, many))
    assert get(with_large, "line_bits_per_param@1000").n == get(alone, "line_bits_per_param@1000").n
    assert get(with_large, "line_bits_per_param@1000").value == pytest.approx(2.0)
    # The control: a plain mean over all models would have been dragged.
    models = capacity_models(planted_capacity(exposures=(1000,), people_error=0.0, sizes=many))
    assert models["ratio"].mean() < 1.5


def test_who_is_small_or_large_does_not_depend_on_what_was_learned() -> None:
    table = planted_capacity(people_error=0.0)
    poor = scaled(table, 0.3, table["run"].notna())
    flags = ["run", "unsaturated", "oversized", "ample"]
    best, best_poor = (best_of_learning_rates(capacity_models(t)) for t in (table, poor))
    pd.testing.assert_frame_equal(best[flags], best_poor[flags])
    assert not best_poor["saturated"].any()


def test_a_model_that_should_be_full_but_is_not_is_seen() -> None:
    table = planted_capacity(exposures=(1000,))
    largest = (table["label"] == "4-2") & (table["task.people"] == 5_000)
    law = fit(scaled(table, 0.9, largest))
    assert get(law, "saturation@1000").value == pytest.approx(0.9, abs=0.01)
    assert get(law, "saturation@1000").hi < 0.97
    assert get(law, "saturation@1000/N=10000").value > 0.99
    assert get(law, "saturation_ample@1000").value == pytest.approx(0.9, abs=0.01)


def test_the_ample_models_are_held_to_the_papers_stricter_statement() -> None:
    table = planted_capacity(exposures=(1000,), people=(5_000,))
    middling = table["label"] == "2-1"  # R^max is about 1.03: ample at 1.8, not over-sized at 1.0
    law = fit(scaled(table, 0.8, middling))
    assert get(law, "saturation@1000").value > 0.99
    assert get(law, "saturation_ample@1000").value == pytest.approx(0.8, abs=0.01)


def test_no_oversized_model_means_no_word_on_saturation() -> None:
    law = fit(planted_capacity(exposures=(1000,), sizes=((2, 1, 16), (2, 1, 24))))
    assert law.get("saturation@1000") is None
    assert law.details["saturation"]["1000"]["people_without_oversized_model"] == [5_000, 10_000, 20_000]


def test_knowing_nothing_has_peak_zero_and_no_line() -> None:
    table = planted_capacity()
    law = fit(scaled(table, 0.0, table["run"].notna()))
    for exposures in (1000, 100):
        peak = get(law, f"peak_bits_per_param@{exposures}")
        assert (peak.value, peak.lo, peak.hi) == (0.0, 0.0, 0.0)
        assert law.get(f"line_bits_per_param@{exposures}") is None
        assert len(law.details["line"][str(exposures)]["left_out"]) > 0
    assert get(law, "saturation@1000").value == 0.0


def test_knowledge_shuffled_over_models_is_no_line() -> None:
    """The control: with ratios dealt out to the wrong models, the scatter shows that no line was there."""
    table = planted_capacity(exposures=(1000,), seed=5)
    models = capacity_models(table).set_index("run")
    bits = pd.Series(np.random.default_rng(0).permutation(models["bits"].to_numpy()), index=models.index)
    factor = table["run"].map(bits / models["bits"])
    rows = table["quantity"].isin(LEARNED)
    for column in ("value", "lo", "hi"):
        table.loc[rows, column] *= factor[rows]
    shuffled, true = get(fit(table), "line_bits_per_param@1000"), get(
        fit(planted_capacity(exposures=(1000,), seed=5)), "line_bits_per_param@1000")
    assert width(shuffled) > 20 * width(true)


def test_one_n_alone() -> None:
    law = fit(planted_capacity(people=(10_000,), exposures=(1000,), seed=4))
    whole, part = get(law, "peak_bits_per_param@1000"), get(law, "peak_bits_per_param@1000/N=10000")
    assert (whole.value, whole.n) == (part.value, part.n)
    assert get(law, "line_bits_per_param@1000").value == pytest.approx(2.0, rel=0.02)


def test_with_one_member_the_interval_is_its_error_over_people() -> None:
    table = planted_capacity(people=(20_000,), exposures=(1000,), sizes=((2, 1, 16),), learning_rates=(4e-3,),
                             people_error=0.05, seed=4, seeds=(0,))
    law = fit(table, 20_000)
    row = table[table["quantity"] == "bits_per_param"].iloc[0]
    for name, close in (("most_bits_per_param@1000", 0.01), ("line_bits_per_param@1000", 0.02)):
        found = get(law, name)
        assert found.n == 1
        assert found.value == pytest.approx(row["value"])
        assert found.lo == pytest.approx(row["lo"], rel=close)
        assert found.hi == pytest.approx(row["hi"], rel=close)
    assert law.details["learning_rate_at_edge"]["1000"] == {"models": 1, "at_edge": 0}, "one rate has no edges"
    assert law.get("rate_edges@1000") is None


def test_every_interval_encloses_its_value_and_equal_tables_give_equal_laws() -> None:
    table = planted_capacity(scatter=0.1, people_error=0.02, seed=9)
    law = fit(table)
    assert all(q.lo <= q.value <= q.hi for q in law.quantities)
    shuffled = table.sample(frac=1.0, random_state=1)
    assert fit(shuffled) == law
    assert capacity_law(table, FAST, seed=1) != law


def test_adding_other_exposures_leaves_a_quantity_as_it_was() -> None:
    both = planted_capacity(scatter=0.05, seed=6)
    alone = both[both["train.exposures"] == 100]
    for name in ("peak_bits_per_param@100", "line_bits_per_param@100"):
        assert fit(both).get(name) == fit(alone).get(name)


def test_the_law_is_plain_json_and_survives_a_csv(tmp_path: Path) -> None:
    table = planted_capacity(scatter=0.02)
    law = fit(table)
    assert Law.from_dict(json.loads(json.dumps(law.to_dict()))) == law
    table.to_csv(tmp_path / "measures.csv", index=False)
    again = fit(pd.read_csv(tmp_path / "measures.csv"))
    assert [q.name for q in again.quantities] == [q.name for q in law.quantities]
    assert [q.value for q in again.quantities] == pytest.approx([q.value for q in law.quantities])


def drop(quantity: str) -> pd.DataFrame:
    table = planted_capacity()
    return table[table["quantity"] != quantity]


def with_value(quantity: str, column: str, value: float) -> pd.DataFrame:
    table = planted_capacity()
    table.loc[table.index[table["quantity"] == quantity][0], column] = value
    return table


@pytest.mark.parametrize(("table", "says"), [
    (planted_capacity().drop(columns="params_used"), "'params_used' is missing"),
    (pd.DataFrame(), "'run' is missing"),
    (planted_capacity().drop(columns="train.seed"), "'train.seed' is missing"),
    (drop("bits_signed"), "no bits_signed rows"),
    (drop("bits_name"), "bits_name"),
    (drop("bits_max"), "bits_max"),
    (with_value("bits_signed", "value", float("nan")), "measure it again"),
    (with_value("bits_signed", "lo", 9e9), "measure it again"),
    (with_value("bits_signed", "value", 5e6), "unlike the sum of its parts"),
    (planted_capacity(seeds=(0, 0)).assign(run=lambda table: table["run"] + (table.index // 7).astype(str)),
     "seed of another"),
    (with_value("bits_max", "value", 1e6), "different datasets for N = 5000"),
    (pd.concat([planted_capacity(), planted_capacity()]), "more than once"),
])
def test_a_table_that_is_none_is_refused_in_one_line(table: pd.DataFrame, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        fit(table)
    assert "\n" not in str(error.value)


def test_no_resamples_is_refused() -> None:
    with pytest.raises(UserError, match="0 resamples"):
        capacity_law(planted_capacity(), resamples=0)
