"""Exact grades: what is the same answer and what is not; shares, intervals and controls."""

from __future__ import annotations

import pytest

from physlm.battery.card import Report, card, more
from physlm.battery.grading import INDEX, THOUGHT, by_task, constant, dependence, right, scores
from physlm.battery.oracle import Oracle
from physlm.battery.questions import Prompt, prompts
from physlm.battery.settings import Battery
from physlm.battery.wording import NORMALISATION, given_answer, normalised
from physlm.errors import UserError

BATTERY = Battery(people=20, kinds=("major", "month_mod2", "all_to_full"))


def one(*answers, number=0):
    return Prompt(f"x-{number}", "retrieval", "major", False, "?", answers, "", number)


@pytest.mark.parametrize(("answer", "fits"), [
    (" Princeton, NJ.", True), ("princeton , nj", True), ("Answer: Princeton, NJ\nWhat is the", True),
    ("I think of a month. Answer : Princeton,  NJ .", True), ("Ｐrinceton, NJ", True), ("Princeton", False),
    ("Princeton, NJ, USA", False), ("It is Princeton, NJ.", False), ("", False), ("Princeton NJ", False),
    ("Princeton, NJ. Answer: Boston, MA", False), ("Answer:", False), ("..", False),
])  # fmt: skip
def test_the_whole_answer_counts(answer, fits):
    assert right(one("Princeton, NJ"), answer) is fits


def test_normalising_twice_changes_nothing():
    for text in ("Was  A ’s x ? Answer : Yes .", "a.", "a..", " , x", "ＡＢＣ"):
        assert normalised(normalised(text).rstrip(".")) == normalised(text).rstrip(".")
    assert given_answer("\n\n Yes. \n No.") == "Yes."


def test_the_best_constant_answer_counts_every_right_answer():
    assert constant([one("A"), one("B", "A"), one("C"), one("C")]) == 0.5
    assert constant([one("A", "a"), one("B")]) == 0.5, "one answer of a question, told twice"


@pytest.fixture(scope="module")
def graded():
    asked = prompts(BATTERY)
    truth = dict(zip([p.id for p in asked], Oracle(BATTERY)([p.prompt for p in asked]), strict=True))
    return asked, truth


def test_shares_have_intervals_and_controls(graded):
    asked, truth = graded
    some = {p.id: truth[p.id] for p in asked if p.thought or p.kind == "major"}
    found = {(s.kind, s.way): s for s in scores(asked, some, truth)}
    assert found["major", ""].share.value == found["month_mod2", THOUGHT].share.value == 1
    nothing = found["all_to_full", ""]
    assert nothing.share.value == 0 < nothing.share.hi < 0.4 and nothing.unanswered == nothing.share.n == 10
    assert all(s.oracle == 1 and 0 < s.constant < 1 for s in found.values())
    assert found["major", ""].share.lo < 1, "ten right answers are no proof of all"
    gap = dependence(found.values())["classification"]
    assert gap.value == 1 and gap.lo < 1


def test_the_card_says_everything(graded):
    asked, truth = graded
    found = scores(asked, {p.id: "Yes" for p in asked}, truth)
    search = [p for p in asked if p.task == "inverse search"]
    found += scores(search, {p.id: truth[p.id] for p in search}, truth, INDEX)
    assert [(s.task, s.way) for s in by_task(found)] == [
        ("retrieval", ""), ("classification", ""), ("classification", THOUGHT), ("inverse search", ""),
        ("inverse search", INDEX)]  # fmt: skip
    report = Report("a|b", BATTERY, found, facts={"index": "120 forward questions"})
    text = card(report)
    for part in (NORMALISATION, "120 forward questions", "| inverse search | index | 10 | 1.0 |", "20 invented people"):
        assert part in text, part
    assert any(line.startswith("classification: +0.00 by a thought") for line in more(report))
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_an_answer_to_another_battery_is_refused(graded):
    asked, truth = graded
    with pytest.raises(UserError, match="'y-1' and 1 more, which is no question"):
        scores(asked, {"y-1": "Yes", "y-2": "No"}, truth)
