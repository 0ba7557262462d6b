"""The peak of the capacity law: judged on other seeds than it was chosen on, and what its bits are made of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from capacity_fits import SMALL, fit, scaled
from planted import get
from planted_capacities import NAMES, VOCABULARY, planted_capacity

from physlm.laws.knowledge.capacity_models import ITSELF, NOTHING, OTHER_SEEDS, best_of_learning_rates, capacity_models


def test_a_peak_judged_on_other_seeds_does_not_lean_upwards_and_its_interval_covers() -> None:
    """Seven sizes at three equal rates: the best single run is high by nature, the held-out mean is not."""
    held, single, hits, trials = [], [], 0, 60
    for seed in range(trials):
        table = planted_capacity(people=(20_000,), exposures=(1000,), sizes=SMALL, penalty=1.0, scatter=0.05,
                                 seed=seed, seeds=range(5))
        law = fit(table, 1)
        peak = get(law, "peak_bits_per_param@1000/N=20000")
        assert (peak.n, peak.covers) == (5, "items and seeds")
        held.append(peak.value)
        single.append(get(law, "most_bits_per_param@1000").value)
        hits += peak.lo <= 2.0 <= peak.hi
    assert np.mean(held) == pytest.approx(2.0, abs=0.025) and np.mean(single) > 2.15
    assert hits / trials >= 0.85


def test_without_a_second_seed_there_is_no_peak() -> None:
    law = fit(planted_capacity(seeds=(0,)))
    assert not [q.name for q in law.quantities if q.name.startswith(("peak", "name_share", "holds", "bits_per_param"))]
    assert get(law, "line_bits_per_param@1000").value == pytest.approx(2.0, rel=0.05)
    assert get(law, "most_bits_per_param@1000").value == pytest.approx(2.0, rel=0.05)


def test_cells_that_share_no_two_seeds_give_no_peak() -> None:
    table = planted_capacity(people=(20_000,), exposures=(1000,), sizes=SMALL[:1], learning_rates=(2e-3, 4e-3),
                             seeds=range(4))
    slow = table["train.learning_rate"] == 2e-3
    for kept in ({0, 1}, {1, 2}):
        others = table[(slow & table["train.seed"].isin({2, 3})) | (~slow & table["train.seed"].isin(kept))]
        assert fit(others).get("peak_bits_per_param@1000") is None
    assert get(fit(table), "peak_bits_per_param@1000").n == 4


def test_a_table_of_one_size_or_one_run_has_a_law() -> None:
    """What a machine that was lent a part of the runs reports on its way."""
    one = planted_capacity(people=(50_000,), exposures=(1000,), sizes=((7, 2, 128),), learning_rates=(1e-3,),
                           seeds=range(3))
    assert get(fit(one), "peak_bits_per_param@1000").n == get(fit(one), "bits_per_param@1000/N=50000/7-2").n == 3
    single = fit(one[one["train.seed"] == 0])
    assert single.get("peak_bits_per_param@1000") is None and get(single, "most_bits_per_param@1000").n == 1


def test_a_better_model_without_other_seeds_is_said_and_not_judged() -> None:
    table = planted_capacity(people=(20_000,), exposures=(1000,), people_error=0.0)
    lucky = (table["label"] == "2-1x24") & (table["train.learning_rate"] == 8e-3)
    table = scaled(table[~(lucky & (table["train.seed"] == 1))], 1.5, lucky)
    peak = get(fit(table), "peak_bits_per_param@1000")
    assert peak.value == pytest.approx(2.0)
    named = get(fit(table), "peak_bits_per_param@1000/N=20000").remark
    assert named == "2-1x24 at 0.008, without other seeds, has 2.7"


def test_what_a_rate_was_chosen_on_is_said() -> None:
    table = planted_capacity(people=(20_000,), exposures=(1000,), sizes=SMALL, people_error=0.0)

    def selection(kept: pd.DataFrame) -> tuple[set[str], set[int]]:
        best = best_of_learning_rates(capacity_models(kept))
        return set(best["selection"]), set(best["seeds"])

    first, rate = table["train.seed"] == 0, table["train.learning_rate"]
    assert selection(table) == ({OTHER_SEEDS}, {2})
    assert selection(table[first]) == ({ITSELF}, {1})
    assert selection(table[rate == 4e-3]) == ({NOTHING}, {2})
    assert selection(table[first | (rate == 4e-3)]) == ({OTHER_SEEDS}, {1}), "chosen on seed 0, judged on seed 1"
    assert selection(table[first | (rate == 8e-3)]) == ({ITSELF}, {1}), "the best has no other seed"


def test_a_seed_is_never_judged_by_its_own_number() -> None:
    """Raising one run to the best of its seed changes nobody's cell but that of the other seeds."""
    table = planted_capacity(people=(20_000,), exposures=(1000,), sizes=SMALL[:1], people_error=0.0, seeds=range(3))
    lucky = (table["train.learning_rate"] == 8e-3) & (table["train.seed"] == 0)
    before, after = (get(fit(t), "peak_bits_per_param@1000") for t in (table, scaled(table, 1.15, lucky)))
    assert after.value == pytest.approx(before.value), "0.9 x 1.15 > 1, yet seed 0 is judged at the rate of the others"


