"""MAD's in-context recall: rows read pair by pair, the laws of keys, values and noise, refusals."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest
import torch
from chance import near

from physlm.errors import UserError
from physlm.tasks.memory.recall import RecallConfig
from physlm.tasks.rows import IGNORE

NOISY = RecallConfig(noisy=0.2)


@pytest.mark.parametrize("config", [
    RecallConfig(), NOISY, RecallConfig(64, 64, row_tokens=1024), RecallConfig(noisy=0.8, row_tokens=32),
    RecallConfig(noisy=1.0, row_tokens=12), RecallConfig(3, 2, row_tokens=4), RecallConfig(3, 2, row_tokens=5),
    RecallConfig(loss="all", row_tokens=21), RecallConfig(1, 2, 0.5, 1, row_tokens=6),
], ids=lambda config: config.title)  # fmt: skip
def test_values_of_keys_that_came_before_are_learnt(config: RecallConfig) -> None:
    inputs, targets = config.build().rows(torch.arange(60))
    first_value, first_noise = 1 + config.keys, 1 + config.keys + config.values
    pairs = config.row_tokens // 2
    for row, answers in zip(inputs.tolist(), targets.tolist(), strict=True):
        whole, known = [*row, answers[-1] if config.row_tokens % 2 == 0 else 0], dict[int, int]()
        expected = [IGNORE] * config.row_tokens
        assert whole[0] == 0 and 0 not in whole[1 : 2 * pairs + 1]
        for at in range(1, 2 * pairs, 2):
            key, value = whole[at : at + 2]
            if key >= first_noise:
                assert value >= first_noise and config.noisy and at < 2 * pairs - 1
                continue
            assert key < first_value <= value < first_noise and known.get(key, value) == value
            if key in known:
                expected[at] = value
            known[key] = value
        assert expected[2 * pairs - 1] == whole[2 * pairs] and known, "the last pair is asked for"
        if config.loss == "all":
            assert answers == whole[1 : 2 * pairs + 1] + [IGNORE] * (len(row) % 2)
        else:
            assert answers == expected


def test_keys_values_and_noise_have_their_laws() -> None:
    inputs, targets = NOISY.build().rows(torch.arange(3000))
    first, second = inputs[:, 1:-1:2], inputs[:, 2::2]
    pairs = first[:, : second.shape[1]]
    noisy = pairs > 16
    # one pair, uniform among all but the last, is never noise
    assert near(int(noisy.sum()), noisy.numel(), 0.2 * 62 / 63)
    assert all(near(n, int(noisy.sum()), 1 / 16) for n in pairs[noisy].bincount()[17:].tolist())
    assert all(near(n, int(noisy.sum()), 1 / 16) for n in second[noisy].bincount()[17:].tolist())
    keys = pairs[~noisy]
    assert all(near(n, len(keys), 1 / 8) for n in keys.bincount()[1:].tolist())
    values = second[:, 0][~noisy[:, 0]]
    assert all(near(n, len(values), 1 / 8) for n in values.bincount()[9:].tolist())
    both = inputs[(~noisy[:, :2]).all(1)].tolist()
    same = Counter((row[1] == row[3], row[2] == row[4]) for row in both)
    assert same[True, False] == 0 and near(same[False, True], same[False, True] + same[False, False], 1 / 8)
    # targets of the first two pairs: only where the second has the key of the first
    assert near(int((targets[:, 3] != IGNORE).sum()), len(both), 1 / 8)


def test_the_last_key_is_any_of_those_before_it() -> None:
    inputs, _ = RecallConfig(4, 4, row_tokens=8).build().rows(torch.arange(20_000))
    counts = Counter((len({*row[1:6:2]}), row[1:6:2].index(row[7])) for row in inputs.tolist())
    different = sum(n for (size, _), n in counts.items() if size == 3)
    assert near(different, 20_000, 3 / 4 * 2 / 4)
    assert all(near(counts[3, place], different, 1 / 3) for place in range(3))


def test_its_own_samples_pass_the_verifier() -> None:
    task = dataclasses.replace(NOISY, row_tokens=24).build()
    assert Counter(map(task.fault, (text.ids for text in task.texts(torch.arange(100_000), "train")))) == {"": 100_000}


@pytest.mark.parametrize(("text", "fault"), [
    ("<bos> k1 v2 k1 v2", ""), ("<bos> k1 v2 k3 v2 <noise_1> <noise_2> k1 v2 <bos>", ""),
    ("<bos> k1 v2 k1 v3", "got another value than the key had before"),
    ("<bos> k1 v2 k3 v2", "got a last pair whose key did not come before"),
    ("<bos> k1 v2 k1 v2 <noise_1> <noise_1>", "got a last pair whose key did not come before"),
    ("<bos> k1 v2 v1 k1", "got something other than a key and a value"),
    ("<bos> k1 <noise_1> k1 v2", "got something other than a key and a value"),
    ("<bos> k1 v2", "got no <bos> and pairs"), ("k1 v2 k1 v2 k1", "got no <bos> and pairs"),
    ("<bos> k1 v2 <bos> k1", "got no <bos> and pairs"),
])  # fmt: skip
def test_the_verifier_on_planted_cases(text: str, fault: str) -> None:
    task = NOISY.build()
    found = task.fault(task.vocabulary.encode(text))
    assert found.startswith(fault) and (fault or not found)


def test_longer_rows_can_be_asked_and_a_guess_is_some_value() -> None:
    task = NOISY.build()
    prompts = task.prompts(300, window=NOISY.longer(2)["window"])
    assert (prompts.lengths_B == 256).all() and prompts.answers_BQ.shape == (300, 2)
    for ids, answer in zip(prompts.ids_BP.tolist(), prompts.answers_BQ.tolist(), strict=True):
        assert task.fault([*ids, *answer]) == ""
    assert task.test_rows(4, window=300).inputs_RT.shape == (4, 300)
    right = task.grade(prompts, task.guesses(prompts)).answer_B.double().mean()
    assert 0.05 < right < 0.4, "of eight keys, whose values may be the same"


def test_noise_has_words_only_where_there_is_any() -> None:
    assert len(RecallConfig().vocabulary()) == 17 and len(NOISY.vocabulary()) == 33


@pytest.mark.parametrize(("settings", "message"), [
    ({"keys": 0}, r"task\.keys: got 0, expected between 1 and 65,536"),
    ({"values": 1}, r"task\.values: got 1, expected between 2 and 65,536"),
    ({"noisy": 1.5}, r"task\.noisy: got 1\.5, expected between 0 and 1"),
    ({"noises": 0}, r"task\.noises: got 0, expected between 1 and"),
    ({"row_tokens": 3}, r"task\.row_tokens: got 3, expected between 4 and"),
])  # fmt: skip
def test_what_there_is_not_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(RecallConfig(), **settings)
