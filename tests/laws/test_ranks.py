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
    # at each state the curve of the others is their mean, since it rises
    apart = of.cells(table(lambda m, s: s / 4000 + 0.2 * (m == "gdn")))
    assert apart["gdn",].value == pytest.approx(0.2, abs=1e-6) and apart["gdn",].n == 5
    assert apart["gla",].value == pytest.approx(-0.1, abs=1e-6) and apart["gla",].hi < 0


def only(states: dict[str, tuple[int, ...]], score: Any) -> Any:
    """Mixers each at states of its own."""
    return planted.table(planted.share({"run": f"{mixer}{state}", "model.mixer": mixer, "state_bytes": state,
                                        "train.seed": 0}, "answer", score(mixer, state), 100_000)
                         for mixer, own in states.items() for state in own)  # fmt: skip


@pytest.mark.parametrize(("states", "off"), [((1600, 3200), -0.3), ((50, 100), 0.3), ((400, 800), -0.3)])
def test_a_kind_at_an_end_does_not_draw_the_curve_to_where_it_is(states: tuple[int, ...], off: float) -> None:
    """What is 0.3 off the last number of the others is 0.3 off them, wherever it lies along x."""
    of, others = OffCurve("off", SCORE, "state", "mixer"), (100, 200, 400, 800, 1600)

    def curve(mixer: str, state: int) -> float:
        return 0.4 + min(max(state, 100), 1600) / 8000 + off * (mixer == "window")

    found = of.cells(only({"gla": others, "gdn": others, "window": states}, curve))["window",]
    assert found.value == pytest.approx(off, abs=1e-6) and found.n == 2 and found.lo < found.value < found.hi


def test_where_a_rising_curve_may_go_beyond_the_others_nothing_is_told() -> None:
    of = OffCurve("off", SCORE, "state", "mixer")
    states = {"gla": (100, 400), "gdn": (100, 400), "window": (200, 50, 800), "rope": (1600, 3200)}
    scores = {50: 0.1, 100: 0.3, 200: 0.4, 400: 0.5, 800: 0.6, 1600: 0.7, 3200: 0.9}
    found = of.cells(only(states, lambda m, s: scores[s]))
    assert ("rope",) not in found, "above all others at larger states"
    assert found["window",].value == pytest.approx(0.0) and found["window",].n == 2, "without 50, below all others"
    lower = of.cells(only(states, lambda m, s: scores[s] - 0.3 * (m == "window")))
    assert lower["window",].value == pytest.approx((-0.2 - 0.2) / 2), "of 200 and 800; 50 may lie lower"


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
