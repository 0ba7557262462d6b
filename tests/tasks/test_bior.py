"""bioR: what a text must tell, texts that are read exactly as they were written, files that must not change."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learning import learn
from rewritten_people import Read, read
from storyteller import PHRASES, stories, story, write

from physlm.config import content_hash, from_dict, to_dict
from physlm.errors import UserError
from physlm.measures import recall
from physlm.measures.knowledge import knowledge
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.biography.bior import BioR, with_name
from physlm.tasks.biography.config import BioRConfig, BioSConfig
from physlm.tasks.biography.exposure import exposures
from physlm.tasks.biography.facts import ABSENT, FIELDS, Facts, places
from physlm.tasks.biography.pools import ATTRIBUTES, load_pools, words
from physlm.tasks.biography.question_config import QuestionsConfig
from physlm.tasks.biography.texts import read_texts, tokenise
from physlm.training.config import RunSpec, TrainConfig

CPU = torch.device("cpu")
PEOPLE = 12


@given(st.text() | st.text("as'’_-.1é\u0301 "))
def test_no_sign_of_a_text_is_lost(text: str) -> None:
    tokens = tokenise(text)
    assert "".join(tokens) == "".join(unicodedata.normalize("NFC", text).replace("’", "'").split())
    assert all(token and not any(map(str.isspace, token)) for token in tokens)
    assert tokenise(" ".join(tokens)) == tokens


def test_every_value_and_name_has_the_same_tokens_in_a_text_as_alone() -> None:
    pools = load_pools()
    for pool in (pools.cities, pools.universities, pools.majors, pools.employers, pools.first_names,
                 pools.middle_names, pools.last_names):  # fmt: skip
        assert all(tokenise(value) == words(value) for value in pool)
    tokens = tokenise("(Anya Forger’s well-known_home: Reno, NV-based; 3rd!)")
    assert " ".join(tokens) == "( Anya Forger 's well - known _ home : Reno , NV - based ; 3rd ! )"


def test_facts_are_those_that_bios_tells() -> None:
    """Read off its labelled texts, in whole pools and in cut ones."""
    for pool_size in (0, 3):
        config = BioSConfig(30, seed=2, pool_size=pool_size)
        task, facts = config.build(), Facts(30, 2, pool_size)
        entries = task.entries(torch.arange(30), torch.zeros(30, dtype=torch.long))
        for person, (ids, roles) in enumerate(zip(entries.ids_RW, entries.roles_RW, strict=True)):
            told = [task.vocabulary.decode(ids[roles == task.roles.index(name)].tolist()) for name in FIELDS]
            assert tuple(told) == facts.of(person)


def test_a_text_is_accepted_if_and_only_if_it_tells_everything() -> None:
    """Texts of random subsets of the facts: what is missing is exactly what was left out."""
    draw, facts = random.Random(1), Facts(200)
    for person in range(200):
        told = [name for name in FIELDS if draw.random() < 0.8]
        found = places(tokenise(story(facts.of(person), draw, told)), facts.words(person))
        assert [name for name, place in zip(FIELDS, found, strict=True) if place != ABSENT] == told
        other = places(tokenise(story(facts.of((person + 1) % 200), draw)), facts.words(person))
        assert other[0] == ABSENT  # the control: somebody else's biography


@pytest.mark.parametrize(("text", "facts", "expected"), [
    ("in Ames , IA", ["Ames , IA", "Ames , IA"], [1, ABSENT]),  # once is not enough for two
    ("Ames , IA to Ames , IA", ["Ames , IA", "Ames , IA"], [0, 4]),
    ("Corning , NY", ["Corning", "Corning , NY"], [ABSENT, 0]),
    ("Corning , NY has Corning", ["Corning", "Corning , NY"], [4, 0]),
    ("Marine Biology", ["Biology"], [1]),
    ("Ames , Ames , IA", ["Ames , IA"], [2]),
    ("ames , IA", ["Ames , IA"], [ABSENT]),
    ("Ames ,", ["Ames , IA"], [ABSENT]),
    ("", ["Ames"], [ABSENT]),
])  # fmt: skip
def test_every_fact_has_a_place_of_its_own(text: str, facts: list[str], expected: list[int]) -> None:
    assert places(text.split(), [fact.split() for fact in facts]) == expected


def labelled(config: BioRConfig, draws: int) -> list[list[Read]]:
    """Words and spans of facts of the first so many texts of everybody."""
    return [[(text, {name: spans[name] for name in FIELDS}) for text, spans in mine] for mine in read(config, draws)]


@pytest.mark.parametrize("counts", [[1], [3], [1, 4, 2], [7]])
def test_texts_are_read_as_they_were_written(tmp_path: Path, counts: list[int]) -> None:
    """Each text of each person, whose labelled words are the facts; then the first again."""
    told = stories(PEOPLE, counts)
    config = BioRConfig(PEOPLE, file=write(tmp_path / "texts.jsonl", told))
    facts, most = Facts(PEOPLE), max(counts)
    task = config.build()
    assert task.entry_width == 2 + max(len(tokenise(text)) for mine in told for text in mine)
    for person, mine in enumerate(labelled(config, 2 * most)):
        count = len(told[person])
        assert task.text_count(person) == count  # type: ignore[attr-defined]
        written = [tokenise(text) for text in reversed(told[person])]  # the file is written backwards
        assert [text for text, _ in mine[:count]] == written
        assert mine[count:] == (mine * 2)[: 2 * most - count]
        for _, spans in mine:
            assert spans == {name: " ".join(fact) for name, fact in zip(FIELDS, facts.words(person), strict=True)}


@pytest.mark.parametrize("counts", [[1], [2, 5]])
def test_rows_are_the_texts_of_their_exposures(tmp_path: Path, counts: list[int]) -> None:
    """Everybody once an epoch, each of their texts equally often, and nothing but these texts."""
    told, k = stories(PEOPLE, counts), 4
    config = BioRConfig(PEOPLE, file=write(tmp_path / "t.jsonl", told), entries_per_row=k, row_tokens=1000)
    task, epochs = config.build(), 200
    rows = epochs * PEOPLE // k
    batch = task.rows(torch.arange(rows), "train", 4)
    assert batch.inputs_RT[5:6].equal(task.rows(torch.tensor([5]), "train", 4).inputs_RT)
    people = exposures(torch.arange(rows * k), PEOPLE, 4, "train").person_E.tolist()
    assert all(len(set(people[i : i + PEOPLE])) == PEOPLE for i in range(0, len(people), PEOPLE))
    words_of, read = task.vocabulary.words, Counter[tuple[int, int]]()
    numbers = [{tokenise(text): i for i, text in enumerate(mine)} for mine in told]
    for row, (inputs, targets) in enumerate(zip(batch.inputs_RT.tolist(), batch.targets_RT.tolist(), strict=True)):
        assert [t for t in targets if t >= 0] == inputs[1 : 1 + sum(t >= 0 for t in targets)]
        texts = " ".join(words_of[i] for i in inputs).split("<eos>")[1 : k + 1]
        for person, text in zip(people[row * k : (row + 1) * k], texts, strict=True):
            read[person, numbers[person][tuple(text.split())]] += 1
    assert set(read) == {(person, i) for person in range(PEOPLE) for i in range(len(told[person]))}
    for (person, _), times in read.items():
        share = 1 / len(told[person])
        assert abs(times - epochs * share) <= 5 * math.sqrt(epochs * share * (1 - share))


def test_the_first_texts_of_each_person_are_used(tmp_path: Path) -> None:
    told = stories(PEOPLE, [3, 4])
    base = BioRConfig(PEOPLE, file=write(tmp_path / "t.jsonl", told))
    two, whole = labelled(dataclasses.replace(base, texts=2), 2), labelled(base, 2)
    assert two == whole
    assert labelled(dataclasses.replace(base, texts=2), 4) == [mine * 2 for mine in two]
    few = dataclasses.replace(base, people=5, texts=1)
    assert labelled(few, 1) == [mine[:1] for mine in whole[:5]]
    assert few.vocabulary().words == base.vocabulary().words
    with pytest.raises(UserError, match=r"fewer than 4 texts of 6 of the 12 people: 0, 2, 4, 6, 8, 10; expected at"):
        dataclasses.replace(base, texts=4).build()


def test_the_full_name_stands_for_pronouns_that_begin_sentences(tmp_path: Path) -> None:
    opened = with_name(tokenise("She saw him, as He did. He, she! They? She"), ("A", "B", "C"))
    assert " ".join(opened) == "A B C saw him , as He did . A B C , she ! They ? A B C"
    told = stories(PEOPLE, [2])
    plain = BioRConfig(PEOPLE, file=write(tmp_path / "t.jsonl", told))
    full, facts = dataclasses.replace(plain, fullname=True), Facts(PEOPLE)
    for person, (before, after) in enumerate(zip(labelled(plain, 2), labelled(full, 2), strict=True)):
        name = facts.words(person)[0]
        for (old, spans), (new, others) in zip(before, after, strict=True):
            assert new == with_name(old, name) and others == spans and not {"He", "She"} & set(new)


def test_a_changed_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    told = stories(PEOPLE, [2])
    file = write(tmp_path / "t.jsonl", told)
    config, questions = BioRConfig(PEOPLE, file=file), QuestionsConfig(PEOPLE, file=file)
    assert config == from_dict(BioRConfig, to_dict(config)) and len(config.sha256) == 64
    read_texts.cache_clear()
    write(tmp_path / "t.jsonl", [[text.replace("quietly", "loudly") for text in mine] for mine in told])
    for old in (config, questions):
        with pytest.raises(UserError, match=r"task.sha256: got .* the texts have changed; expected the file as it was"):
            from_dict(type(old), to_dict(old))
    with pytest.raises(UserError, match="the texts have changed"):
        config.build()
    new = BioRConfig(PEOPLE, file=file)
    assert content_hash(new) != content_hash(config) and "loudly" in new.vocabulary().words
    write(tmp_path / "t.jsonl", told)
    assert BioRConfig(PEOPLE, file=file) == config and config.build().vocabulary.words == config.vocabulary().words


def test_what_is_wrong_with_a_file_is_named(tmp_path: Path) -> None:
    told = stories(PEOPLE, [1])
    told[3], told[7] = [], []
    with pytest.raises(UserError, match="t.jsonl has no text of 2 of the 12 people: 3, 7; expected at least 1 of"):
        BioRConfig(PEOPLE, file=write(tmp_path / "t.jsonl", told)).build()
    told = stories(PEOPLE, [1])
    city = Facts(PEOPLE).of(4)[2]
    told[4] = [told[4][0].replace(city, "nowhere")]
    message = rf"t.jsonl line {PEOPLE - 4}: the text of person 4 does not have the birth city '{city}'"
    with pytest.raises(UserError, match=message):
        BioRConfig(PEOPLE, file=write(tmp_path / "t.jsonl", told)).build()
    with pytest.raises(UserError, match="does not have the name .* accepts with --seed 1 --pool-size 0"):
        BioRConfig(PEOPLE, seed=1, file=write(tmp_path / "t.jsonl", stories(PEOPLE, [1]))).build()
    with pytest.raises(UserError, match="none.jsonl: cannot read: No such file"):
        BioRConfig(PEOPLE, file=str(tmp_path / "none.jsonl"))
    for call in (BioRConfig.build, BioRConfig.vocabulary):
        with pytest.raises(UserError, match="task.file: got '', expected a file of JSON lines"):
            call(BioRConfig(PEOPLE))
    with pytest.raises(UserError, match="task.sha256: got 'ab' with task.file=''"):
        BioRConfig(PEOPLE, sha256="ab")


def spec_of(task: Any, start: RunSpec | None = None, steps: int = 2, **train: Any) -> RunSpec:
    settings = TrainConfig(steps=steps, batch_rows=3, warmup_steps=10, precision="float32", **train)
    return RunSpec(task, ModelConfig(layers=1, heads=1, width=64), settings, start)


def test_what_was_read_is_recalled_and_can_be_asked(tmp_path: Path) -> None:
    """From a file to a finetuned run: one vocabulary all the way; without the file's words it does not fit."""
    file = write(tmp_path / "t.jsonl", stories(6, [1], worlds=[(0, 3)], name_first=True))
    task = BioRConfig(6, file=file, entries_per_row=2, row_tokens=220, pool_size=3)
    read = spec_of(task, steps=200, learning_rate=5e-3)
    model = learn(read)
    rows = {row.label: row.value for row in recall.measure(Trained(read, CPU, lambda step: model))}
    assert len(rows) == 3 * len(ATTRIBUTES)
    for attribute in ATTRIBUTES:
        assert rows[f"recall/attribute={attribute}"] == rows[f"recall_first/attribute={attribute}"] == 1.0
        assert rows[f"recall_untrained/attribute={attribute}"] == 0.0
    asked = spec_of(QuestionsConfig(6, row_tokens=100, pool_size=3, file=file), read)
    assert asked.task.vocabulary().words == read.task.vocabulary().words == asked.task.build().vocabulary.words
    tuned = learn(asked, model)
    assert recall.measure(Trained(asked, CPU, lambda step: tuned, load_start=lambda: model)) == recall.measure(
        Trained(read, CPU, lambda step: model))
    with pytest.raises(UserError, match=r"bioR N=6 has \d+ words, bioQA retrieval train half N=6 has \d+; word"):
        spec_of(QuestionsConfig(6, pool_size=3), read)


