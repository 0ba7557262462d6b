"""The texts of P- and Q-probes: places, labels, and the split over people."""

from __future__ import annotations

import pytest
import torch

from physlm.errors import UserError
from physlm.measures import knowledge_texts
from physlm.measures.knowledge_texts import (
    ABSENT,
    PADDING,
    Texts,
    p_texts,
    q_texts,
    role_tokens,
    shuffled_people,
    texts_source,
    train_half,
    value_targets,
)
from physlm.measures.probes import IGNORE
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.pools import ATTRIBUTES
from physlm.tasks.rows import Entries
from physlm.tasks.task import BiographyTask

PEOPLE = 60


def bios() -> BiographyTask:
    return BioSConfig(people=PEOPLE, entries_per_row=1, row_tokens=100).build()


def biographies() -> tuple[Entries, dict[str, int]]:
    person = torch.arange(PEOPLE)
    task = bios()
    return task.entries(person, torch.zeros_like(person)), {name: task.roles.index(name) for name in ATTRIBUTES}


def toy(people: int = 10, each: int = 3) -> Texts:
    who = torch.arange(people).repeat_interleave(each)
    ids = torch.arange(people * each)[:, None].expand(-1, 4)
    return Texts(ids, torch.full((people * each, 1), 2), who[:, None] % 2, who)


def test_a_place_is_the_token_before_the_value() -> None:
    entries, roles = biographies()
    labels = torch.zeros(PEOPLE, 1).long()
    texts = p_texts(entries, torch.arange(PEOPLE), roles, labels)
    assert texts.places_BP.shape == (PEOPLE, len(roles))
    for text, places in zip(entries.roles_RW.tolist(), texts.places_BP.tolist(), strict=True):
        assert places == [text.index(role) - 1 for role in roles.values()]
    in_order = p_texts(entries, torch.arange(PEOPLE), roles, labels, in_order=True).places_BP
    assert in_order.equal(texts.places_BP.sort(-1).values) and not in_order.equal(texts.places_BP)


def test_a_text_without_the_attribute_has_no_place() -> None:
    entries = Entries(torch.zeros(2, 4).long(), torch.tensor([[1, 1, 5, 6], [1, 6, 1, 1]]), torch.tensor([4, 4]))
    labels = torch.zeros(2, 1).long()
    assert p_texts(entries, torch.arange(2), {"a": 5, "b": 6}, labels).places_BP.tolist() == [[1, 2], [ABSENT, 0]]
    ordered = p_texts(entries, torch.arange(2), {"a": 5, "b": 6}, labels, in_order=True)
    assert ordered.places_BP.tolist() == [[1, 2], [0, ABSENT]]


def test_labels_are_the_values_that_the_texts_name() -> None:
    entries, roles = biographies()
    whole = [name for name in roles if name != "birth_date"]
    targets, labels = value_targets(entries, roles, whole)
    assert len(targets) == 11 and targets[0].name == "birth_date first" and targets[0].classes <= 12
    for target, label in zip(targets, labels.T, strict=True):
        assert set(label.tolist()) == set(range(target.classes))
        name, kind = target.name.split()
        tokens = [tuple(i for i, role in zip(ids, found, strict=True) if role == roles[name])
                  for ids, found in zip(entries.ids_RW.tolist(), entries.roles_RW.tolist(), strict=True)]  # fmt: skip
        values = [value[:1] if kind == "first" else value for value in tokens]
        assert len(set(zip(values, label.tolist(), strict=True))) == len(set(values)) == target.classes
        assert [target.tokens[answer] for answer in label.tolist()] == [value[0] for value in values]
    shortest = role_tokens(entries, roles["major"])
    assert int((shortest != PADDING).sum()) == int((entries.roles_RW == roles["major"]).sum())


