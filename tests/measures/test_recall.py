"""Recall against one softmax at a time, a planted memory, and texts that were really trained on."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from learning import learn
from torch import Tensor

from physlm.config import override
from physlm.errors import UserError
from physlm.measures import recall
from physlm.measures.recall import guesses, people_read, token_places, training_texts
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.biography.config import BioDConfig, BioSConfig
from physlm.tasks.biography.pools import ATTRIBUTES
from physlm.tasks.biography.question_config import MixedConfig, QuestionsConfig
from physlm.tasks.rows import Entries
from physlm.training.config import RunSpec, TrainConfig

CPU = torch.device("cpu")
TRAIN = TrainConfig(steps=1, precision="float32")
SINGLE = BioSConfig(12, texts=1, entries_per_row=2, row_tokens=160, questions=True)
CONFIGS = [SINGLE, BioSConfig(12, texts=2, permute=1, reverse=2, celebrities=3), BioSConfig(12, fullname=True),
           MixedConfig(12, texts=1)]  # fmt: skip


def trained(task: Any, causal: bool = True) -> Trained:
    spec = RunSpec(task, ModelConfig(layers=1, heads=1, width=16, causal=causal), TRAIN)
    model = Decoder(spec.model, len(task.vocabulary()), (5,))
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
    rows = {row.label: row for row in recall.measure(run)}
    task = (config.biographies if isinstance(config, MixedConfig) else config).build()
    roles_EW = training_texts(task, 12, CPU, TRAIN.seed).roles_RW
    expected: dict[str, float] = {}
    people = {"": range(12)}
    if config.celebrities:
        people |= {"_celebrities": range(3), "_others": range(3, 12)}
    for name in (*ATTRIBUTES, *(["name"] if config.reverse else [])):
        tokens = (roles_EW == task.roles.index(name)).sum(-1).tolist()
        base, rest = ("recall_name", "") if name == "name" else ("recall", f"/attribute={name}")
        for group, numbers in people.items():
            whole = sum(e % 3 == 0 or (e % 3 == 1 and tokens[e] == 1) for e in numbers)
            expected[f"{base}{group}{rest}"] = whole / len(numbers)
        expected |= {f"{base}_first{rest}": 8 / 12, f"{base}_untrained{rest}": 0.0}
    assert {name: row.value for name, row in rows.items()} == pytest.approx(expected)
    assert expected["recall/attribute=birth_date"] == 4 / 12
    for name, row in rows.items():
        assert row.n == {"celebrities": 3, "others": 9}.get(name.split("/")[0].split("_")[-1], 12)
        assert row.lo <= row.value <= row.hi and row.lo < row.hi


@torch.no_grad()
def test_guesses_are_the_likeliest_tokens_after_the_true_text() -> None:
    run = trained(SINGLE)
    task = SINGLE.build()
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
    run, task = trained(SINGLE, causal=False), SINGLE.build()
    entries = training_texts(task, 4, CPU, 0)
    role = task.roles.index("university")
    told = entries.roles_RW == role
    guess = guesses(run.model, task, entries, (role,))
    other = entries._replace(ids_RW=torch.where(told, entries.ids_RW + 1, entries.ids_RW))
    assert guesses(run.model, task, other, (role,))[told].equal(guess[told])
    assert guess[~told].equal(entries.ids_RW[~told])
    before = entries._replace(ids_RW=torch.where(entries.roles_RW == 1, entries.ids_RW.flip(0), entries.ids_RW))
    assert not guesses(run.model, task, before, (role,))[told].equal(guess[told])


def test_of_a_value_one_word_is_hidden_which_the_person_decides() -> None:
    """Against the words of each text: it is one of the value's, each about equally often, and a comma never."""
    config = BioSConfig(300, texts=2, permute=1, questions=True)
    task, words = config.build(), config.vocabulary().words
    entries = training_texts(task, 300, CPU, 0)
    person = people_read(task, 300, CPU)
    for attribute in ATTRIBUTES:
        role, drawn = task.roles.index(attribute), []
        places = token_places(task, entries, role, person)
        for ids, roles, place in zip(entries.ids_RW.tolist(), entries.roles_RW.tolist(), places.tolist(), strict=True):
            told = [w for w, kind in enumerate(roles) if kind == role and words[ids[w]] != ","]
            assert place in told and any(map(str.isalnum, words[ids[place]]))
            if len(told) == 3:
                drawn.append(told.index(place))
        for which in range(3) if len(drawn) > 90 else ():
            assert drawn.count(which) / len(drawn) == pytest.approx(1 / 3, abs=4 * (2 / 9 / len(drawn)) ** 0.5)
        assert attribute != "birth_date" or len(drawn) == 300
        few = [0, 7, 299]  # whoever else is read
        part = Entries(*(x[few] for x in entries))
        assert token_places(task, part, role, person[few]).equal(places[few])