def test_negative_parts_count_against_the_others() -> None:
    table = planted_capacity(exposures=(1000,), people_error=0.0)
    rows = {name: table["quantity"] == f"bits_{name}" for name in ("value", "signed")}
    spent = table.copy()
    for name in ("lo", "value", "hi"):
        learned = table.loc[rows["value"], name].to_numpy()
        spent.loc[rows["value"], name] = -0.1 * learned
        spent.loc[rows["signed"], name] = table.loc[rows["signed"], name].to_numpy() - 1.1 * learned
    law = fit(spent)
    assert get(law, "value_bits_per_param@1000").value < 0 < get(law, "name_bits_per_param@1000").value
    total = sum(get(law, f"{part}_bits_per_param@1000").value for part in ("name", "value"))
    assert get(law, "peak_bits_per_param@1000").value == pytest.approx(total)
    assert get(law, "name_share@1000").value > 1.0


def test_shares_of_names_and_embedding_rows_are_those_planted() -> None:
    law = fit(planted_capacity(people=(20_000,), exposures=(1000,), sizes=SMALL[:1]))
    assert get(law, "name_share@1000").value == pytest.approx(NAMES)
    assert law.get("diversity_bits_per_param@1000") is None
    layers, _, width = SMALL[0]
    rows = VOCABULARY * width
    assert get(law, "embedding_share@1000").value == pytest.approx(rows / (rows + 12 * layers * width**2))


def test_the_winning_rate_is_named_and_flagged_at_the_edge_of_the_grid() -> None:
    best = best_of_learning_rates(capacity_models(planted_capacity(exposures=(1000,), people_error=0.0)))
    small = best[best["unsaturated"]]
    assert set(small["learning_rate"]) == {4e-3}
    assert not small["learning_rate_at_edge"].any()
    assert set(best["runs"]) == {6} and set(best["learning_rates"]) == {3}
    table = planted_capacity(exposures=(1000,), people_error=0.0)
    for end in (2e-3, 8e-3):
        lopsided = scaled(table, 1.2, table["train.learning_rate"] == end)
        found = best_of_learning_rates(capacity_models(lopsided))
        assert set(found.loc[found["unsaturated"], "learning_rate"]) == {end} and found["learning_rate_at_edge"].all()
        law = fit(lopsided)
        edges = get(law, "rate_edges@1000")
        assert edges.value == edges.n == found["unsaturated"].sum()
        assert f"2-1x24 of N = 20,000 ({end:g})" in law.details["notes"][-1]
    assert get(fit(table), "rate_edges@1000").value == 0
    alone = best_of_learning_rates(capacity_models(table[table["train.learning_rate"] == 4e-3]))
    assert not alone["learning_rate_at_edge"].any() and set(alone["learning_rates"]) == {1}, "no grid"


def test_a_peak_at_the_smallest_size_is_flagged() -> None:
    table = planted_capacity(exposures=(1000,), people_error=0.0)
    best_at_edge = scaled(table, 1.1, table["label"] == "2-1x16")
    assert fit(best_at_edge).details["peak"]["1000"]["size_at_edge"] is True
    sizes = table.drop_duplicates("run").groupby("label")["params_used"].max()
    assert fit(scaled(table, 9.0, table["label"] == sizes.idxmax())).details["peak"]["1000"]["size_at_edge"] is True
    inside = scaled(table, 1.1, (table["label"] == "2-1x24") & (table["task.people"] == 20_000))
    assert fit(inside).details["peak"]["1000"]["size_at_edge"] is False
