"""Correlations of ranks and one rising curve: what was planted is found, and constant numbers have neither."""

from __future__ import annotations

from typing import Any

import numpy as np
import planted
import pytest
from scipy import stats

from physlm.errors import UserError
from physlm.laws.forms import OffCurve, RankCorrelation, Shares, laws

STATES = (100, 200, 400, 800, 1600)
SCORE = Shares("answer", {"mixer": "model.mixer", "state": "state_bytes"})


def table(score: Any, mixers: tuple[str, ...] = ("gla", "gdn", "nope")) -> Any:
    """A run a mixer and state, on so many questions that errors are small."""
    return planted.table(planted.share({"run": f"{mixer}{state}", "model.mixer": mixer, "state_bytes": state,
                                        "train.seed": 0}, "answer", score(mixer, state), 100_000)
                         for mixer in mixers for state in STATES)  # fmt: skip


def test_the_correlation_is_that_of_scipy_and_one_where_all_rise_together() -> None:
    scores = {(mixer, state): float(value) for (mixer, state), value in zip(
        ((m, s) for m in ("gla", "gdn", "nope") for s in STATES), np.random.default_rng(1).random(15), strict=True)}
    of = RankCorrelation("rho", SCORE, "state")
    (found,) = of.cells(table(lambda m, s: scores[m, s])).values()
    expected = stats.spearmanr([s for _, s in scores], list(scores.values())).statistic
    assert found.value == pytest.approx(expected) and found.lo <= found.value <= found.hi and found.n == 15
    (rising,) = of.cells(table(lambda m, s: s / 2000)).values()
    assert rising.value == pytest.approx(1.0) and rising.lo > 0.9
    (falling,) = of.cells(table(lambda m, s: 1 - s / 2000)).values()
    assert falling.value == pytest.approx(-1.0)


def test_groups_are_made_by_the_keys_that_are_not_gone_over() -> None:
    found = RankCorrelation("rho", SCORE, "state", ("mixer",)).cells(table(lambda m, s: s / 2000))
    assert list(found) == [()]
    score = Shares("answer", {"mixer": "model.mixer", "state": "state_bytes", "task": "task.kind"})
    two = table(lambda m, s: s / 2000).assign(**{"task.kind": "one"})
    other = table(lambda m, s: 1 - s / 2000).assign(**{"task.kind": "other"})
    other["run"] += "other"
    import pandas as pd

    by_task = RankCorrelation("rho", score, "state", ("mixer",)).cells(pd.concat([two, other], ignore_index=True))
    assert {key: round(one.value) for key, one in by_task.items()} == {("one",): 1, ("other",): -1}


def test_one_curve_leaves_nobody_off_it_and_a_planted_distance_is_found() -> None:
    of = OffCurve("off", SCORE, "state", "mixer")
    same = of.cells(table(lambda m, s: s / 2000))
    assert set(same) == {("gla",), ("gdn",), ("nope",)}
    assert all(one.value == pytest.approx(0.0, abs=1e-9) and one.hi - one.lo < 0.02 for one in same.values())
    # at each state the curve is the mean of the three, since it rises: 0.2 above two others is 0.133 above that
    apart = of.cells(table(lambda m, s: s / 4000 + 0.2 * (m == "gdn")))
    assert apart["gdn",].value == pytest.approx(2 / 15, abs=1e-6)
    assert apart["gla",].value == pytest.approx(-1 / 15, abs=1e-6) and apart["gla",].hi < 0


def test_what_cannot_correlate_has_no_number_and_what_is_no_key_is_refused() -> None:
    of = RankCorrelation("rho", SCORE, "state")
    assert of.cells(table(lambda m, s: 0.5)) == {}, "all the same"
    few = table(lambda m, s: s / 2000, ("gla",))
    assert of.cells(few[few["state_bytes"] < 800]) == {}, "three settings"
    with pytest.raises(UserError, match="state"):
        RankCorrelation("rho", SCORE, "states")
    with pytest.raises(UserError, match="mixer"):
        OffCurve("off", SCORE, "state", "mixers")
    law = laws(of, OffCurve("off", SCORE, "state", "mixer"))(table(lambda m, s: s / 2000))
    assert {one.name for one in law.quantities} == {"rho", *(f"off@mixer={name}" for name in ("gla", "gdn", "nope"))}
