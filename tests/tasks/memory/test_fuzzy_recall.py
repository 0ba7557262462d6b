"""MAD's fuzzy recall: rows read motif by motif, the laws of motifs, refusals."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from itertools import groupby
from typing import Any

import pytest
import torch
from chance import near

from physlm.errors import UserError
from physlm.tasks.memory.fuzzy import FuzzyConfig
from physlm.tasks.rows import IGNORE

Pairs = list[tuple[tuple[int, ...], tuple[int, ...]]]


def pairs_of(text: list[int], keys: int) -> Pairs:
    motifs = [tuple(motif) for _, motif in groupby(text, lambda token: token > keys)]
    return list(zip(motifs[::2], motifs[1::2], strict=True))


@pytest.mark.parametrize("config", [
    FuzzyConfig(), FuzzyConfig(loss="all"), FuzzyConfig(63, 63, row_tokens=512), FuzzyConfig(4, 9, 4, 1, row_tokens=11),
    FuzzyConfig(1, 2, 1, 1, row_tokens=4), FuzzyConfig(1, 2, 1, 2, row_tokens=64), FuzzyConfig(256, 256, 4, 4),
], ids=lambda config: config.title)  # fmt: skip
def test_values_of_keys_that_came_before_are_learnt(config: FuzzyConfig) -> None:
    inputs, targets = config.build().rows(torch.arange(60))
    longest = config.key_tokens + config.value_tokens
    for row, answers in zip(inputs.tolist(), targets.tolist(), strict=True):
        whole = [*row, max(answers[-1], 0)]
        end = whole.index(0, 1) if 0 in whole[1:] else len(whole)
        assert whole[0] == 0 and not any(whole[end:]) and end > config.row_tokens + 1 - longest - longest
        known, expected = dict[tuple[int, ...], tuple[int, ...]](), list[int]()
        found = pairs_of(whole[1:end], config.keys)
        for key, value in found:
            assert len({*key}) == len(key) <= config.key_tokens and len({*value}) == len(value) <= config.value_tokens
            assert max(key) <= config.keys < min(value) <= max(value) <= config.keys + config.values
            expected += [IGNORE] * len(key) + (list(value) if key in known else [IGNORE] * len(value))
            assert known.setdefault(key, value) == value
        assert found[-1] in found[:-1], "the last pair comes again"
        if config.loss == "all":
            assert answers == whole[1:end] + [IGNORE] * (config.row_tokens + 1 - end)
        else:
            assert answers == expected + [IGNORE] * (config.row_tokens + 1 - end)


def test_motifs_have_any_number_of_tokens_in_any_order() -> None:
    inputs, _ = FuzzyConfig(4, 5, 3, 2, row_tokens=30).build().rows(torch.arange(12_000))
    firsts = [pairs_of([token for token in row[1:] if token], 4)[0] for row in inputs.tolist()]
    keys, values = Counter(key for key, _ in firsts), Counter(value for _, value in firsts)
    assert len(keys) == 4 + 12 + 24 and len(values) == 5 + 20
    for found, words, most in ((keys, 4, 3), (values, 5, 2)):
        for motif, n in found.items():
            assert near(n, 12_000, 1 / most / math.perm(words, len(motif)))
    both = Counter((len(key), len(value)) for key, value in firsts)
    assert all(near(n, 12_000, 1 / 6) for n in both.values()) and len(both) == 6


def test_any_pair_comes_again() -> None:
    inputs, targets = FuzzyConfig(200, 200, 1, 1, row_tokens=10).build().rows(torch.arange(6000))
    whole = torch.cat((inputs, targets[:, -1:]), 1)
    places = Counter(row[1:9:2].index(row[9]) for row in whole.tolist())
    assert [len(places), *(near(places[n], 6000, 1 / 4) for n in (1, 2, 3))] == [4, True, True, True]


def test_its_own_samples_pass_the_verifier() -> None:
    task = FuzzyConfig(row_tokens=32).build()
    assert Counter(map(task.fault, (text.ids for text in task.texts(torch.arange(100_000), "train")))) == {"": 100_000}


@pytest.mark.parametrize(("text", "fault"), [
    ("<bos> k1 k2 v2 k3 v2 v1 k1 k2 v2", ""), ("<bos> k1 v2 v1 k1 v2 v1 <bos>", ""),
    ("<bos> k1 k2 v2 k2 k1 v2", "got a last pair whose key did not come before"),
    ("<bos> k1 v2 v1 k1 v2", "got another value than the key had before"),
    ("<bos> k1 v2 k1 v2 v1", "got another value than the key had before"),
    ("<bos> k1 v2 k1 v2 k1", "got no <bos>, and keys and values in turn"),
    ("<bos> v2 k1 v2 k1", "got no <bos>, and keys and values in turn"), ("<bos> k1 v2", "got no <bos>"),
    ("<bos> k1 v2 <bos> k1 v2", "got no <bos>"),
    ("<bos> k1 k1 v2 k1 k1 v2", "got a token twice in a key or value"),
    ("<bos> k1 k2 k3 k4 v2 k1 k2 k3 k4 v2", "got too long a key or value"),
])  # fmt: skip
def test_the_verifier_on_planted_cases(text: str, fault: str) -> None:
    task = FuzzyConfig().build()
    found = task.fault(task.vocabulary.encode(text))
    assert found.startswith(fault) and (fault or not found)


def test_the_whole_value_is_asked_for_also_in_longer_rows() -> None:
    config = FuzzyConfig(row_tokens=40)
    task = config.build()
    prompts = task.prompts(200, window=config.longer(3)["window"])
    assert {*prompts.answer_lengths_B.tolist()} == {2, 3, 4} and int(prompts.lengths_B.min()) > 100
    for ids, n, answer, m in zip(prompts.ids_BP.tolist(), prompts.lengths_B.tolist(), prompts.answers_BQ.tolist(),
                                 prompts.answer_lengths_B.tolist(), strict=True):  # fmt: skip
        assert task.fault([*ids[:n], *answer[:m]]) == ""
    assert task.test_rows(4, window=99).inputs_RT.shape == (4, 99)


@pytest.mark.parametrize(("settings", "message"), [
    ({"keys": 2}, r"task\.key_tokens: got 3, expected between 1 and 2"),
    ({"value_tokens": 5}, r"task\.value_tokens: got 5, expected between 1 and 4"),
    ({"values": 300}, r"task\.values: got 300, expected between 2 and 256"),
    ({"row_tokens": 11}, r"task\.row_tokens: got 11, expected between 12 and"),
])  # fmt: skip
def test_what_there_is_not_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(FuzzyConfig(), **settings)
