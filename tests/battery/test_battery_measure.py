"""The measure ``index``: what it says of planted writers, and which runs it refuses."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from physlm.battery import measure
from physlm.battery.oracle import Oracle
from physlm.battery.settings import Battery
from physlm.errors import UserError
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.biography.kinds import INVERSE, RETRIEVAL
from physlm.tasks.biography.question_config import Ask, QuestionsConfig
from physlm.training.config import RunSpec, TrainConfig

PEOPLE = 40
TASK = QuestionsConfig(PEOPLE)
CPU = torch.device("cpu")


def spec_of(task=TASK, causal=True):
    return RunSpec(task, ModelConfig(layers=1, heads=1, width=16, causal=causal),
                   TrainConfig(steps=1, precision="float32"))


@pytest.fixture
def run():
    model = Decoder(spec_of().model, len(TASK.vocabulary()), (1,))
    return Trained(spec_of(), CPU, lambda step: model)


def planted(monkeypatch, run, writer):
    """Let ``writer`` write in place of the trained model, and nothing in place of the untrained one."""
    monkeypatch.setattr(measure, "lab_ask", lambda model, task, progress=False: writer if model is run.model else (
        lambda prompts: [""] * len(prompts)))


def by_quantity(rows):
    return {name: {row.where.get("kind", row.where.get("attribute", "")): row for row in rows if row.quantity == name}
            for name in {row.quantity for row in rows}}


def test_who_tells_the_truth_and_cannot_search_is_searched_by_the_index(run, monkeypatch):
    oracle = Oracle(Battery(PEOPLE))

    def writer(prompts):
        answers = oracle(prompts)
        return ["nobody ." if "name of" in prompt else f"{answer} ." for prompt, answer in
                zip(prompts, answers, strict=True)]

    planted(monkeypatch, run, writer)
    rows = measure.measure(run)
    found = by_quantity(rows)
    assert set(found) == set(measure.measure.quantities)
    assert list(found["indexed"]) == list(INVERSE) and list(found["told"]) == list(RETRIEVAL)
    half = PEOPLE - PEOPLE // 2
    assert all(row.n == half for row in rows if row.quantity != "index_questions")
    assert {row.value for row in found["told"].values()} == {1.0}
    assert {row.value for name in ("unindexed", "indexed_untrained") for row in found[name].values()} == {0.0}
    assert {kind: row.value for kind, row in found["indexed"].items()} == {
        kind: row.value for kind, row in found["indexed_truth"].items()}  # fmt: skip
    assert found["indexed"]["all_to_full"].value == 1.0
    (cost,) = found["index_questions"].values()
    assert cost.value == cost.lo == cost.hi == 6 * PEOPLE and cost.unit == "questions"


def test_an_index_is_no_better_than_what_it_was_told(run, monkeypatch):
    """Half of the questions on the birth date are answered wrong: so many people are not found by it."""
    oracle = Oracle(Battery(PEOPLE))

    def writer(prompts):
        return [f"{answer} ." if len(prompt) % 2 or "birth date" not in prompt else "May 1 , 1900 ."
                for prompt, answer in zip(prompts, oracle(prompts), strict=True)]

    planted(monkeypatch, run, writer)
    found = by_quantity(measure.measure(run))
    share = found["told"]["birth_date"].value
    assert 0 < share < 1 and found["indexed"]["bdate_to_full"].value == pytest.approx(share, abs=0.06)
    assert found["indexed"]["all_to_full"].value == 1.0


def test_a_model_writes_the_same_alone_and_beside_others(run):
    ask = measure.lab_ask(run.model, TASK.build())
    prompts = ["What major did Anya Briar Forger study ? Answer :".replace("Anya Briar Forger", name) for name in (
        "Abigail Aria Aguilar", "Akira Auberon Agarwal")]
    prompts.append("Where was Abigail Aria Aguilar born ? Answer :")
    assert ask(prompts) == [ask([prompt])[0] for prompt in prompts]
    assert all(isinstance(text, str) for text in ask(prompts))


@pytest.mark.parametrize(("spec", "message"), [
    (spec_of(dataclasses.replace(TASK, ask=Ask(kinds=("major",)))), "asks for birth_date"),
    (spec_of(QuestionsConfig(PEOPLE, ask=Ask(half="all"))), "half='all'"),
    (spec_of(causal=False), "an encoder writes nothing"),
])  # fmt: skip
def test_runs_that_cannot_fill_an_index_are_refused(spec, message):
    with pytest.raises(UserError, match=message):
        measure.check(spec)