def test_unknown_and_missing_attributes_are_errors() -> None:
    entries, roles = biographies()
    with pytest.raises(UserError, match="unknown name 'mayor'; did you mean 'major'"):
        value_targets(entries, roles, ["mayor"])
    with pytest.raises(UserError, match="60 of 60 texts do not name the pet"):
        value_targets(entries, {**roles, "pet": 63})


def test_a_name_stands_between_two_ends() -> None:
    texts = q_texts(torch.tensor([[7, 8, 9], [4, 5, 6]]), 0, torch.tensor([[1], [2]]))
    assert texts.ids_BT.tolist() == [[0, 7, 8, 9, 0], [0, 4, 5, 6, 0]]
    assert texts.places_BP.tolist() == [[4], [4]] and texts.people_B.tolist() == [0, 1]


@pytest.mark.parametrize("judged_rows", [None, 4, 7, 100])
def test_every_text_is_learnt_once_a_pass_or_judged_once(judged_rows: int | None) -> None:
    texts, train = toy(), train_half(10)
    source = texts_source(texts, train, ("end",), rows=4, judged_rows=judged_rows)
    learnt = torch.cat([source.train(number).ids_BT[:, 0] for number in range(15)])  # 60 rows, 4 passes of 15 texts
    expected = sorted(n for n in range(30) if train[n // 3])
    passes = learnt.view(4, 15).tolist()
    assert all(sorted(one) == expected for one in passes) and passes[0] != passes[1]
    judged, times = [], 0
    for number in range(source.evaluation_batches):
        batch = source.evaluation(number)
        assert batch.ids_BT.shape == (judged_rows or 4, 4)
        asked = batch.labels_BY[:, 0] != IGNORE
        judged += batch.ids_BT[asked, 0].tolist()
        times += int(asked.sum())
    assert sorted(judged) == sorted(set(range(30)) - set(expected)) and times == 15
    assert source.reach == 3


def test_batches_ordered_ahead_are_those_ordered_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, train = toy(), train_half(10)
    numbers = [0, 1, 2, 7, 3, 11, 0, 12]
    batches = []
    for ahead in (1, 3, 256):
        monkeypatch.setattr(knowledge_texts, "AHEAD", ahead)
        source = texts_source(texts, train, ("end",), rows=4)
        batches.append([source.train(number).ids_BT.tolist() for number in numbers])
    assert batches[0] == batches[1] == batches[2] and batches[0][0] == batches[0][6] != batches[0][1]


def test_halves_are_random_and_whole() -> None:
    halves = [train_half(1001, seed) for seed in range(2)]
    assert [int(half.sum()) for half in halves] == [501, 501]
    assert 400 < int((halves[0] == halves[1]).sum()) < 600
    with pytest.raises(UserError, match="got 1 person, expected at least 2"):
        train_half(1)


def test_shuffled_people_have_the_row_of_somebody_else() -> None:
    labels = torch.arange(50)[:, None].expand(-1, 2)
    shuffled = shuffled_people(labels)
    assert shuffled[:, 0].sort().values.equal(torch.arange(50)) and shuffled[:, 0].equal(shuffled[:, 1])
    assert not bool((shuffled == labels).any())
    with pytest.raises(UserError, match="expected at least 2 to shuffle"):
        shuffled_people(labels[:1])


def test_a_split_without_people_is_an_error() -> None:
    texts = toy()
    for train in (torch.ones(10).bool(), torch.zeros(10).bool()):
        with pytest.raises(UserError, match="got 0 texts for (judging|training), expected at least 2"):
            texts_source(texts, train, ("end",), 4)
    with pytest.raises(UserError, match="people 0 to 9, expected 0 to 8"):
        texts_source(texts, train_half(9), ("end",), 4)
    with pytest.raises(UserError, match="places: got 2 names, expected 1"):
        texts_source(texts, train_half(10), ("a", "b"), 4)
    with pytest.raises(UserError, match="rows: got 1"):
        texts_source(texts, train_half(10), ("end",), 1)

