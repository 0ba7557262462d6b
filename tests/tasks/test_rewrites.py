"""bioR without a language model: what the grammar of rewrites writes, how probable it is, and that nothing is lost."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

import pytest
import torch
from rewritten_people import CPU, FORTY, PEOPLE, people, read

from physlm.errors import UserError
from physlm.measures import capacity
from physlm.measures.knowledge import knowledge
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.biography.augmentation import augmentation
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.extractor import Extractor
from physlm.tasks.biography.facts import FIELDS, Facts
from physlm.tasks.biography.pools import ATTRIBUTES
from physlm.tasks.biography.question_config import MixedConfig, QuestionsConfig
from physlm.tasks.biography.rewrite_audit import audit
from physlm.tasks.biography.rewrite_grammar import GENDERED
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.step import Population


@pytest.mark.parametrize("config", [
    FORTY, dataclasses.replace(FORTY, texts=0), dataclasses.replace(FORTY, pool_size=3, people=20),
    dataclasses.replace(FORTY, fullname=True),
], ids=("fixed", "fresh", "cut pools", "full names"))  # fmt: skip
def test_labels_hold_name_gender_and_values_of_the_people_of_bios(config: BioSConfig) -> None:
    facts, known = Facts(config.people, config.seed, config.pool_size), people(config)
    templates = read(dataclasses.replace(config, rewritten=False, texts=0, fullname=False), 1)
    for person, texts in enumerate(read(config, 8)):
        for text, spans in texts:
            assert spans["gender"] in {known[person][kind][0] for kind in GENDERED}
            told = {name: " ".join(fact) for name, fact in zip(FIELDS, facts.words(person), strict=True)}
            assert {name: spans[name] for name in FIELDS} == told
            assert " ".join(text).startswith(told["name"]) and text[-1] == "."
            assert {**templates[person][0][1], "gender": ""} == {**spans, "gender": ""}
            gendered = [word for word in text if word.lower() in ("he", "she", "his", "her", "him")]
            pronoun = templates[person][0][1]["gender"]
            assert gendered and {"He": {"he", "his", "him"}, "She": {"she", "her"}}[pronoun] >= set(
                map(str.lower, gendered))
            if not config.fullname:
                assert gendered[0] == spans["gender"] == pronoun.lower()


def test_forty_rewrites_of_a_person_are_forty_texts_in_forty_orders() -> None:
    for texts in read(FORTY, 40):
        assert len({text for text, _ in texts}) == 40
        orders = set()
        for text, spans in texts:
            line = f" {' '.join(text)} "
            by_length = sorted(ATTRIBUTES, key=lambda name: -len(spans[name]))  # Corning, NY before Corning
            places = {}
            for name in by_length:
                places[name] = line.find(f" {spans[name]} ")
                line = line.replace(f" {spans[name]} ", f" {'_' * len(spans[name])} ", 1)
            orders.add(tuple(sorted(ATTRIBUTES, key=places.__getitem__)))
        # somebody who works where they were born has two values that look alike
        alike = texts[0][1]["birth_city"] == texts[0][1]["employer_city"]
        assert alike or len(orders) == 40


def test_a_text_depends_on_seed_person_and_number_alone() -> None:
    forty = read(FORTY, 40)
    assert read(dataclasses.replace(FORTY, people=20, entries_per_row=2, texts=41), 40) == forty[:20]
    task = FORTY.build()
    for split, stream, person in (("train", 7, 5), ("validation", 0, 59)):
        entries = task.entries(torch.tensor([person]), torch.tensor([11]), split, stream)
        ids = entries.ids_RW[0, : entries.lengths_R[0]].tolist()
        assert tuple(task.vocabulary.words[i] for i in ids[1:-1]) == forty[person][11][0]
    again = task.entries(torch.tensor([5, 5]), torch.tensor([3, 43]))
    assert again.ids_RW[0].equal(again.ids_RW[1]), "after the last comes the first"
    other = read(dataclasses.replace(FORTY, seed=4), 40)
    assert not {text for texts in other for text, _ in texts} & {text for texts in forty for text, _ in texts}
    # of the same people, the form alone depends on the number
    assert len({spans["birth_date"] for _, spans in forty[0]}) == 1


@pytest.mark.parametrize("texts", [0, 40])
def test_rows_depend_on_split_stream_and_number_alone(texts: int) -> None:
    config = dataclasses.replace(FORTY, texts=texts)
    task, index = config.build(), torch.tensor([0, 3, 1000, 2**20])
    rows = task.rows(index).inputs_RT
    assert torch.cat([config.build().rows(one[None]).inputs_RT for one in index]).equal(rows)
    others = [task.rows(index, split, stream).inputs_RT for split in ("train", "evaluation") for stream in (0, 7)]
    assert others[0].equal(rows) and len({tuple(other.flatten().tolist()) for other in others}) == 4


def test_training_reads_each_rewrite_of_everybody() -> None:
    config = dataclasses.replace(FORTY, people=10, texts=4, entries_per_row=5, row_tokens=600)
    task = config.build()
    inputs = task.rows(torch.arange(100), "train", 2).inputs_RT.tolist()
    known = {text: (person, i) for person, texts in enumerate(read(config, 4)) for i, (text, _) in enumerate(texts)}
    count = Counter(
        known[tuple(text.split())] for row in inputs
        for text in " ".join(task.vocabulary.words[i] for i in row).split("<eos>")[1:6]
    )  # fmt: skip
    assert count.total() == 500 and set(count) == set(known.values()) and task.text_count(3) == 4
    assert all(sum(count[person, i] for i in range(4)) == 50 for person in range(10))
    assert dataclasses.replace(config, texts=0).build().text_count(3) is None


def test_the_extractor_reads_every_fact() -> None:
    found = audit(4000, seed=1)
    assert found.right >= 3996, found.wrong
    assert found.people == found.rewrites.distinct == 100


def test_the_extractor_knows_no_rule_of_the_grammar() -> None:
    """It reads the templates of bioS too, and makes up no fact that is left out."""
    extractor, config = Extractor(), BioSConfig(200, seed=5)
    facts, right = Facts(200, 5), 0
    for person, ((text, spans),) in enumerate(read(config, 1)):
        told = dict(zip((*FIELDS, "pronoun"), (*facts.of(person), spans["gender"]), strict=True))
        right += extractor.read(text) == told
        line, university = " ".join(text), spans["university"]
        assert "university" not in extractor.read(line.replace(university, "").split())
    assert right >= 196
    for line in ("Nobody did anything .", "was born in Reno , NV , or born in Boise , ID .", "lived in Reno , NV ."):
        assert extractor.read(line.split()) == {}


def test_rewrites_are_more_varied_than_templates() -> None:
    found = audit(2000)
    assert found.rewrites.forms > 1.5 * found.bios.forms
    assert found.rewrites.forms_a_person > found.bios.forms_a_person
    assert found.rewrites.fourgrams > found.bios.fourgrams


def test_the_information_is_that_of_bios() -> None:
    ours, theirs = (dataclasses.replace(FORTY, rewritten=on).build() for on in (True, False))
    assert ours.information_terms == theirs.information_terms and ours.value_roles == theirs.value_roles
    assert (ours.name_role, ours.roles) == (theirs.name_role, theirs.roles)
    named = dataclasses.replace(FORTY, fullname=True).build()
    assert named.information_terms == ours.information_terms, "full names leave the pronouns inside of sentences"


def test_celebrities_questions_and_mixed_rows_know_the_rewrites() -> None:
    config = dataclasses.replace(FORTY, texts=1, celebrities=5, questions=True)
    task = config.build()
    assert [task.text_count(person) for person in (0, 4, 5)] == [5, 5, 1]
    read_ = RunSpec(config, ModelConfig(layers=1, heads=1, width=8), TrainConfig(steps=1, batch_rows=2))
    asked = QuestionsConfig(PEOPLE, celebrities=5, seed=3, rewritten=True)
    assert asked.vocabulary().words == config.vocabulary().words == task.vocabulary.words
    assert RunSpec(asked, read_.model, read_.train, read_).start is read_
    mixed = MixedConfig(PEOPLE, texts=1, rewritten=True, share=0.5, row_tokens=100, entries_per_row=2)
    text = mixed.build().texts(torch.tensor([0, 1]))
    assert mixed.vocabulary().words == asked.vocabulary().words and {len(one.ids) > 40 for one in text} == {True, False}
    with pytest.raises(UserError, match="words"):
        RunSpec(dataclasses.replace(asked, rewritten=False), read_.model, read_.train, read_)


def test_who_has_learnt_the_people_loses_next_to_nothing_at_facts() -> None:
    """Of fresh forms: about 46 bits of form a text that nobody can know are no part of what is measured."""
    task = BioSConfig(4, entries_per_row=2, row_tokens=140, pool_size=3, rewritten=True)
    train = TrainConfig(steps=500, batch_rows=6, learning_rate=5e-3, warmup_steps=10, precision="float32")
    spec = RunSpec(task, ModelConfig(layers=1, heads=1, width=64), train)
    population = Population([spec], CPU, window=20)
    while population.step < population.steps:
        population.advance()
    model = population.model_of(0)
    rows = {row.label: row.value for row in capacity.measure(Trained(spec, CPU, lambda step: model))}
    assert 0.9 * rows["bits_max"] < rows["bits"] < rows["bits_max"] + 1e-6 and rows["bits_untrained"] < 1
    assert rows["name_nats"] == pytest.approx(math.log(4), abs=0.1)


def test_probes_stand_before_each_value() -> None:
    config = dataclasses.replace(FORTY, people=12)
    spec: Any = RunSpec(config, ModelConfig(layers=1, heads=1, width=8), TrainConfig(steps=1, precision="float32"))
    model = Decoder(spec.model, len(config.vocabulary()), (5,))
    found, facts, words = knowledge(Trained(spec, CPU, lambda step: model)), Facts(12, 3), config.vocabulary().words
    texts = found.biographies
    assert Counter(texts.people_B.tolist()) == {person: 5 for person in range(12)}
    for ids, places, person in zip(*(x.tolist() for x in (texts.ids_BT, texts.places_BP, texts.people_B)), strict=True):
        assert places == sorted(places)
        assert sorted(words[ids[p + 1]] for p in places) == sorted(fact[0] for fact in facts.words(person)[1:])


def test_settings_that_a_rewrite_does_not_have_are_refused() -> None:
    for name, value in (("permute", 1), ("couples", True), ("reverse", 2)):
        with pytest.raises(UserError, match=rf"task.{name}: got .* with task.rewritten=true; expected (0|false)"):
            dataclasses.replace(FORTY, **{name: value})  # type: ignore[arg-type]
    titles = [BioSConfig(7, rewritten=True, **more).title for more in ({}, {"texts": 40}, {"fresh": False})]
    assert titles == ["bioS rewritten N=7", "bioS multi40+rewritten N=7", "bioS single+rewritten N=7"]
    assert BioSConfig(7, **augmentation("multi5+rewritten+fullname")).augmentation == "multi5+rewritten+fullname"
