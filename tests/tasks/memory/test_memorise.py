"""MAD's memorisation: one map throughout, each key as often, and none told before it is asked for; refusals."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

import pytest
import torch

from physlm.errors import UserError
from physlm.tasks.memory.memorise import MemoriseConfig
from physlm.tasks.rows import IGNORE


@pytest.mark.parametrize("config", [
    MemoriseConfig(), MemoriseConfig(2, 9), MemoriseConfig(5, 2), MemoriseConfig(5, 11), MemoriseConfig(4095, 33),
], ids=lambda config: f"{config.title} {config.row_tokens}")  # fmt: skip
def test_every_key_has_one_value_that_is_learnt_where_it_was_not_told(config: MemoriseConfig) -> None:
    inputs, targets = config.build().rows(torch.arange(300))
    values, shown = dict[int, int](), config.entries_per_row
    for row, answers in zip(inputs.tolist(), targets.tolist(), strict=True):
        whole = [*row, max(answers[-1], 0)]
        keys = whole[1 : 2 * shown + 1 : 2]
        assert len({*keys}) == shown and min(keys) >= 1 and max(keys) <= config.keys
        for place, key in enumerate(keys):
            value = whole[2 * place + 2]
            assert values.setdefault(key, value) == value > config.keys and answers[2 * place + 1] == value
        assert sum(answer != IGNORE for answer in answers) == shown
        assert all(token == 0 for token in whole[2 * shown + 1 : 2 * shown + 2])
    assert len({*values.values()}) == len(values), "one to one"


def test_keys_come_equally_often_and_another_seed_has_another_map() -> None:
    config = MemoriseConfig(20, 10)
    inputs, targets = config.build().rows(torch.arange(4000))
    counts = inputs[:, 1::2].flatten().bincount(minlength=21)[1:]
    assert all(abs(n - 1000) < 5 * math.sqrt(1000) for n in counts.tolist())
    other = dataclasses.replace(config, seed=1).build().rows(torch.arange(4000))
    maps = [dict(zip(x.inputs_RT[:, 1].tolist(), x.targets_RT[:, 1].tolist(), strict=True))
            for x in (config.build().rows(torch.arange(4000)), other)]
    assert len(maps[0]) == len(maps[1]) == 20 and maps[0] != maps[1]
    assert (targets[:, 1] != IGNORE).all()


def test_every_key_is_asked_alone_in_every_split() -> None:
    task = MemoriseConfig(20).build()
    for split in ("train", "evaluation"):
        prompts = task.prompts(100, split)
        assert sorted(prompts.ids_BP[:, 1].tolist()) == [*range(1, 21)] and prompts.ids_BP.shape == (20, 2)
        assert (prompts.item_B == prompts.ids_BP[:, 1] - 1).all()
        for ids, answer in zip(prompts.ids_BP.tolist(), prompts.answers_BQ.tolist(), strict=True):
            assert task.fault([*ids, *answer]) == ""


def test_its_own_samples_pass_the_verifier() -> None:
    task = MemoriseConfig().build()
    assert Counter(map(task.fault, (text.ids for text in task.texts(torch.arange(100_000), "train")))) == {"": 100_000}


def test_the_verifier_on_planted_cases() -> None:
    task = MemoriseConfig(5).build()
    row = task.rows(torch.arange(1)).inputs_RT[0, :7].tolist()
    _, a, x, b, y, *_ = row
    for ids, fault in (
        ([0, a, x, b, y], ""), ([0, a, x, 0], ""), ([0, a, y], "got another value than that of the key"),
        ([0, a, x, a, x], "got something other than different keys before values"),
        ([0, x, a], "got something other than different keys"), ([0, a], "got no <bos> and pairs"),
        ([a, x, b], "got no <bos> and pairs"), ([0, a, x, b], "got no <bos> and pairs"), ([0, a, 11], "got a token"),
    ):
        found = task.fault(ids)
        assert found.startswith(fault) and (fault or not found), ids


@pytest.mark.parametrize(("settings", "message"), [
    ({"keys": 1}, r"task\.keys: got 1, expected between 2 and 1,048,576"),
    ({"row_tokens": 1}, r"task\.row_tokens: got 1, expected between 2 and"),
])  # fmt: skip
def test_what_there_is_not_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(MemoriseConfig(), **settings)
