"""Junk beside useful people: its share, who is in it, how fresh it is, and that only useful people are measured."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from physlm.errors import UserError
from physlm.measures.capacity import capacity_rows
from physlm.measures.losses import lookup_losses, person_losses
from physlm.models.config import ModelConfig
from physlm.tasks.biography import mixed
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.junk_config import DOMAIN, JunkConfig
from physlm.training.config import RunSpec, TrainConfig

CPU = torch.device("cpu")
PEOPLE = 40
CONFIG = JunkConfig(PEOPLE, junk=2_000, share=0.875, entries_per_row=2, row_tokens=200)


def names_of(config: JunkConfig, rows: int, split: str = "train") -> tuple[list[tuple[str, ...]], list[bool]]:
    """The name in each text of some rows' worth of training, and whether its person is a useful one."""
    texts = config.build().texts(torch.arange(rows), split)
    words = config.vocabulary().words
    names = [tuple(words[i] for i, label in zip(text.ids, text.labels, strict=True) if label == "name")
             for text in texts]
    return names, [text.about["person"] < config.people for text in texts]


def full_names(config: BioSConfig) -> set[tuple[str, ...]]:
    task, words = config.build(), config.vocabulary().words
    starts = task.tables.names
    return {tuple(words[i] for i in task.tables.pool[start : start + 3].tolist()) for start in starts.tolist()}


def useful_rows(config: JunkConfig, rows: int) -> Tensor:
    """Whether each of the first rows holds useful people: names of useful people are in them, and of no others."""
    known, words = full_names(config.biographies), config.vocabulary().words
    found = []
    for row in config.build().rows(torch.arange(rows)).inputs_RT.tolist():
        text = [words[i] for i in row]
        triples = set(zip(text, text[1:], text[2:], strict=False))
        found.append(bool(triples & known))
    return torch.tensor(found)


@settings(max_examples=12, deadline=None)
@given(share=st.sampled_from([0.0, 0.125, 0.5, 0.8, 0.875, 0.95]))
def test_the_share_of_rows_is_that_of_the_settings_and_spread_evenly(share: float) -> None:
    useful = useful_rows(dataclasses.replace(CONFIG, share=share), 240)
    assert int(useful.sum()) == round(240 * (1 - share))
    counts = useful.view(6, 40).sum(-1)
    assert int(counts.max() - counts.min()) <= 1


def test_useful_rows_are_those_of_bios_in_order() -> None:
    config = CONFIG
    rows, alone = config.build().rows(torch.arange(64)), config.biographies.build().rows(torch.arange(8))
    useful = useful_rows(config, 64)
    for mine, theirs in zip(rows, alone, strict=True):
        assert mine[useful].equal(theirs), "nothing is between an <eos> and a name without <domain>"


@pytest.mark.parametrize("share", [0.0, 0.375, 0.999, 1.0])
def test_two_sorts_of_rows_are_made_apart_or_together(share: float) -> None:
    """As a CPU and as a GPU make them; of a few rows all may be of one sort."""
    useful, others = CONFIG.biographies.build(), dataclasses.replace(CONFIG.biographies, seed=9).build()
    for index in (torch.arange(3), torch.arange(990, 1010), torch.tensor([7])):
        before, second = mixed.placed(index, share, 1000)
        sorts = (others.rows, before), (useful.rows, index - before)
        apart, together = (make(second, *sorts) for make in (mixed._apart, mixed._together))
        assert all(a.equal(b) and a.dtype == b.dtype for a, b in zip(apart, together, strict=True))
        for place, (of_second, number) in enumerate(zip(second.tolist(), before.tolist(), strict=True)):
            task, own = (others, number) if of_second else (useful, int(index[place]) - number)
            assert apart.inputs_RT[place].equal(task.rows(torch.tensor([own])).inputs_RT[0])


def test_no_useful_person_is_in_junk_and_no_two_people_have_one_name() -> None:
    names, useful = names_of(CONFIG, 1600)
    known = full_names(CONFIG.biographies)
    assert all((name in known) == mine for name, mine in zip(names, useful, strict=True))
    junk = [name for name, mine in zip(names, useful, strict=True) if not mine]
    assert len(junk) == 1400 and len(set(junk)) == 1400, "each of 2,000 others is read once before any is read again"


def test_others_are_the_further_people_of_one_bios() -> None:
    """Worked out as they are read, or looked up: the same names, genders and values."""
    everybody = BioSConfig(PEOPLE + 30).build()
    task = dataclasses.replace(CONFIG, junk=30, share=0.5).build()
    words = task.vocabulary.words
    for text in task.texts(torch.arange(1, 120, 2), "train"):
        person = torch.tensor([text.about["person"]])
        assert PEOPLE <= int(person) < PEOPLE + 30
        whole = everybody.entries(person, torch.zeros(1, dtype=torch.long), "train")
        for label in ("name", "gender", "birth_date", "birth_city", "university", "major", "employer", "employer_city"):
            role = everybody.roles.index(label)
            told = [words[i] for i, of in zip(text.ids, text.labels, strict=True) if of == label]
            assert told == [words[i] for i in whole.ids_RW[whole.roles_RW == role].tolist()], label


