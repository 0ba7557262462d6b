"""Recall against one softmax at a time, a planted memory, and texts that were really trained on."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from physlm.config import override
from physlm.errors import UserError
from physlm.measures import recall
from physlm.measures.recall import guesses, training_texts
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.biography.config import BioDConfig, BioSConfig
from physlm.tasks.biography.pools import ATTRIBUTES
from physlm.tasks.biography.question_config import MixedConfig, QuestionsConfig
from physlm.tasks.catalogue import build, vocabulary_for
from physlm.tasks.rows import Entries
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.step import Population

CPU = torch.device("cpu")
TRAIN = TrainConfig(steps=1, precision="float32")
SINGLE = BioSConfig(12, texts=1, entries_per_row=2, row_tokens=160, questions=True)
CONFIGS = [SINGLE, BioSConfig(12, texts=2, permute=1, reverse=2, celebrities=3), BioSConfig(12, fullname=True),
           MixedConfig(12, texts=1)]  # fmt: skip


def trained(task: Any, causal: bool = True) -> Trained:
    spec = RunSpec(task, ModelConfig(layers=1, heads=1, width=16, causal=causal), TRAIN)
    model = Decoder(spec.model, len(vocabulary_for(task)), (5,))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not name.endswith("norm.weight"):
                weight.mul_(20.0)  # so that every place has a token of its own
    return Trained(spec, CPU, lambda step: model)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.title)
def test_a_planted_memory_is_found_exactly(monkeypatch: pytest.MonkeyPatch, config: Any) -> None:
    """Of every third person all is known; of the next one first tokens alone; of the last one no first token."""
    run = trained(config)

    def plant(model: Decoder, task: Any, entries: Entries, roles: tuple[int, ...]) -> Tensor:
        if model is run.untrained:
            return entries.ids_RW + 1
        guess = entries.ids_RW.clone()
        for e, (ids, kinds) in enumerate(zip(guess, entries.roles_RW.tolist(), strict=True)):
            for role in roles:
                places = [w for w, kind in enumerate(kinds) if kind == role]
                assert places == list(range(places[0], places[0] + len(places))) and places
                ids[{0: [], 1: places[1:], 2: places[:1]}[e % 3]] += 1
        return guess

    monkeypatch.setattr(recall, "guesses", plant)
    rows = {row.quantity: row for row in recall.measure(run)}
    task = build(config.biographies if isinstance(config, MixedConfig) else config)
    roles_EW = training_texts(task, 12, CPU, TRAIN.seed).roles_RW
    expected: dict[str, float] = {}
    for attribute in ATTRIBUTES:
        tokens = (roles_EW == task.roles.index(attribute)).sum(-1).tolist()
        whole = sum(e % 3 == 0 or (e % 3 == 1 and length == 1) for e, length in enumerate(tokens))
        expected |= {f"recall/attribute={attribute}": whole / 12, f"recall_first/attribute={attribute}": 8 / 12,
                     f"recall_untrained/attribute={attribute}": 0.0}  # fmt: skip
    assert {name: row.value for name, row in rows.items()} == pytest.approx(expected)
    assert expected["recall/attribute=birth_date"] == 4 / 12
    assert all(row.n == 12 and row.lo <= row.value <= row.hi for row in rows.values())


@torch.no_grad()
def test_guesses_are_the_likeliest_tokens_after_the_true_text() -> None:
    run = trained(SINGLE)
    task = build(SINGLE)
    entries = training_texts(task, 3, CPU, 0)
    roles = tuple(task.roles.index(attribute) for attribute in ATTRIBUTES)
    guess, seen = guesses(run.model, task, entries, roles), 0
    for e in range(3):
        for w in range(task.entry_width):
            if entries.roles_RW[e, w] in roles:
                logits = run.model(entries.ids_RW[None, e : e + 1, :w]).logits[0, 0, -1]
                assert guess[e, w] == logits.argmax()
                seen += 1
            else:
                assert guess[e, w] == entries.ids_RW[e, w]
    assert seen > 3 * 8 and guess[torch.isin(entries.roles_RW, torch.tensor(roles))].unique().numel() > 10


@torch.no_grad()
def test_an_encoder_sees_all_but_the_value() -> None:
    """Another value changes nothing; another text beside it does."""
    run, task = trained(SINGLE, causal=False), build(SINGLE)
    entries = training_texts(task, 4, CPU, 0)
    role = task.roles.index("university")
    told = entries.roles_RW == role
    guess = guesses(run.model, task, entries, (role,))
    other = entries._replace(ids_RW=torch.where(told, entries.ids_RW + 1, entries.ids_RW))
    assert guesses(run.model, task, other, (role,))[told].equal(guess[told])
    assert guess[~told].equal(entries.ids_RW[~told])
    before = entries._replace(ids_RW=torch.where(entries.roles_RW == 1, entries.ids_RW.flip(0), entries.ids_RW))
    assert not guesses(run.model, task, before, (role,))[told].equal(guess[told])
    assert len(recall.measure(run)) == 3 * len(ATTRIBUTES)


def test_people_are_spread_evenly_and_their_texts_are_those_of_training() -> None:
    config = BioSConfig(60, texts=2, permute=3, celebrities=20, entries_per_row=1, row_tokens=120)
    task = build(config)
    texts = training_texts(task, 15, CPU, stream=4)
    everybody = task.entries(torch.arange(60), torch.zeros(60, dtype=torch.long), "train")
    assert texts.ids_RW.equal(everybody.ids_RW[::4])
    # 6 texts a person, 5 of a celebrity, drawn in random order: hundreds of rows hold every one
    seen = {tuple(row) for row in task.rows(torch.arange(140 * 60), "train", 4).inputs_RT.tolist()}
    for ids, length in zip(texts.ids_RW.tolist(), texts.lengths_R.tolist(), strict=True):
        assert (*ids[:length], *[0] * (120 - length)) in seen


def test_what_was_read_is_recalled() -> None:
    config = dataclasses.replace(SINGLE, people=6)
    train = TrainConfig(steps=150, batch_rows=3, learning_rate=5e-3, warmup_steps=10, precision="float32")
    spec = RunSpec(config, ModelConfig(layers=1, heads=1, width=64), train)
    population = Population([spec], CPU)
    while population.step < population.steps:
        population.advance()
    model = population.model_of(0)

    def values(spec: RunSpec) -> dict[str, float]:
        return {row.quantity: row.value for row in recall.measure(Trained(spec, CPU, lambda step: model))}

    read, others = values(spec), values(override(spec, ["task.seed=1"]))
    for attribute in ATTRIBUTES:
        assert read[f"recall/attribute={attribute}"] == read[f"recall_first/attribute={attribute}"] == 1.0
        assert read[f"recall_untrained/attribute={attribute}"] == 0.0
        assert others[f"recall/attribute={attribute}"] <= 0.5, "of people that it never read of it knows nothing"


def test_a_run_on_questions_recalls_by_the_model_that_it_begins_with() -> None:
    run = trained(SINGLE)
    asked = RunSpec(QuestionsConfig(12), run.spec.model, TRAIN, run.spec)
    other = Decoder(run.spec.model, len(vocabulary_for(SINGLE)), (6,))
    begun = Trained(asked, CPU, lambda step: other, load_start=lambda: run.model)
    assert recall.measure(begun) == recall.measure(run) != []
    assert recall.measure(dataclasses.replace(begun, load_start=None)) == []


def test_a_run_on_something_else_is_named() -> None:
    config = BioDConfig(12, attributes=1, name_pools=(3, 3, 3), row_tokens=60)
    with pytest.raises(UserError, match="measure recall: got a run on bioD N=12, expected one on bioS or bioMixed"):
        recall.measure(trained(config))