def test_probes_read_before_each_value_of_up_to_five_texts(tmp_path: Path) -> None:
    config = BioRConfig(PEOPLE, file=write(tmp_path / "t.jsonl", stories(PEOPLE, [2, 7])))
    spec = spec_of(config)
    model = Decoder(spec.model, len(config.vocabulary()), (5,))
    task, asked, facts = BioR(config), knowledge(Trained(spec, CPU, lambda step: model)), Facts(PEOPLE)
    texts = asked.biographies
    assert Counter(texts.people_B.tolist()) == {person: (2, 5)[person % 2] for person in range(PEOPLE)}
    assert len({tuple(ids) for ids in texts.ids_BT.tolist()}) == len(texts.ids_BT)
    vocabulary = task.vocabulary.words
    for ids, found, person in zip(*(x.tolist() for x in (texts.ids_BT, texts.places_BP, texts.people_B)), strict=True):
        assert found == sorted(found) and len(set(found)) == len(ATTRIBUTES)
        begun = sorted(vocabulary[ids[place + 1]] for place in found)
        assert begun == sorted(fact[0] for fact in facts.words(person)[1:])
    assert [[vocabulary[i] for i in ids[1:4]] for ids in asked.names.ids_BT.tolist()] == [
        list(facts.words(person)[0]) for person in range(PEOPLE)]


