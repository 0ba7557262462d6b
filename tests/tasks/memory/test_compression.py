"""MAD's compression: instances read by the definition, uniform words and orders, refusals."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import permutations
from typing import Any

import pytest
import torch
from chance import near

from physlm.errors import UserError
from physlm.tasks.memory.compression import CompressionConfig
from physlm.tasks.rows import IGNORE


@pytest.mark.parametrize("config", [
    CompressionConfig(), CompressionConfig(row_tokens=300), CompressionConfig(3, 2, 7), CompressionConfig(3, 2, 8),
    CompressionConfig(127, 255, 1000),
], ids=lambda config: f"{config.title} {config.row_tokens}")  # fmt: skip
def test_every_place_is_asked_once_and_its_word_is_learnt(config: CompressionConfig) -> None:
    length, first_place = config.length, 2 + config.words
    inputs, targets = config.build().rows(torch.arange(40))
    for row, answers in zip(inputs.tolist(), targets.tolist(), strict=True):
        for begin in range(0, len(row) + 1, config.size):
            one = row[begin : begin + config.size]
            words, asked = one[1 : length + 1], one[length + 2 :]
            assert one[:1] in ([], [0]) and all(2 <= word < first_place for word in words)
            assert one[length + 1 : length + 2] in ([], [1])
            places = asked[::2]
            assert len({*places}) == len(places)
            assert all(first_place <= place < first_place + length for place in places)
            expected = [IGNORE] * (length + 2)
            for place in places:
                expected += [words[place - first_place], IGNORE]
            assert answers[begin : begin + config.size] == (expected + [IGNORE] * config.size)[: len(one)]


def test_words_and_orders_are_uniform() -> None:
    inputs, _ = CompressionConfig(4, 3, 21).build().rows(torch.arange(9000))
    for begin in (0, 11):  # both instances of a row
        words = inputs[:, begin + 1 : begin + 4]
        assert all(near(n, 9000, 1 / 64) for n in ((words - 2) @ torch.tensor([16, 4, 1])).bincount().tolist())
        orders = Counter(map(tuple, (inputs[:, begin + 5 : begin + 10 : 2] - 6).tolist()))
        assert {*orders} == {*permutations(range(3))} and all(near(n, 9000, 1 / 6) for n in orders.values())
    assert not (inputs[:, 1:4] == inputs[:, 12:15]).all()


def test_its_own_samples_pass_the_verifier() -> None:
    task = CompressionConfig(9, 6, 19).build()
    assert Counter(map(task.fault, (text.ids for text in task.texts(torch.arange(100_000), "train")))) == {"": 100_000}


@pytest.mark.parametrize(("text", "fault"), [
    ("<bos> w1 w3 w1 <sum> <at_2> w3", ""), ("<bos> w1 w3 w1 <sum> <at_2> w3 <at_1> w1 <at_3> w1 <bos>", ""),
    ("<bos> w1 w3 w1 <sum> <at_2> w1", "got another word than that at the place"),
    ("<bos> w1 w3 w1 <sum> <at_2> w3 <at_2> w3", "got a place twice"),
    ("<bos> w1 w3 w1 <sum> w3 <at_2>", "got something other than words, and places before words"),
    ("<bos> w1 <at_1> w1 <sum> <at_2> w3", "got something other than words"),
    ("<bos> w1 w3 w1 <sum> <at_2>", "got no <bos>, 3 words, <sum>, places and their words"),
    ("<bos> w1 w3 <sum> <at_2> w3", "got no <bos>, 3 words"), ("<bos> w1 w3 w1 <sum>", "got no <bos>, 3 words"),
])  # fmt: skip
def test_the_verifier_on_planted_cases(text: str, fault: str) -> None:
    task = CompressionConfig(4, 3, 10).build()
    found = task.fault(task.vocabulary.encode(text))
    assert found.startswith(fault) and (fault or not found)


def test_a_place_is_asked_after_any_number_of_answers() -> None:
    task = CompressionConfig().build()
    for before in (0, 3, 30):
        prompts = task.prompts(50, before=before)
        assert (prompts.lengths_B == 34 + 2 * before).all()
        for ids, answer in zip(prompts.ids_BP.tolist(), prompts.answers_BQ.tolist(), strict=True):
            assert task.fault([*ids, *answer]) == ""
    with pytest.raises(UserError, match="got 31 answers before, expected between 0 and 30"):
        task.prompts(3, before=31)
    right = task.grade(prompts, task.guesses(prompts)).answer_B.double().mean()
    assert right < 0.4


@pytest.mark.parametrize(("settings", "message"), [
    ({"words": 1}, r"task\.words: got 1, expected between 2 and 65,536"),
    ({"length": 1}, r"task\.length: got 1, expected between 2 and"),
    ({"length": 32}, r"task\.row_tokens: got 94, expected between 97 and"),
])  # fmt: skip
def test_what_there_is_not_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(CompressionConfig(), **settings)
