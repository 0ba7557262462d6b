"""What models that all guess agree with is not judged; what they miss is missed, and what was learnt is judged."""

from __future__ import annotations

from typing import Any

import pandas as pd
import planted
import pytest

from physlm.errors import UserError
from physlm.laws.forms import Above, Best, Contrast, Learnt, Minus, Power, Ratio, Shares, laws, learnt
from physlm.laws.law import Law, Quantity
from physlm.laws.verdict import (
    bound,
    by_asked,
    headline,
    judge,
    own_test,
    published_bound,
    verdict_markdown,
    verdict_rows,
)

CONSTANT = 0.07
ANSWER = Shares("answer", ("task.kind", "model.position"), {"at.half": "test"})
NONE_OVER_ROPE = Contrast("none_over_rope", ANSWER, "position", "none", "rope")


def table(truth: dict[tuple[str, str], float]) -> pd.DataFrame:
    """Answers by task and position, and the best constant answer."""
    rows: list[dict[str, Any]] = []
    for (task, position), p in truth.items():
        run = {"run": f"{task}-{position}", "task.kind": task, "model.position": position}
        rows += [planted.share(run, f"{quantity}/half=test", value, 2500)
                 for quantity, value in (("answer", p), ("majority", CONSTANT))]
    return planted.table(rows)


# of three tasks: one is learnt by the one, one by a third model alone, one by nobody
TRUTH = {("a", "rope"): 0.9, ("a", "none"): 0.88, ("b", "rope"): 0.08, ("b", "none"): 0.06, ("b", "alibi"): 0.9,
         ("c", "rope"): 0.07, ("c", "none"): 0.07, ("c", "alibi"): 0.1}  # fmt: skip


def test_a_contrast_is_judged_by_its_own_two_models_task_by_task() -> None:
    form = learnt(NONE_OVER_ROPE, 0.2, "majority")
    law = laws(form)(table(TRUTH))
    assert form.cells(table(TRUTH)) == NONE_OVER_ROPE.cells(table(TRUTH)), "the numbers are what they are"
    expect = [bound(f"none_over_rope@kind={kind}", "at least", -0.15, "Figure 7", "ours") for kind in "abc"]
    assert [judge(one, law.get(one.quantity)) for one in expect] == ["reproduced", "not judged", "not judged"]
    quantity = law.get("none_over_rope@kind=b")
    assert quantity is not None and quantity.unjudged == (
        "nothing learnt: the best of the models compared has 0.08, the best constant answer 0.07, asked was 0.2 more")
    assert Law.from_dict(law.to_dict()) == law, "it is kept with the law"
    # the control: without it all three agree
    plain = laws(NONE_OVER_ROPE)(table(TRUTH))
    assert {judge(one, plain.get(one.quantity)) for one in expect} == {"reproduced"}


def test_models_may_be_compared_over_settings_of_the_form() -> None:
    """That one does not learn says something where another one does: of b, and not of c."""
    above = Above("above", ANSWER, ANSWER.of("majority"))
    law = laws(Learnt(above, ANSWER, 0.2, ANSWER.of("majority"), among=("position",)))(table(TRUTH))
    wanted = {kind: own_test(f"above@kind={kind}/position=rope", "at most", 0.05, "it does not learn")
              for kind in "abc"}
    assert {kind: judge(one, law.get(one.quantity)) for kind, one in wanted.items()} == {
        "a": "fails", "b": "holds", "c": "not judged"}


def test_a_bystander_that_has_learnt_makes_no_pair_judged() -> None:
    """Two that hold nothing are alike, whatever a third one holds; the base alone is enough."""
    rows = planted.table(planted.share({"run": name, "model.position": name}, "answer", p, 4000)
                         for name, p in {"none": 0.1, "rope": 0.1, "t5": 0.9}.items())
    score = Shares("answer", ("model.position",))

    def unjudged(base: str) -> set[str]:
        ratio = Ratio("kept", score, Shares("answer", where={"model.position": base}))
        law = laws(Learnt(ratio, score, 0.3, base={"position": base}))(rows)
        return {one.name for one in law.quantities if one.unjudged}

    assert unjudged("rope") == {"kept@position=none", "kept@position=rope"} and unjudged("t5") == set()
    with pytest.raises(UserError, match="kept: base"):
        Learnt(Ratio("kept", score, score.of("untrained")), score, 0.3, base={"positions": "rope"})


@pytest.mark.parametrize(("least", "why"), [
    (0.85, ""), (0.95, "nothing learnt: the best of the models compared has 0.9, asked was 0.95")])
def test_without_a_control_it_is_a_floor(least: float, why: str) -> None:
    quantity = laws(learnt(NONE_OVER_ROPE, least))(table(TRUTH)).get("none_over_rope@kind=a")
    assert quantity is not None and quantity.unjudged == why


def test_what_was_not_measured_says_nothing() -> None:
    score = Shares("answer", ("task.kind",), {"at.half": "test", "model.position": "t5"})
    law = laws(Learnt(NONE_OVER_ROPE, score, 0.2))(table(TRUTH))
    quantity = law.get("none_over_rope@kind=a")
    assert quantity is not None and "no answer of the models compared" in quantity.unjudged


