"""MAD's selective copying: instances read by the definition, the law of the blanks, refusals."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest
import torch
from chance import near

from physlm.errors import UserError
from physlm.tasks.memory.selective import SelectiveConfig
from physlm.tasks.rows import IGNORE


@pytest.mark.parametrize("config", [
    SelectiveConfig(), SelectiveConfig(96, 126, 927, 1024), SelectiveConfig(4, 3, 4, 9), SelectiveConfig(1, 2, 5, 40),
    SelectiveConfig(3, 9, 12, 61),
], ids=lambda config: f"{config.title} {config.row_tokens}")  # fmt: skip
def test_the_copy_is_the_words_without_the_blanks(config: SelectiveConfig) -> None:
    size = config.window + config.copied + 2
    inputs, targets = config.build().rows(torch.arange(40))
    for row, answers in zip(inputs.tolist(), targets.tolist(), strict=True):
        for begin in range(0, len(row), size):
            one, learnt = row[begin : begin + size], answers[begin : begin + size]
            words = [token for token in one[1 : config.window + 1] if token != 2]
            assert one[0] == 0 and all(3 <= word < 3 + config.words for word in words)
            assert one[config.window + 1 : config.window + 2] in ([], [1])
            whole = len(one) > config.window
            assert not whole or len(words) == config.copied
            expected = [IGNORE] * (config.window + 1) + words + [IGNORE]
            assert learnt == expected[: len(one)] if whole else learnt == [IGNORE] * len(one)


def test_blanks_before_the_first_word_and_words_have_their_laws() -> None:
    """Cut at uniform places: none of C words stands within the first g of F blanks with ((F + 1 - g) / (F + 1))^C."""
    count, copied, blanks = 8000, 3, 9
    inputs, _ = SelectiveConfig(copied, 5, 12, 16).build().rows(torch.arange(count))
    words = inputs[:, 1:13] != 2
    assert (words.sum(1) == copied).all()
    first = words.long().argmax(1)
    for g in range(1, 6):
        assert near(int((first >= g).sum()), count, ((blanks + 1 - g) / (blanks + 1)) ** copied)
    last = words.flip(1).long().argmax(1)  # blanks behind the last word, by symmetry
    for g in range(1, 6):
        assert near(int((last >= g).sum()), count, ((blanks + 1 - g) / (blanks + 1)) ** copied)
    tokens = inputs[:, 1:13][words].view(count, copied) - 3
    assert all(near(n, count, 1 / 125) for n in (tokens @ torch.tensor([25, 5, 1])).bincount(minlength=125).tolist())


def test_its_own_samples_pass_the_verifier() -> None:
    task = SelectiveConfig(4, 9, 14, 19).build()
    assert Counter(map(task.fault, (text.ids for text in task.texts(torch.arange(100_000), "train")))) == {"": 100_000}


@pytest.mark.parametrize(("text", "fault"), [
    ("<bos> _ w1 _ w2 w1 <copy> w1 w2 w1", ""), ("<bos> w1 <copy> w1 <bos>", ""),
    ("<bos> _ w1 _ w2 <copy> w2 w1", "got a copy that is not the words"),
    ("<bos> _ w1 _ w2 <copy> w1", "got a copy that is not the words"),
    ("<bos> _ w1 _ w2 <copy> w1 w2 w2", "got a copy that is not the words"),
    ("<bos> _ w1 _ w2 <copy> w1 _", "got a copy that is not the words"),
    ("<bos> _ _ <copy>", "got a copy that is not the words"), ("<bos> w1 w1", "got no <bos> and one <copy>"),
    ("<bos> w1 <copy> <copy> w1", "got no <bos> and one <copy>"), ("w1 <copy> w1", "got no <bos> and one <copy>"),
])  # fmt: skip
def test_the_verifier_on_planted_cases(text: str, fault: str) -> None:
    task = SelectiveConfig().build()
    assert task.fault(task.vocabulary.encode(text)) == fault


def test_more_words_in_longer_windows_can_be_asked() -> None:
    config = SelectiveConfig(4, 9, 14, 19)
    task = config.build()
    sizes = config.longer(3)
    prompts = task.prompts(40, copied=sizes["copied"], window=sizes["window"])
    assert prompts.kinds == ("copied12",) and (prompts.lengths_B == 46).all()
    for ids, answer in zip(prompts.ids_BP.tolist(), prompts.answers_BQ.tolist(), strict=True):
        assert task.fault([*ids, *answer]) == "" and len(answer) == 13
    assert task.test_rows(3, copied=12, window=44).inputs_RT.shape == (3, 57)
    with pytest.raises(UserError, match="got 15 words in a window of 14 tokens"):
        task.prompts(3, copied=15)


@pytest.mark.parametrize(("settings", "message"), [
    ({"words": 1}, r"task\.words: got 1, expected between 2 and"),
    ({"copied": 0}, r"task\.copied: got 0, expected between 1 and"),
    ({"window": 15}, r"task\.window: got 15, expected between 16 and"),
    ({"copied": 17}, r"task\.row_tokens: got 256, expected between 257 and"),
])  # fmt: skip
def test_what_there_is_not_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(SelectiveConfig(), **settings)
