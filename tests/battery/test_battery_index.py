"""The index of what a model told: searched by any wording, as good as what it was told, and no better."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from physlm.battery.grading import right
from physlm.battery.index import Index, forward_prompts, routed
from physlm.battery.oracle import Oracle
from physlm.battery.questions import names, prompts
from physlm.battery.settings import SEARCH, TASKS, Battery
from physlm.errors import UserError
from physlm.tasks.biography.kinds import RETRIEVAL

PEOPLE = Battery(people=60, kinds=("birth_city", *TASKS[SEARCH]))


@pytest.fixture
def told():
    """Makes an index of what is told of everybody, which the end of the test closes; and how many questions it cost."""
    with contextlib.ExitStack() as opened:
        def make(battery, ask):
            index = opened.enter_context(Index())
            return index, index.tell_all(names(battery), ask, battery.spaced)

        yield make


@pytest.mark.parametrize("spaced", [False, True])
def test_who_is_told_the_truth_finds_everybody(told, spaced):
    battery = Battery(people=60, kinds=PEOPLE.kinds, spaced=spaced)
    index, cost = told(battery, Oracle(battery))
    assert cost == len(index) == 6 * battery.people
    asked = [one for one in prompts(battery) if one.task == SEARCH]
    assert asked and all(right(one, index.answer(one.prompt) or "") for one in asked)


def test_an_index_knows_what_the_model_knows_and_no_more(told):
    """A model that always says the same tells of one person as of another."""
    index, _ = told(PEOPLE, lambda texts: ["Princeton, NJ."] * len(texts))
    asked = [one for one in prompts(PEOPLE) if one.task == SEARCH]
    assert sum(right(one, index.answer(one.prompt) or "") for one in asked) <= len(TASKS[SEARCH])


@pytest.mark.parametrize("fields", [1, 3, 6])
def test_a_search_reads_who_fits_and_not_the_whole_table(fields):
    """Its instructions do not grow with the table, so that an index of 10,000 people answers as fast as one of 100."""
    asked = RETRIEVAL[:fields]

    def instructions(people):
        counted = []
        with Index() as index:
            for person in range(people):
                for field in RETRIEVAL:
                    index.tell(f"person {person}", field, f"{field} {person}")
            index._table.set_progress_handler(lambda: counted.append(1), 1)
            assert index.find({field: f"{field} 7" for field in asked}) == "person 7"
        return len(counted)

    assert instructions(2000) <= 2 * instructions(20)


def test_a_wrong_value_is_outvoted_by_the_right_ones(told):
    oracle = Oracle(PEOPLE)

    def ask(texts):
        return ["nothing" if "born?" in text or "birth date" in text else answer
                for text, answer in zip(texts, oracle(texts), strict=True)]

    index, _ = told(PEOPLE, ask)
    by_kind = {kind: [right(one, index.answer(one.prompt) or "") for one in prompts(PEOPLE) if one.kind == kind]
               for kind in ("all_to_full", "bdate_to_full")}
    assert all(by_kind["all_to_full"]) and not any(by_kind["bdate_to_full"])


def test_inverse_questions_go_to_the_index_and_all_others_to_the_model(told):
    asked = prompts(PEOPLE)
    seen: list[str] = []

    def ask(texts):
        seen.extend(texts)
        return ["the model"] * len(texts)

    index, _ = told(PEOPLE, Oracle(PEOPLE))
    answers = routed([one.prompt for one in asked], index, ask)
    assert seen == [one.prompt for one in asked if one.task != SEARCH]
    assert all((answer == "the model") == (one.task != SEARCH) for one, answer in zip(asked, answers, strict=True))
    assert index.answer("Where was Anya Briar Forger born?") is None
    assert index.answer("Tell me the full name of somebody born on October 2, 2222?") is None


def test_a_file_is_opened_again_and_a_later_answer_replaces_an_earlier_one(tmp_path):
    with Index(tmp_path / "new" / "people.sqlite") as index:
        index.tell("Anya Briar Forger", "major", "History")
        index.tell("Anya Briar Forger", "major", "Communications")
    with Index(tmp_path / "new" / "people.sqlite") as index:
        assert index.facts("Anya Briar Forger") == {"major": "Communications"} and len(index) == 1
        assert index.find({"major": "communications."}) == "Anya Briar Forger"
        assert index.find({"major": "History"}) is None and index.find({}) is None
        with pytest.raises(UserError, match="field 'name', expected one of birth_date"):
            index.tell("Anya Briar Forger", "name", "x")
    (tmp_path / "text").write_text("no table " * 100)
    with pytest.raises(UserError, match="expected an index"):
        Index(tmp_path / "text")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not list open files")
def test_no_file_stays_open_that_was_refused_or_closed(tmp_path):
    (tmp_path / "text").write_text("no table " * 100)
    with pytest.raises(UserError, match="expected an index") as caught, Index(tmp_path / "people.sqlite"):
        Index(tmp_path / "text")
    opened = {os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()}
    assert not [path for path in opened if path.startswith(str(tmp_path.resolve()))]
    assert caught.tb is not None, "whose frames would have kept the connection"


def test_values_are_text_whatever_they_hold():
    with Index() as index:
        index.tell("Robert'); DROP TABLE facts; -- x", "major", "a'; \"b\" %_")
        assert index.find({"major": "A'; \"b\" %_"}) == "Robert'); DROP TABLE facts; -- x" and len(index) == 1


def test_six_forward_questions_a_name():
    found = forward_prompts(["Anya Briar Forger"])
    assert [field for _, field, _ in found] == list(RETRIEVAL)
    assert found[0] == ("Anya Briar Forger", "birth_date", "What is the birth date of Anya Briar Forger? Answer:")
