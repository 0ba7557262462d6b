"""Full copy: rows walked token by token, the laws of its words, orders and lengths, its verifier and its refusals."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from itertools import permutations, product

import pytest
import torch

from physlm.errors import UserError
from physlm.tasks.playground.copying import BOS, FIRST_WORD, QUERY, Copy, CopyConfig
from physlm.tasks.prompts import without_end
from physlm.tasks.rows import IGNORE

SMALL = CopyConfig(length=6, words=9, shortest=2, row_tokens=64)
TASK: Copy = SMALL.build()


def near(found: int, expected: float) -> bool:
    return abs(found - expected) < 5 * math.sqrt(expected)


@pytest.mark.parametrize("config", [
    SMALL, CopyConfig(), CopyConfig(20, 20, 1, 128), CopyConfig(10, 20, 0, 64), CopyConfig(1, 1, 0, 4),
    CopyConfig(3, 300, 3, 60, seed=2), CopyConfig(5, 5, 0, 12),
], ids=lambda config: f"{config.title} in {config.row_tokens}")  # fmt: skip
def test_rows_are_whole_instances_end_to_end(config: CopyConfig) -> None:
    task = config.build()
    inputs, targets = task.rows(torch.arange(50))
    scored = targets != IGNORE
    for row, answers in zip(torch.cat((inputs, targets[:, -1:].clamp_min(BOS)), 1).tolist(), scored.tolist(),
                            strict=True):  # fmt: skip
        begin, number = 0, 0
        while QUERY in row[begin:]:
            at = row.index(QUERY, begin)
            words = row[begin + 1 : at]
            assert row[begin] == BOS and len(set(words)) == len(words) and min(words) >= FIRST_WORD
            assert (config.shortest or config.length) <= len(words) <= config.length
            copy = row[at + 1 : at + 1 + len(words)]
            known = len(row) - 1 - at if answers[-1] else len(row) - 2 - at
            assert copy[:known] == words[: len(copy)][:known]
            assert not any(answers[begin:at]) and all(answers[at : at + len(words)])
            begin, number = at + 1 + len(words), number + 1
        assert number >= 1 and not any(answers[begin:])


def test_short_instances_of_a_row_do_not_all_have_the_same_words() -> None:
    """Two words each out of six in a ring, from a random one on: half of the pairs of instances share none."""
    rows = CopyConfig(6, 9, 2, 64).build().rows(torch.arange(20_000)).inputs_RT[:, :12].tolist()
    pairs = [({*row[1:3]}, {*row[7:9]}) for row in rows if row[3] == QUERY == row[9]]
    apart = sum(not one & other for one, other in pairs)
    assert len(pairs) > 600 and near(apart, len(pairs) / 2)
    used = Counter(word for row in rows if row[3] == QUERY for word in row[1:3])
    assert len(used) == 9 and all(near(n, sum(used.values()) / 9) for n in used.values())


def test_published_is_a_permutation_of_500_words_in_1024_tokens() -> None:
    task = CopyConfig().build()
    inputs, targets = task.rows(torch.arange(3))
    assert inputs.shape == (3, 1024) and len(task.vocabulary) == 502
    assert inputs[:, 501].tolist() == [QUERY] * 3 and inputs[:, 1:501].sort().values.equal(
        torch.arange(2, 502).expand(3, -1))
    assert (targets != IGNORE).nonzero()[:, 1].view(3, -1).equal(torch.arange(501, 1001).expand(3, -1))
    assert targets[:, 501:1001].equal(inputs[:, 1:501])


def test_its_own_samples_pass_the_verifier() -> None:
    texts = (text.ids for text in TASK.texts(torch.arange(100_000), "train"))
    assert Counter(map(TASK.fault, texts)) == {"": 100_000}


@pytest.mark.parametrize(("text", "fault"), [
    ("<bos> 3 1 2 <query> 3 1 2", ""), ("<bos> 3 1 2 <query> 3 1 2 <bos>", ""), ("<bos> 3 <query> 3", ""),
    ("<bos> 3 1 2 <query> 3 2 1", "got a copy that is not the words"),
    ("<bos> 3 1 2 <query> 3 1", "got a copy that is not the words"),
    ("<bos> 3 1 2 <query> 3 1 2 2", "got a copy that is not the words"),
    ("<bos> 3 1 3 <query> 3 1 3", "got a word twice, or something other than words"),
    ("<bos> <query>", "got a word twice, or something other than words"),
    ("3 1 2 <query> 3 1 2", "got no <bos> and one <query>"), ("<bos> 3 1 2", "got no <bos> and one <query>"),
    ("<bos> 3 <query> 3 <query> 3", "got no <bos> and one <query>"),
])  # fmt: skip
def test_the_verifier_on_planted_cases(text: str, fault: str) -> None:
    assert TASK.fault(TASK.vocabulary.encode(text)) == fault


def test_a_quick_look_finds_right_what_the_whole_verifier_does() -> None:
    """Of all texts of at most six tokens, of the two words, both marks and what is no token on either side."""
    task, found = CopyConfig(2, 2, 1, 6).build(), Counter[str]()
    for length in range(7):
        for ids in product(range(-1, 5), repeat=length):
            fault = task._first_fault(without_end(ids))
            assert task.fault(ids) == fault
            found[fault] += 1
    assert found[""] == 6 and len(found) == 5, "1 and 2, each with and without its end, 1 2 and 2 1"


@pytest.mark.parametrize("words", [3, 4], ids=["all words", "some words"])
def test_all_orders_are_as_likely_and_all_lengths(words: int) -> None:
    texts = CopyConfig(3, words, 1, 20).build().texts(torch.arange(30_000))
    lengths = Counter(text.about["length"] for text in texts)
    orders = Counter(tuple(text.ids[1:4]) for text in texts if text.about["length"] == 3)
    assert set(lengths) == {1, 2, 3} and all(near(n, 10_000) for n in lengths.values())
    assert set(orders) == set(permutations(range(2, 2 + words), 3))
    assert all(near(n, lengths[3] / math.perm(words, 3)) for n in orders.values())


def test_instances_of_a_row_have_orders_of_their_own() -> None:
    """Also where they share their words."""
    inputs, _ = CopyConfig(3, 3, 0, 17).build().rows(torch.arange(6000))
    pairs = Counter((tuple(row[1:4]), tuple(row[9:12])) for row in inputs.tolist())
    assert len(pairs) == 36 and all(near(n, 6000 / 36) for n in pairs.values())


def test_other_lengths_can_be_asked_also_beyond_the_rows() -> None:
    task = CopyConfig(length=4, words=200, row_tokens=20).build()
    prompts = task.prompts(7, length=150)
    assert prompts.lengths_B.tolist() == [152] * 7 and prompts.answer_lengths_B.tolist() == [151] * 7
    assert prompts.kinds == ("length150",)
    for ids, answer in zip(prompts.ids_BP.tolist(), prompts.answers_BQ.tolist(), strict=True):
        assert task.fault([*ids, *answer]) == "" and len(ids) == 152
    few = task.prompts(7, length=150, first=4)
    assert few.ids_BP.equal(prompts.ids_BP) and few.kinds == ("first4",)
    assert few.answers_BQ[:, :4].equal(prompts.answers_BQ[:, :4]) and not few.answers_BQ[:, 4:].any()
    rows = task.test_rows(3, length=30)
    assert rows.inputs_RT.shape == (3, 62) and (rows.targets_RT != IGNORE).sum(1).tolist() == [30] * 3
    assert task.test_rows(3).inputs_RT.shape == (3, 20) and task.test_rows(3).kinds == ("length4",)


def test_the_first_words_are_graded_alone() -> None:
    prompts = TASK.prompts(9, length=5, first=2)
    ids = torch.cat((prompts.ids_BP, torch.full((9, 5), FIRST_WORD)), 1)
    ids[:, 7:9] = prompts.answers_BQ[:, :2]
    ids[4, 8] = FIRST_WORD if int(ids[4, 8]) != FIRST_WORD else FIRST_WORD + 1
    grades = TASK.grade(prompts, ids)
    assert grades.answer_B.tolist() == [place != 4 for place in range(9)] and not grades.exact_B.any()


@pytest.mark.parametrize(("settings", "message"), [
    ({"length": 501}, r"task\.length: got 501, expected between 1 and 500"),
    ({"length": 0}, r"task\.length: got 0, expected between 1 and 500"),
    ({"shortest": 501}, r"task\.shortest: got 501, expected between 0 and 500"),
    ({"row_tokens": 1001}, r"task\.row_tokens: got 1001, expected between 1002 and"),
    ({"words": 0}, r"task\.words: got 0, expected between 1 and"),
])  # fmt: skip
def test_what_cannot_be_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(CopyConfig(), **settings)


def test_questions_that_cannot_be_are_refused() -> None:
    for call in (TASK.prompts, TASK.test_rows):
        for length in (10, -1):
            with pytest.raises(UserError, match=rf"copy: got length {length}, expected between 1 and 9"):
                call(3, length=length)
    with pytest.raises(UserError, match=r"copy: got first 4, expected between 1 and 3, or 0 for all"):
        TASK.prompts(3, length=3, first=4)