def test_what_disagrees_is_a_miss_learnt_or_not() -> None:
    law = laws(Learnt(ANSWER, ANSWER, 0.2, ANSWER.of("majority"), among=("position",)))(table(TRUTH))
    high, low = published_bound("answer@kind=c/position=rope", "at least", 0.99, "Figure 5"), bound(
        "answer@kind=c/position=rope", "at most", 0.1, "Figure 5", "about 0")
    quantity = law.get(high.quantity)
    assert (judge(high, quantity), judge(low, quantity), judge(low, None)) == (
        "not reproduced", "not judged", "not run")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="least: got 0"):
        learnt(NONE_OVER_ROPE, 0.0)
    with pytest.raises(UserError, match="nearest|among|position"):
        Learnt(NONE_OVER_ROPE, ANSWER, 0.2, among=("position",))
    with pytest.raises(UserError, match="expected one by"):
        Learnt(NONE_OVER_ROPE, ANSWER, 0.2, Shares("majority", ("task.kind",), {"at.half": "test"}))


def test_a_verdict_says_it_in_words_and_never_counts_it() -> None:
    law = laws(learnt(NONE_OVER_ROPE, 0.2, "majority"), ANSWER)(table(TRUTH))
    c, a = (bound(f"none_over_rope@kind={kind}", "at least", -0.15, "Figure 7", "ours") for kind in "ca")
    missed = own_test("answer@kind=c/position=rope", "at least", 0.5, "learnt")
    test_c = own_test("none_over_rope@kind=c", "at least", -0.15, "a test of our own")
    for expect, word in (([c], "not judged"), ([a, c], "not judged"), ([a], "reproduced"),
                         ([a, c, missed], "not reproduced"), ([c, missed], "not reproduced"),
                         ([test_c, missed], "fails"), ([test_c], "not judged"),
                         ([c, bound("absent", "at least", 0.0, "s", "r")], "not finished")):
        assert headline(verdict_rows("claim", law, expect, "gpu"), by_asked(expect)) == word
    text = verdict_markdown("claim", "A.", "s", law, [c, a], "gpu", "physlm run claim")
    assert "# claim: not judged" in text and "| not judged: nothing learnt: the best of the models compared" in text
    assert text.count("not judged:") == 1 and "It is judged where the best answer" in text


def test_what_the_form_says_of_its_numbers_is_still_said() -> None:
    rows = table(TRUTH).assign(**{"train.learning_rate": 1e-3})
    best = Best("best", ANSWER, over="train.learning_rate")
    judged = Learnt(best, best, 0.2, among=("position",))
    assert judged.remarks(rows) == best.remarks(rows) != {} and (judged.name, judged.keys, judged.unit) == (
        best.name, best.keys, best.unit)


def test_the_best_of_unlike_numbers_of_seeds_is_that_of_the_seeds_that_all_have() -> None:
    """Seed 1 is the worst of the rate that has three: of seed 1 alone the other rate is better."""
    runs = {(5e-4, 1): 0.5, (5e-4, 2): 0.7, (5e-4, 3): 0.9, (1e-3, 1): 0.6}
    rows = planted.table(planted.share({"run": f"{rate}-{seed}", "train.learning_rate": rate, "train.seed": seed},
                                       "answer", p, 4000) for (rate, seed), p in runs.items())  # fmt: skip
    best = Best("best", Shares("answer"), over="train.learning_rate")
    assert best.cells(rows)[()].value == pytest.approx(0.6) and best.best(rows)[()][0] == 1e-3
    assert best.cells(rows)[()].runs == 1 and "best of 2: learning rate 0.001" in best.remarks(rows)[()]
    alike = rows[rows["train.seed"] == 1]
    assert best.cells(rows) == best.cells(alike), "whatever the other seeds of one rate came to"
    apart = rows.assign(**{"train.seed": range(4)})
    assert best.cells(apart)[()].value == pytest.approx(0.7), "of no shared seed: of all"


def test_what_independent_losses_leave() -> None:
    rows = planted.table([planted.share({"run": str(steps), "k": steps}, f"kept/k={steps}", p, 400)
                          for steps, p in ((1, 0.9), (4, 0.9**4))])
    one, four = (Shares("kept", (), {"at.k": steps}, called=f"kept_{steps}") for steps in (1, 4))
    power = Power("independent", one, 4)
    kept, found = one.cells(rows)[()], power.cells(rows)[()]
    assert (found.value, found.lo, found.hi) == pytest.approx((0.9**4, kept.lo**4, kept.hi**4))
    excess = laws(Minus("excess", power, four, independent=True))(rows).get("excess")
    assert isinstance(excess, Quantity) and excess.value == pytest.approx(0.0) and excess.lo < 0 < excess.hi
    below = Power("none", Minus("gone", four, one, independent=True), 2).cells(rows)[()]
    assert (below.value, below.lo) == (0.0, 0.0), "below 0 counts as 0"
    with pytest.raises(UserError, match="at least once of a pure number"):
        Power("none", one, 0)
