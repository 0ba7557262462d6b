"""The prompts of a battery: right by a second way to the answers, and about nobody that training asks about."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from physlm.battery.grading import right
from physlm.battery.oracle import Oracle
from physlm.battery.questions import biographies, examples, names, prompts
from physlm.battery.settings import ASKED, SEARCH, TASK_OF, TASKS, TEXTS, Battery
from physlm.battery.wording import fields_of, understood
from physlm.config import from_dict, to_dict
from physlm.errors import UserError
from physlm.tasks.biography.kinds import KINDS

SMALL = Battery(people=40, pool_size=4, kinds=tuple(TASK_OF))


@pytest.fixture(scope="module", params=[False, True], ids=["readable", "spaced"])
def battery(request):
    return Battery(people=SMALL.people, pool_size=4, kinds=SMALL.kinds, spaced=request.param)


def test_who_looks_up_the_truth_answers_everything(battery):
    """A second way to every answer, from the text of the prompt alone."""
    asked = prompts(battery)
    answers = Oracle(battery)([one.prompt for one in asked])
    assert [one.id for one, answer in zip(asked, answers, strict=True) if not right(one, answer)] == []
    assert {one.kind for one in asked} == set(TASK_OF) and len({one.id for one in asked}) == len(asked)
    thoughtful = {one.kind for one in asked if one.thought}
    assert thoughtful == {*TASKS["classification"], *TASKS["comparison"]}
    assert all(bool(one.hint) == one.thought for one in asked)


def test_thoughts_are_what_the_oracle_writes_first(battery):
    asked = [one for one in prompts(battery) if one.thought]
    for one, answer in zip(asked, Oracle(battery)([one.prompt for one in asked]), strict=True):
        assert answer.startswith(f"{one.hint}. Answer:"), one


def test_training_asks_about_the_other_half_alone(battery):
    asked, taught = prompts(battery), examples(battery)
    everybody = names(battery)
    held_out = {everybody[one.person] for one in asked}
    told = [f"{one.prompt} {one.completion}" for one in taught]
    shown = {name for name in everybody if any(name in text for text in told)}
    assert len(held_out) == len(everybody) - len(shown) == battery.people // 2 and not held_out & shown
    texts = biographies(battery)
    assert len(texts) == TEXTS * battery.people and all(any(name in text for text in texts) for name in held_out)


def test_no_inverse_question_is_one_of_training():
    """Of whole pools: where pools are cut, people share attributes."""
    battery = Battery(people=40, kinds=tuple(kind for kind in TASKS[SEARCH] if not kind.startswith("bdate")))
    assert not {one.prompt for one in prompts(battery)} & {one.prompt for one in examples(battery)}


def test_every_wording_is_understood_as_its_kind():
    values = {"name": "Anya Briar Forger", "other.name": "Ada Ann Abel", "birth_date": "October 2, 1996",
              "birth_city": "Princeton, NJ", "university": "Massachusetts Institute of Technology",
              "major": "Communications", "employer": "Meta", "employer_city": "Menlo Park, CA"}  # fmt: skip
    for kind in TASK_OF:
        for form in KINDS[kind].forms:
            text = form
            for field, value in values.items():
                text = text.replace(f"{{{field}}}", value)
            for request in ("", " Answer :", " Hint:"):
                found = understood(text + request)
                assert found is not None and found.kind == kind, text
                assert found.values == {field: values[field] for field in fields_of(kind)}
    assert understood("Who are you?") is None


def test_all_who_fit_are_right_answers():
    asked = [one for one in prompts(SMALL) if one.kind == "bdate_to_first"]
    several = [one for one in asked if len(one.answers) > 1]
    everybody = names(SMALL)
    assert several and all(one.answers[0] == everybody[one.person].split()[0] for one in asked)
    assert all(right(one, f" {answer}. ") for one in several for answer in one.answers)


def test_settings_are_live_and_survive_json():
    plain = Battery(people=40)
    assert from_dict(Battery, json.loads(json.dumps(to_dict(plain)))) == plain
    changes: dict[str, Any] = {"people": 42, "seed": 1, "pool_size": 4, "kinds": ASKED[:2], "most": 3, "spaced": True}
    made = {name: prompts(dataclasses.replace(plain, **{name: value})) for name, value in changes.items()}
    texts = [[one.prompt for one in found] for found in (prompts(plain), *made.values())]
    assert all(one != other for i, one in enumerate(texts) for other in texts[:i])
    assert {one.person for one in made["most"]} < {one.person for one in prompts(plain)}
    ids = [{one.id for one in found} for found in (prompts(plain), *made.values())]
    assert all(not one & other for i, one in enumerate(ids) for other in ids[:i]), "ids tell batteries apart"


@pytest.mark.parametrize(("settings", "message"), [
    ({"people": 3}, "people: got 3, expected at least 4"), ({"most": 0}, "most: got 0"),
    ({"kinds": ("majr",)}, "majr"), ({"kinds": ()}, "at least one kind"),
    ({"kinds": ("major", "major")}, "each once"), ({"kinds": ("two_hop_city",)}, "two_hop_city"),
])  # fmt: skip
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Battery(**settings)