def test_an_encoder_is_asked_for_single_tokens_of_its_own_biographies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted filling: it knows single tokens of every second person, and no value as a whole."""
    run = trained(SINGLE, causal=False)
    task = SINGLE.build()
    roles = {task.roles.index(attribute): attribute for attribute in ATTRIBUTES}
    entries = training_texts(task, 12, CPU, TRAIN.seed)
    asked: list[tuple[str, int]] = []

    def plant(model: Decoder, ids_EW: Tensor, lengths_E: Tensor, together: int) -> Tensor:
        assert lengths_E.min() > 30
        people = [int((entries.ids_RW[:, :4] == ids[:4]).all(-1).nonzero()) for ids in ids_EW]  # by the full name
        hidden_EW = ids_EW == model.vocabulary
        assert torch.where(hidden_EW, entries.ids_RW[people], ids_EW).equal(entries.ids_RW[people])
        filled = ids_EW.masked_fill(hidden_EW, model.vocabulary - 1)
        if model is run.model and hidden_EW.sum() == len(ids_EW) == hidden_EW.any(-1).sum():
            even = torch.tensor(people)[:, None] % 2 == 0
            filled = torch.where(hidden_EW & even, entries.ids_RW[people], filled)
            for person, hidden in zip(people, hidden_EW, strict=True):
                asked.append((roles[int(entries.roles_RW[person, hidden])], person))
        return filled

    monkeypatch.setattr(recall, "fill", plant)
    monkeypatch.setitem(recall.BATCH, "cpu", 5)  # several batches, the last one smaller
    rows = {row.label: row for row in recall.measure(run)}
    for attribute in ATTRIBUTES:
        row = rows[f"recall_token/attribute={attribute}"]
        assert (row.value, row.n) == (0.5, 12) and row.lo < 0.3 and row.hi > 0.7
        assert rows[f"recall_token_untrained/attribute={attribute}"].value == 0.0
        assert rows[f"recall_token_untrained/attribute={attribute}"].n == 12
        assert {person for name, person in asked if name == attribute} == set(range(12))
        assert attribute != "birth_date" or rows[f"recall/attribute={attribute}"].value == 0.0
    assert len(rows) == 5 * len(ATTRIBUTES)
    assert not any("recall_token" in row.label for row in recall.measure(trained(SINGLE))), "no masks, no such rows"


def test_people_who_are_all_of_one_group_have_no_rows_of_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """One person is read, the first, who is a celebrity."""
    monkeypatch.setitem(recall.PEOPLE, "cpu", 1)
    names = {row.label.split("/")[0] for row in recall.measure(trained(CONFIGS[1]))}
    assert "recall_celebrities" in names and "recall_others" not in names


@torch.no_grad()
def test_the_name_is_guessed_from_the_values_before_it() -> None:
    config = BioSConfig(12, texts=2, reverse=6, questions=True)
    run, task = trained(config), config.build()
    entries = training_texts(task, 12, CPU, 0)
    role = task.roles.index("name")
    told = entries.roles_RW == role
    assert told.sum(-1).tolist() == [3] * 12
    values = torch.isin(entries.roles_RW, torch.tensor([task.roles.index(attribute) for attribute in ATTRIBUTES]))
    assert (values.int().cumsum(-1)[told].view(12, 3) == values.sum(-1, keepdim=True)).all(), "all six are before it"
    guess, seen = guesses(run.model, task, entries, (role,)), 0
    for e, w in told.nonzero().tolist():
        seen += int(run.model(entries.ids_RW[None, e : e + 1, :w]).logits[0, 0, -1].argmax() == guess[e, w])
    assert seen == 36 and guess[~told].equal(entries.ids_RW[~told])


def test_people_are_spread_evenly_and_their_texts_are_those_of_training() -> None:
    config = BioSConfig(60, texts=2, permute=3, celebrities=20, entries_per_row=1, row_tokens=120)
    task = config.build()
    texts = training_texts(task, 15, CPU, stream=4)
    everybody = task.entries(torch.arange(60), torch.zeros(60, dtype=torch.long), "train")
    assert texts.ids_RW.equal(everybody.ids_RW[::4])
    # 6 texts a person, 5 of a celebrity, drawn in random order: hundreds of rows hold every one
    seen = {tuple(row) for row in task.rows(torch.arange(140 * 60), "train", 4).inputs_RT.tolist()}
    for ids, length in zip(texts.ids_RW.tolist(), texts.lengths_R.tolist(), strict=True):
        assert (*ids[:length], *[0] * (120 - length)) in seen


def values(spec: RunSpec, model: Decoder) -> dict[str, float]:
    return {row.label: row.value for row in recall.measure(Trained(spec, CPU, lambda step: model))}


def test_what_was_read_is_recalled() -> None:
    config = dataclasses.replace(SINGLE, people=6)
    train = TrainConfig(steps=150, batch_rows=3, learning_rate=5e-3, warmup_steps=10, precision="float32")
    spec = RunSpec(config, ModelConfig(layers=1, heads=1, width=64), train)
    model = learn(spec)
    read, others = values(spec, model), values(override(spec, ["task.seed=1"]), model)
    for attribute in ATTRIBUTES:
        assert read[f"recall/attribute={attribute}"] == read[f"recall_first/attribute={attribute}"] == 1.0
        assert read[f"recall_untrained/attribute={attribute}"] == 0.0
        assert others[f"recall/attribute={attribute}"] <= 0.5, "of people that it never read of it knows nothing"


def test_an_encoder_that_was_trained_enough_recalls_single_tokens_of_its_own_people() -> None:
    """So the control can be passed, and is not by random weights or about other people."""
    config = BioSConfig(4, texts=1, entries_per_row=3, row_tokens=150, pool_size=4)
    train = TrainConfig(steps=450, batch_rows=8, learning_rate=1e-2, weight_decay=0.0, warmup_steps=50,
                        precision="float32")  # fmt: skip
    spec = RunSpec(config, ModelConfig(layers=1, heads=4, width=64, causal=False), train)
    model = learn(spec)

    def mean(base: str, found: dict[str, float]) -> float:
        return sum(found[f"{base}/attribute={attribute}"] for attribute in ATTRIBUTES) / len(ATTRIBUTES)

    read, others = values(spec, model), values(override(spec, ["task.people=60", "task.seed=1"]), model)
    assert mean("recall_token", read) >= 0.8
    assert mean("recall_token_untrained", read) <= 0.25 and mean("recall_token", others) <= 0.6


def test_a_run_on_questions_recalls_by_the_model_that_it_begins_with() -> None:
    run = trained(SINGLE)
    asked = RunSpec(QuestionsConfig(12), run.spec.model, TRAIN, run.spec)
    other = Decoder(run.spec.model, len(SINGLE.vocabulary()), (6,))
    begun = Trained(asked, CPU, lambda step: other, load_start=lambda: run.model)
    assert recall.measure(begun) == recall.measure(run) != []
    assert recall.measure(dataclasses.replace(begun, load_start=None)) == []


def test_a_run_on_something_else_is_named() -> None:
    config = BioDConfig(12, attributes=1, name_pools=(3, 3, 3), row_tokens=60)
    with pytest.raises(UserError, match="got a run on bioD N=12, expected one on bioS, bioR or bioMixed, which"):
        recall.measure(trained(config))
