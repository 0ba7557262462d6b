"""Names become columns, runs become one number, and the intervals hold what they promise."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pandas as pd
import planted
import pytest
from scipy import stats

from physlm import interval
from physlm.errors import UserError
from physlm.interval import Interval
from physlm.laws import cells, columns


def long(*rows: tuple[str, str, float, float]) -> pd.DataFrame:
    """(run, quantity, value, half-width), each over 100 items."""
    return pd.DataFrame([{"run": run, "quantity": name, "value": value, "lo": value - half, "hi": value + half,
                          "n": 100, "unit": "1"} for run, name, value, half in rows])


def cells_of(*rows: tuple[str, str, float, float]) -> pd.DataFrame:
    """The same with columns."""
    return columns.with_columns(long(*rows))


def test_an_older_table_names_places_and_gets_the_columns_of_a_new_one() -> None:
    old = long(("a", "boundary/level=3/mask=full/balanced", 0.1, 0.0), ("a", "kl", 0.2, 0.0),
               ("a", "accuracy/temperature=0.10/prefix=none", 0.3, 0.0))
    new = columns.with_columns(old)
    assert new["quantity"].tolist() == ["boundary_balanced", "kl", "accuracy"]
    assert new[["at.level", "at.mask", "at.temperature", "at.prefix"]].to_numpy().tolist() == [
        [3, "full", "", ""], ["", "", "", ""], ["", "", 0.1, "none"]]
    assert columns.labels(new) == ["boundary_balanced/level=3/mask=full", "kl", "accuracy/temperature=0.1/prefix=none"]
    assert new["value"].tolist() == [0.1, 0.2, 0.3]
    pd.testing.assert_frame_equal(columns.with_columns(new), new)
    both = columns.with_columns(pd.concat([new, long(("b", "kl/step=5", 0.4, 0.0))]).reset_index(drop=True))
    assert both["at.step"].tolist() == ["", "", "", 5] and both["at.level"].tolist() == [3, "", "", ""]


def test_only_rows_with_exactly_these_keys_are_cells() -> None:
    table = cells_of(("a", "accuracy/cut=0", 0.1, 0.0), ("a", "accuracy/cut=50", 0.2, 0.0), ("a", "accuracy", 0.3, 0.0),
                 ("a", "accuracy/cut=0/step=25", 0.4, 0.0), ("a", "accuracy/prefix=none/temperature=1.0", 0.5, 0.0),
                 ("a", "accuracy/cut=0/balanced", 0.6, 0.0), ("a", "accuracy_untrained/cut=0", 0.7, 0.0))
    assert dict(zip(*(cells.cells(table, "accuracy", ["cut"])[c] for c in ("cut", "value")), strict=True)) == {
        0: 0.1, 50: 0.2}
    assert cells.cells(table, "accuracy")["value"].tolist() == [0.3]
    found = cells.cells(table, "accuracy", ["temperature", "prefix"])
    assert found[["prefix", "temperature", "value"]].to_numpy().tolist() == [["none", 1.0, 0.5]]
    assert cells.cells(table, "accuracy_balanced", ["cut"])["value"].tolist() == [0.6]
    nothing = cells.cells(table, "entropy", ["level"])
    assert nothing.empty and "level" in nothing


def test_rows_that_are_not_finite_are_left_out_and_named() -> None:
    table = cells_of(("a", "x/k=1", math.nan, 0.0), ("a", "x/k=2", 0.5, 0.1), ("a", "x/k=3", 0.5, math.inf),
                     ("b", "x/k=4", 0.5, 0.1))
    table.loc[3, "lo"] = math.nan
    assert cells.combine(cells.cells(table, "x", ["k"]), ["k"]) == {(2,): Interval(0.5, 0.4, 0.6, 100)}
    whole, left_out = columns.finite(table)
    assert left_out == ["a: x/k=1", "a: x/k=3", "b: x/k=4"] and columns.labels(whole) == ["x/k=2"]
    assert columns.finite(whole)[1] == []


def test_a_table_without_the_columns_or_with_a_row_twice_is_refused() -> None:
    with pytest.raises(UserError, match="'quantity' is missing"):
        cells.cells(pd.DataFrame({"run": ["a"]}), "x")
    twice = long(("a", "x", 0.1, 0.0), ("a", "x", 0.2, 0.0))
    with pytest.raises(UserError, match="x of run 'a' more than once"):
        cells.combine(cells.cells(twice, "x"), ["quantity"])


def test_one_run_keeps_its_interval() -> None:
    found = cells.combine(cells.cells(long(("a", "x", 0.9, 0.05)), "x"), ["quantity"], share=True)
    assert found["x",] == Interval(0.9, 0.9 - 0.05, 0.9 + 0.05, 100)


def test_runs_that_agree_have_the_combined_interval_and_runs_that_differ_students() -> None:
    alike = interval.mean_of_runs([Interval(0.5, 0.4, 0.6, 100), Interval(0.5, 0.2, 0.6, 100)])
    assert (alike.value, alike.n, alike.runs) == (0.5, 200, 2)
    assert alike.lo == pytest.approx(0.5 - math.hypot(0.1, 0.3) / 2)
    assert alike.hi == pytest.approx(0.5 + math.hypot(0.1, 0.1) / 2)
    values = np.array([1.0, 2.0, 4.0])
    apart = interval.mean_of_runs([Interval(v, v - 0.01, v + 0.01, 10) for v in values])
    expected = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert (apart.lo, apart.hi) == pytest.approx(expected)


def test_shares_stay_between_nothing_and_all() -> None:
    runs = [Interval(0.9, 0.89, 0.91, 10), Interval(1.0, 0.99, 1.0, 10)]
    assert interval.mean_of_runs(runs, share=True).hi == 1.0 < interval.mean_of_runs(runs).hi
    assert interval.least([Interval(0.99, 0.98, 1.0, 10)] * 5, share=True).hi == 1.0


def test_differences_of_independent_numbers_cover_and_dependent_ones_are_never_narrower_than_the_truth() -> None:
    a, b = Interval(3.0, 2.7, 3.1, 10), Interval(1.0, 0.6, 1.2, 20)
    apart, together = (interval.difference(a, b, independent=flag) for flag in (True, False))
    assert apart.value == together.value == 2.0 and apart.n == 10
    assert (apart.lo, apart.hi) == pytest.approx((2.0 - math.hypot(0.3, 0.2), 2.0 + math.hypot(0.1, 0.4)))
    assert (together.lo, together.hi) == pytest.approx((2.0 - 0.5, 2.0 + 0.5))
    # Errors that are exactly opposite: a - b has the sum of the two standard deviations, and no more.
    assert interval.mean_of([a, a]) == a


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("truth", [(0.5,) * 5, (0.0, 1.0, 2.0, 3.0, 4.0)])
def test_the_interval_of_a_least_number_covers_the_least_truth(truth: tuple[float, ...], correlated: bool) -> None:
    rng, trials, half = np.random.default_rng(0), 3000, NormalDist().inv_cdf(0.975)
    noise = rng.standard_normal((trials, 1 if correlated else len(truth)))
    hits, naive = 0, 0
    for values in np.array(truth) + noise:
        found = interval.least([Interval(v, v - half, v + half, 10) for v in values])
        hits += found.lo <= min(truth) <= found.hi
        naive += found.value - half <= min(truth) <= found.value + half
    assert hits / trials > 0.945
    if not correlated and len(set(truth)) == 1:
        assert naive / trials < 0.93  # the control: an interval that forgets that it is a minimum


def test_more_items_narrow() -> None:
    few, many = (planted.share(planted.run(), "x", 0.9, n) for n in (100, 10_000))
    ends = [cells.combine(cells.cells(pd.DataFrame([row]), "x"), ["quantity"])["x",] for row in (few, many)]
    assert ends[1].hi - ends[1].lo == pytest.approx((ends[0].hi - ends[0].lo) / 10)
