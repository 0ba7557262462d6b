"""Spans of a setting, bests that are compared seed by seed, and bests at an end of their grid."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import planted
import pytest

from physlm.errors import UserError
from physlm.laws.diverged import tell_diverged
from physlm.laws.forms import Best, Minus, Paired, Ratio, Shares, Span, Tuned, laws
from physlm.laws.verdict import judge, own_test

RATE = "train.learning_rate"
SCORE = Shares("score", {"norm": "model.norm", "rate": RATE}, share=False)
SPAN = Span("span", SCORE, "rate")


def table(*curves: tuple[str, int, dict[float, float]]) -> pd.DataFrame:
    """A run at each rate of each norm and seed."""
    rows: list[dict[str, Any]] = []
    for norm, seed, curve in curves:
        for rate, value in curve.items():
            run = {"run": f"{norm}{seed}{rate}", "model.norm": norm, "train.seed": seed, RATE: rate}
            rows.append(planted.number(run, "score", value, 100))
    return planted.table(rows)


def test_a_span_ends_where_half_of_the_best_is_on_a_straight_line_over_the_logarithm() -> None:
    curve = {1.0: 0.0, 2.0: 1.0, 4.0: 1.0, 8.0: 1.0, 16.0: 0.25}
    found = SPAN.cells(table(("a", 1, curve)))["a",]
    # down to half at 2^0.5, half of the way from 1 to 2, and up at 8 2^(2/3), two thirds of the way from 8 to 16
    assert found.value == pytest.approx(3 + 2 / 3 - 1 / 2) and SPAN.unit == "factors of two"
    assert SPAN.remarks(table(("a", 1, curve))) == {}


def test_a_run_that_diverged_counts_as_0_and_seeds_are_averaged() -> None:
    whole, cut = {1.0: 0.0, 2.0: 1.0, 4.0: 1.0, 8.0: 0.0}, {1.0: 0.0, 2.0: 1.0}
    both = table(("a", 1, whole), ("a", 2, cut))
    assert SPAN.cells(both)["a",].runs == 1, "of the second seed two runs are not finished"
    settings = [{"model.norm": "a", "train.seed": 2, RATE: rate} for rate in (4.0, 8.0)]
    assert SPAN.cells(tell_diverged(both, settings[:1]))["a",].runs == 1
    assert SPAN.cells(tell_diverged(both, [{**one, "train.seed": 1} for one in settings]))["a",].runs == 1
    found = SPAN.cells(tell_diverged(both, settings))["a",]
    law = laws(SPAN, prepare=pd.DataFrame)(tell_diverged(both, settings))
    assert law.get("span@norm=a").value == found.value  # type: ignore[union-attr]
    assert found.value == pytest.approx((2.0 + 1.0) / 2) and found.runs == 2
    assert found.lo < 1.0 and found.hi > 2.0, "two seeds say little"


def test_a_span_that_goes_on_says_so_and_what_is_never_above_0_has_none() -> None:
    found = table(("a", 1, {1.0: 1.0, 2.0: 1.0, 4.0: 0.0}), ("b", 1, {1.0: 0.0, 2.0: 0.0, 4.0: 0.0}))
    assert SPAN.remarks(found) == {("a",): "smallest rate within: more"} and set(SPAN.cells(found)) == {("a",)}
    assert SPAN.cells(found)["a",].value == pytest.approx(1.5)
    of = [Span(f"span_{norm}", Shares("score", {"rate": RATE}, {"model.norm": norm}, share=False), "rate")
          for norm in ("a", "b")]  # fmt: skip
    assert Minus("wider", of[0], dataclasses.replace(of[0], name="again"), independent=True).remarks(found)[()] == (
        "smallest rate within: more; smallest rate within: more")


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5])
def test_a_share_that_no_span_can_have_is_refused(share: float) -> None:
    with pytest.raises(UserError, match="above 0 and below 1"):
        Span("span", SCORE, "rate", share)


def best(norm: str) -> Best:
    return Best(f"best_{norm}", Shares("score", {}, {"model.norm": norm}, called=norm, share=False), over=RATE)


def test_bests_are_compared_seed_by_seed_each_at_its_own_rate() -> None:
    """The seeds differ by 1, the norms by 0.1, which no comparison of the two means would tell."""
    rows = [(norm, seed, {1.0: seed + more - 0.5 * (norm == "a"), 2.0: seed + more - 0.5 * (norm == "b")})
            for norm, more in (("a", 0.1), ("b", 0.0)) for seed in (1, 2, 3)]  # fmt: skip
    found = Paired("gain", best("a"), best("b")).cells(table(*rows))[()]
    assert found.value == pytest.approx(0.1) and found.lo > 0.09 and found.runs == 3
    assert Minus("apart", best("a"), best("b"), independent=True).cells(table(*rows))[()].lo < 0
    more = [*rows, ("a", 4, {1.0: 90.0, 2.0: 90.0})]
    assert Paired("gain", best("a"), best("b")).cells(table(*more))[()].value == pytest.approx(0.1), "b has no seed 4"


@pytest.mark.parametrize(("curve", "verdict"), [
    ({1.0: 0.1, 2.0: 0.5, 4.0: 0.1}, "holds"), ({1.0: 0.1, 2.0: 0.3, 4.0: 0.5}, "not judged"),
    ({1.0: 0.5, 2.0: 0.3, 4.0: 0.1}, "not judged"), ({2.0: 0.5}, "not judged"), ({1.0: 0.2, 2.0: 0.9}, "fails")])
def test_what_agrees_is_judged_where_the_best_of_the_others_is_inside_of_its_grid(
    curve: dict[float, float], verdict: str
) -> None:
    gain = Tuned(Paired("gain", best("a"), best("b")), (best("b"),))
    law = laws(gain)(table(("a", 1, {1.0: 0.1, 2.0: 0.8, 4.0: 0.1}), ("b", 1, curve)))
    found = law.get("gain")
    assert judge(own_test("gain", "at least", 0.1, "why"), found) == verdict
    assert found is not None and bool(found.unjudged) == (verdict != "holds")
    assert verdict == "holds" or "a better one may lie outside" in found.unjudged


@pytest.mark.parametrize(("share", "most", "judged"), [(True, 0.99, True), (True, 0.98, False), (False, 0.99, False)])
def test_a_share_of_nearly_all_is_a_best_at_an_end_too(share: bool, most: float, judged: bool) -> None:
    """No other rate makes much more of it; of bits it may."""
    of = Best("best", Shares("score", {"norm": "model.norm"}, share=share), over=RATE)
    found = table(("a", 1, {1.0: 0.5, 2.0: 0.9, 4.0: most}))
    assert (Tuned(of, (of,)).unjudged(found, [("a",)]) == {}) == judged
    least = Best("least", Shares("score", {"norm": "model.norm"}, share=share), over=RATE, lowest=True)
    found = table(("a", 1, {1.0: 0.5, 2.0: 0.1, 4.0: 1 - most}))
    assert (Tuned(least, (least,)).unjudged(found, [("a",)]) == {}) == judged


def test_without_a_seed_that_both_have_there_is_no_pair_and_nothing_is_paired_with_itself() -> None:
    rows = [("a", 1, {1.0: 0.5}), ("a", 2, {1.0: 0.6}), ("b", 3, {1.0: 0.1}), ("b", 4, {1.0: 0.2})]
    assert Paired("gain", best("a"), best("b")).cells(table(*rows)) == {}
    assert Minus("apart", best("a"), best("b"), independent=True).cells(table(*rows)) != {}
    with pytest.raises(UserError, match="best_a on both sides, expected two forms"):
        Paired("gain", best("a"), best("a"))


@pytest.mark.parametrize(("by", "others"), [(("norm", "seed"), ("norm", "seed")), (("norm", "seed"), ("seed", "norm"))])
def test_settings_are_matched_by_their_names_whatever_their_order(by: tuple[str, ...], others: tuple[str, ...]) -> None:
    columns = {"norm": "model.norm", "seed": "train.seed"}
    of, other = (Shares("score", {key: columns[key] for key in keys}, called=name, share=False)
                 for name, keys in (("one", by), ("other", others)))
    inside, edge = {1.0: 0.1, 2.0: 0.5, 4.0: 0.1}, {1.0: 0.1, 2.0: 0.3, 4.0: 0.5}
    found = table(("a", 1, inside), ("b", 1, inside), ("a", 2, inside), ("b", 2, edge))
    one, two = Best("best", of, over=RATE), Best("other_best", other, over=RATE)
    keys = list(one.cells(found))
    assert set(Tuned(one, (two,)).unjudged(found, keys)) == {("b", 2)}
    assert {key: each.value for key, each in Ratio("ratio", one, two).cells(found).items()} == dict.fromkeys(keys, 1.0)


def test_what_is_held_against_a_span_that_goes_on_is_not_judged() -> None:
    wide, within = {1.0: 0.0, 2.0: 1.0, 4.0: 1.0, 8.0: 0.0}, {1.0: 0.0, 2.0: 0.2, 4.0: 0.2, 8.0: 1.0}
    found = table(("a", 1, wide), ("b", 1, within))
    spans = [Span(f"span_{norm}", Shares("score", {"rate": RATE}, {"model.norm": norm}, share=False), "rate")
             for norm in ("a", "b")]  # fmt: skip
    difference = Minus("wider", spans[0], spans[1], independent=True)
    for form, what in ((difference, "difference"), (Ratio("wider", spans[0], spans[1]), "ratio")):
        law = laws(Tuned(form, ()))(found)
        assert law.get("wider").unjudged == (  # type: ignore[union-attr]
            f"span_b: largest rate within: more, so that the {what} is at most this")
    law = laws(Minus("wider", spans[1], spans[0], independent=True))(found)
    assert not law.get("wider").unjudged  # type: ignore[union-attr]
