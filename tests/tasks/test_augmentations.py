"""The augmented bioS datasets: how many texts a person has, who opens a sentence, in which order, how often."""

import re
from collections import Counter
from typing import Any

import pytest
import torch

from physlm.config import content_hash
from physlm.errors import UserError
from physlm.tasks.biography.augmentation import AUGMENTATIONS, COUPLES, REVERSED, augmentation
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.pools import ATTRIBUTES

PEOPLE = 12


def texts(config: BioSConfig, draws: int = 1) -> list[list[list[tuple[str, str]]]]:
    """(word, role) of every token, by person and draw."""
    task = config.build()
    person = torch.arange(config.people).repeat_interleave(draws)
    entries = task.entries(person, torch.arange(draws).repeat(config.people))
    words, roles = task.vocabulary.words, task.roles
    rows = [[(words[i], roles[r]) for i, r in zip(ids, codes, strict=True) if r][1:-1]
            for ids, codes in zip(entries.ids_RW.tolist(), entries.roles_RW.tolist(), strict=True)]
    assert int(entries.lengths_R.max()) <= task.entry_width
    return [rows[i : i + draws] for i in range(0, len(rows), draws)]


def sentences(text: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Cut after each full stop."""
    found: list[list[tuple[str, str]]] = [[]]
    for token in text:
        found[-1].append(token)
        if token[0] == ".":
            found.append([])
    return found[:-1]


def order(text: list[tuple[str, str]]) -> tuple[int, ...]:
    """The attribute of each sentence."""
    told = [{role for _, role in sentence} & set(ATTRIBUTES) for sentence in sentences(text)]
    return tuple(ATTRIBUTES.index(found.pop()) for found in told if found)


def wording(text: list[tuple[str, str]]) -> frozenset[str]:
    """The sentences in no order, without their subjects."""
    return frozenset(" ".join(word for word, role in sentence if role not in ("name", "gender"))
                     .removeprefix("He ").removeprefix("She ") for sentence in sentences(text))


@pytest.mark.parametrize("name", [*AUGMENTATIONS, *COUPLES, *REVERSED])
def test_each_dataset_has_the_texts_that_its_name_says(name: str) -> None:
    config = BioSConfig(people=PEOPLE, **augmentation(name))
    assert config.augmentation == name
    parts = name.split("+")
    m = int(parts[0].removeprefix("multi")) if "multi" in name else 1
    p = next((int(re.sub("[a-z]+", "", part) or 1) for part in parts if part[:6] in ("permut", "couple")), 0)
    count = m * max(1, p)
    task = config.build()
    assert task.text_count(0) == count
    written = texts(config, 2 * count)
    for person in written:
        assert person[:count] == person[count:]  # nothing but these texts
        if not p:
            assert {order(text) for text in person} == {(0, 1, 2, 3, 4, 5)}
        if "fullname" not in name and "reverse" not in name:
            assert len({wording(text) for text in person}) == m  # permutations leave the sentences alone
        if "couple" in name:
            assert all(a[::2] == (a[0], a[2], a[4]) and all(b == a + 1 and a % 2 == 0 for a, b in
                       zip(a[::2], a[1::2], strict=True)) for a in map(order, person))
    orders = {order(text) for person in written for text in person}
    assert (len(orders) > 3) == bool(p)  # the control: unpermuted texts have one order
    assert len(orders) <= 6 or "couple" not in name


@pytest.mark.parametrize("reverse", range(7))
def test_the_name_comes_after_as_many_sentences(reverse: int) -> None:
    for (text,) in texts(BioSConfig(people=PEOPLE, texts=1, reverse=reverse)):
        parts = sentences(text)
        assert len(parts) == (7 if reverse == 6 else 6)
        named = ["name" in {role for _, role in part} for part in parts]
        assert named.index(True) == reverse and sum(named) == 1
        pronouns = [i for i, part in enumerate(parts) if part[0][0] in ("He", "She")]
        assert pronouns == [i for i in range(len(parts)) if i != reverse or i == 6]
        assert sum(role == "gender" for _, role in text) == 1
        if reverse == 6:
            assert [word for word, _ in parts[-1]][1] == "was" and [role for _, role in parts[-1]][2:5] == ["name"] * 3


def test_a_full_name_opens_every_sentence() -> None:
    plain = texts(BioSConfig(people=PEOPLE, texts=1))
    full = texts(BioSConfig(people=PEOPLE, texts=1, fullname=True))
    for (text,), (other,) in zip(full, plain, strict=True):
        name = tuple(word for word, role in other if role == "name")
        assert all(tuple(word for word, _ in part[:3]) == name for part in sentences(text))
        assert not {"He", "She"} & {word for word, _ in text}
        # the name that opens the text is scored, its repetitions are not
        assert sum(role == "name" for _, role in text) == 3 and not any(role == "gender" for _, role in text)
    bits = [BioSConfig(people=9, fullname=full).build().information_terms.value_bits for full in (False, True)]
    assert bits[0] - bits[1] == pytest.approx(1.0)  # no pronoun, no gender
    assert len(BioSConfig(people=9, fullname=True).build().value_roles) == 5


def test_more_texts_keep_the_first_ones() -> None:
    """single is the first text of multi5, and bioS-simple is single+permute1."""
    five = texts(BioSConfig(people=PEOPLE, texts=5), 5)
    assert [person[:1] for person in five] == texts(BioSConfig(people=PEOPLE, texts=1))
    assert all(len({tuple(text) for text in person}) == 5 for person in five)
    assert texts(BioSConfig(people=PEOPLE, fresh=False)) == texts(BioSConfig(people=PEOPLE, texts=1, permute=1))


def test_training_reads_every_text_equally_often() -> None:
    from scipy import stats

    config = BioSConfig(people=4, texts=2, permute=2, entries_per_row=1, row_tokens=80)
    task = config.build()
    rows = [tuple(row) for row in task.rows(torch.arange(4000)).inputs_RT[:, 1:40].tolist()]
    known = {tuple(row[1:40]): i for i, row in enumerate(
        task.entries(torch.arange(4).repeat_interleave(4), torch.arange(4).repeat(4)).ids_RW.tolist())}
    counts = Counter(known[row] for row in rows)
    assert len(known) == 16 and stats.chisquare([counts[i] for i in range(16)]).pvalue > 1e-4
    other = [tuple(row) for row in task.rows(torch.arange(4000), stream=1).inputs_RT[:, 1:40].tolist()]
    assert rows != other and set(rows) == set(other)


def test_celebrities_have_five_texts_and_five_places_in_an_epoch() -> None:
    config = BioSConfig(people=30, celebrities=10, texts=1, permute=1, entries_per_row=1, row_tokens=80)
    task = config.build()
    assert [task.text_count(i) for i in (0, 9, 10, 29)] == [5, 5, 1, 1]
    written = texts(config, 10)
    assert [len({tuple(text) for text in person}) for person in written] == [5] * 10 + [1] * 20
    names = {tuple(w for w, r in person[0] if r == "name"): i for i, person in enumerate(written)}
    words = task.vocabulary.words
    epoch = 5 * 10 + 20
    read = [names[tuple(words[i] for i in row[1:4])] for row in task.rows(torch.arange(2 * epoch)).inputs_RT.tolist()]
    for half in (read[:epoch], read[epoch:]):
        assert [Counter(half)[i] for i in range(30)] == [5] * 10 + [1] * 20
    assert read[:epoch] != read[epoch:]
    five = texts(BioSConfig(people=30, texts=5, permute=1), 5)
    assert [person[:5] for person in written[:10]] == five[:10]


def test_celebrities_are_permuted_where_the_others_keep_the_published_order() -> None:
    written = texts(BioSConfig(people=30, celebrities=10, texts=1), 5)
    assert all({order(text) for text in person} == {(0, 1, 2, 3, 4, 5)} for person in written[10:])
    assert all(len({order(text) for text in person}) > 1 for person in written[:10])
    permuted = texts(BioSConfig(people=30, celebrities=10, texts=1, permute=1), 5)
    assert written[:10] == permuted[:10], "their texts are the same whatever the others' are"


@pytest.mark.parametrize("celebrities", [0, 20])
def test_a_window_holds_two_texts_of_one_person_no_more_often_than_chance(celebrities: int) -> None:
    """Entries are shuffled before they are packed; the control packs one person's texts together."""
    from scipy import stats

    config = BioSConfig(people=100, celebrities=celebrities, texts=5, permute=1, entries_per_row=6, row_tokens=420)
    task = config.build()
    people = task._exposures(torch.arange(6 * 3000), 0, "train").person_E.view(-1, 6)
    pairs, twice = 3000 * 15, int(sum((people[:, i] == people[:, j]).sum() for i in range(6) for j in range(i)))
    weights = torch.tensor([5.0 if i < celebrities else 1.0 for i in range(100)])
    chance = float(((weights / weights.sum()) ** 2).sum())
    assert stats.binomtest(twice, pairs, chance, alternative="greater").pvalue > 1e-4
    together = (torch.arange(6 * 3000) // 5 % 100).view(-1, 6)
    control = int(sum((together[:, i] == together[:, j]).sum() for i in range(6) for j in range(i)))
    assert stats.binomtest(control, pairs, chance, alternative="greater").pvalue < 1e-9
    # and the rows are those of these people
    names = {tuple(task.entries(torch.tensor([i]), torch.tensor([0])).ids_RW[0, 1:4].tolist()): i for i in range(100)}
    assert [names[tuple(row[1:4])] for row in task.rows(torch.arange(50)).inputs_RT.tolist()] == people[:50, 0].tolist()


@pytest.mark.parametrize(("settings", "message"), [
    (dict(texts=-1), "task.texts: got -1, expected between 0 and 16,384"),
    (dict(texts=2, fresh=False), "task.fresh: got false with task.texts=2"),
    (dict(permute=2), "task.permute: got 2 with task.texts=0"),
    (dict(texts=1, couples=True), "task.couples: got true with task.permute=0"),
    (dict(texts=1, fullname=True, reverse=6), "task.reverse: got 6 with task.fullname=true"),
    (dict(reverse=7), "task.reverse: got 7, expected between 0 and 6"),
    (dict(people=9, texts=1, celebrities=9), "task.celebrities: got 9, expected between 0 and 8"),
    (dict(celebrities=9), "task.celebrities: got 9 with task.texts=0"),
])  # fmt: skip
def test_settings_that_contradict_each_other_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        BioSConfig(**settings)


@pytest.mark.parametrize("name", ["multi0", "single+fullname+permute", "multi5 + permute", "reverse6", "single+x"])
def test_unknown_names_are_told_the_known_ones(name: str) -> None:
    with pytest.raises(UserError, match=r"multi5\+permute"):
        augmentation(name)


def test_names_of_runs() -> None:
    """Those of before stay; each dataset has its own."""
    assert BioSConfig(people=7).slug == BioSConfig(people=7, fresh=False).slug == "bioS-7"
    assert BioSConfig(people=7, **augmentation("multi5+permute")).title == "bioS multi5+permute N=7"
    configs = [BioSConfig(**augmentation(name)) for name in (*AUGMENTATIONS, *COUPLES, *REVERSED)]
    configs.append(BioSConfig(texts=1, celebrities=3))
    for names in ({c.slug for c in configs}, {c.title for c in configs}, {content_hash(c) for c in configs}):
        assert len(names) == 16 + 3 + 4 + 1