@pytest.mark.parametrize(("junk", "again"), [(100_000_000, 0), (25, 3)])
def test_huge_junk_is_never_read_again_and_small_junk_is(junk: int, again: int) -> None:
    names, useful = names_of(dataclasses.replace(CONFIG, junk=junk, share=0.5), 200)
    others = [name for name, mine in zip(names, useful, strict=True) if not mine]
    assert len(others) == 100 == len(set(others)) * (1 + again)


def test_repeated_junk_has_fresh_texts() -> None:
    texts = dataclasses.replace(CONFIG, junk=1, share=0.5).build().texts(torch.arange(1, 60, 2), "train")
    assert {text.about["person"] for text in texts} == {PEOPLE}
    assert len({tuple(text.ids) for text in texts}) == len(texts)


def test_the_domain_stands_before_useful_texts_and_nowhere_else() -> None:
    config = dataclasses.replace(CONFIG, domain=True, share=0.5)
    task, plain = config.build(), CONFIG.biographies.build()
    (domain,) = task.vocabulary.encode([DOMAIN])
    for text in task.texts(torch.arange(100), "train"):
        where = [place for place, i in enumerate(text.ids) if i == domain]
        assert where == ([1] if text.about["person"] < PEOPLE else []) and text.labels[1] in ("text", "name")
    inputs = task.rows(torch.arange(100)).inputs_RT
    assert bool(((inputs == domain).sum(-1) == torch.arange(100).remainder(2).eq(0) * 2).all())
    everybody, zero = torch.arange(PEOPLE), torch.zeros(PEOPLE, dtype=torch.long)
    told, alone = task.entries(everybody, zero), plain.entries(everybody, zero)
    assert bool((told.ids_RW[:, 1] == domain).all()) and told.lengths_R.equal(alone.lengths_R + 1)
    assert task.entry_width == plain.entry_width + 1
    assert torch.cat((told.ids_RW[:, :1], told.ids_RW[:, 2:]), 1).equal(alone.ids_RW)
    assert not (CONFIG.build().rows(torch.arange(100)).inputs_RT == domain).any()


@pytest.mark.parametrize("domain", [False, True])
def test_only_useful_people_are_counted(domain: bool) -> None:
    """Knowing half of them by heart is half of their values; whoever is in junk adds nothing."""
    task = dataclasses.replace(CONFIG, domain=domain).build()
    terms, alone = task.information_terms, CONFIG.biographies.build().information_terms
    assert terms == alone and terms.people == PEOPLE
    known = torch.arange(PEOPLE) < PEOPLE // 2
    losses = person_losses(task, lookup_losses(task, known), CPU)
    rows = {row.quantity: row.value for row in capacity_rows(terms, losses, 1, 1)}
    assert rows["bits_value"] == pytest.approx(PEOPLE / 2 * terms.value_bits)
    assert rows["bits_max"] == pytest.approx(PEOPLE * (math.log2(1.6e8 / PEOPLE) + terms.value_bits))


@given(people=st.integers(1, 5_000), share=st.integers(0, 999), exposures=st.integers(1, 50))
def test_exposures_are_of_useful_people(people: int, share: int, exposures: int) -> None:
    """All useful rows of a run hold everybody so many times, and not once more than a step's rounding."""
    task = JunkConfig(people, junk=10, share=share / 1000, entries_per_row=1)
    spec = RunSpec(task, ModelConfig(1, 1, 8), TrainConfig(exposures=exposures, batch_rows=7))
    read = spec.steps * 7
    useful = read - read * share // 1000
    assert useful >= exposures * people
    assert (useful - exposures * people) * 1000 <= (exposures + 7) * 1000 + (1000 - share)


@pytest.mark.parametrize(("change", "message"), [
    ({"share": 1.0}, r"task\.share: got 1\.0, expected a multiple of 0\.001 from 0\.0 to below 1\.0"),
    ({"share": 0.12345}, r"task\.share: got 0\.12345, expected a multiple"),
    ({"junk": 0}, r"task\.junk: got 0, expected at least 1"),
    ({"junk": 160_000_000}, r"task\.junk: got 160,000,000, expected at most 159,999,960"),
    ({"people": 0}, r"task\.people: got 0, expected at least 1"),
])
def test_what_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(CONFIG, **change)  # type: ignore[arg-type]