def test_bits_are_those_of_bios_without_the_gender(tmp_path: Path) -> None:
    file = write(tmp_path / "t.jsonl", stories(PEOPLE, [1]))
    ours, theirs = (config.build().information_terms for config in (BioRConfig(PEOPLE, file=file), BioSConfig(PEOPLE)))
    assert (ours.people, ours.names, ours.value_bits) == (theirs.people, theirs.names, pytest.approx(
        theirs.value_bits - 1))


def test_names_of_runs_tell_what_is_read() -> None:
    assert BioRConfig(7).title == "bioR N=7" and BioRConfig(7).slug == "bioR-7"
    both = BioRConfig(7000, texts=5, fullname=True)
    assert (both.title, both.slug) == ("bioR multi5+fullname N=7,000", "bioR-7000-multi5+fullname")
    assert BioRConfig(7, texts=1).title == "bioR single N=7"


def test_the_tests_own_language_model_tells_what_it_should(tmp_path: Path) -> None:
    """The control: its phrases hold one value each, and its files a text a line."""
    assert set(PHRASES) == set(FIELDS) and all(p.count("{}") == 1 for ps in PHRASES.values() for p in ps)
    lines = [json.loads(line) for line in Path(write(tmp_path / "t", stories(3, [2]))).read_text().splitlines()]
    assert [line["person"] for line in lines] == [2, 2, 1, 1, 0, 0]
