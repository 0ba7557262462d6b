"""Associative recall: rows read by the definition, the law of the gaps, the reassigned form, refusals."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from itertools import combinations
from typing import Any

import pytest
import torch

from physlm.errors import UserError
from physlm.tasks.playground.mqar import Mqar, MqarConfig
from physlm.tasks.rows import IGNORE

SMALL = MqarConfig(pairs=4, words=40, row_tokens=32)
LAST = MqarConfig(pairs=12, words=60, reassigned=2, row_tokens=48)


def near(found: float, expected: float) -> bool:
    return abs(found - expected) < 5 * math.sqrt(expected)


@pytest.mark.parametrize("config", [
    SMALL, LAST, MqarConfig(), MqarConfig(pairs=64), MqarConfig(1, 4, row_tokens=4),
    MqarConfig(16, 64, reassigned=4, keys=3, row_tokens=64), MqarConfig(192, reassigned=1, row_tokens=768),
], ids=lambda config: config.title)  # fmt: skip
def test_rows_are_pairs_and_then_queries_of_each_key_with_its_value(config: MqarConfig) -> None:
    task, half, last = config.build(), config.words // 2, max(1, config.reassigned)
    inputs, targets = task.rows(torch.arange(50))
    for row, answers in zip(inputs.tolist(), targets.tolist(), strict=True):
        keys, values = row[1 : 2 * config.pairs + 1 : 2], row[2 : 2 * config.pairs + 2 : 2]
        assert row[0] == 0 and 0 not in row[1:]
        assert 0 < min(keys) <= max(keys) < half <= min(values) and len(set(values)) == len(values)
        given: dict[int, list[int]] = {}
        for key, value in zip(keys, values, strict=True):
            given.setdefault(key, []).append(value)
        assert len(given) == config.asked and all(len(values) >= last for values in given.values())
        if not config.reassigned:
            assert len(given) == config.pairs
        asked = [place for place, answer in enumerate(answers) if answer != IGNORE]
        assert sorted(row[place] for place in asked) == sorted(given), "each key is asked once"
        whole = [*row, answers[-1]]
        later = [place for place in range(2 * config.pairs + 1, len(row)) if row[place] in given]
        assert later == asked and whole[-1] not in given, "no key of the row is a filler"
        for place in asked:
            assert place > 2 * config.pairs and (place - 2 * config.pairs) % 2 == 1
            assert answers[place] == given[row[place]][-last]
            assert place + 1 == len(row) or row[place + 1] == answers[place]


@pytest.mark.parametrize("config", [SMALL, LAST], ids=lambda config: config.title)
def test_its_own_samples_pass_the_verifier(config: MqarConfig) -> None:
    task = config.build()
    assert Counter(map(task.fault, (text.ids for text in task.texts(torch.arange(100_000), "train")))) == {"": 100_000}


@pytest.mark.parametrize(("settings", "text", "fault"), [
    ({}, "<bos> k3 v41 k7 v55 v9 k3 v41", ""), ({}, "<bos> k3 v41 k7 v55 k3 v41 k7 v55 <bos>", ""),
    ({}, "<bos> k3 v41 k7 v55 k7 v41 k7 v55 <bos>", "got a key that another word than its value follows"),
    ({}, "<bos> k3 v41 k7 v55 k3 v9 k7 v55", "got a key that another word than its value follows"),
    ({}, "<bos> k3 v41 k7 v55 k3 k7 v55", "got a key that another word than its value follows"),
    ({}, "<bos> k3 v41 k7 v55 v9 k3 v55", "got another value than that of the key"),
    ({}, "<bos> k3 v41 k7 v55 v9 k4 v41", "got a query of a key with 0 values"),
    ({}, "<bos> k3 v41 k3 v55 v9 k3 v55", "got a query of a key with 2 values"),
    ({}, "<bos> k3 v41 v7 v55 k3 v41", "got something other than 2 pairs of keys and values"),
    ({}, "<bos> k3 v41 k7 v41 k3 v41", "got a value of two pairs"),
    ({"reassigned": 2}, "<bos> k3 v41 k3 v41 v9 k3 v41", "got a value of two pairs"),
    ({}, "<bos> k3 v41 k7 v55", "got no <bos> and 2 pairs before a query"),
    ({}, "<bos> k3 v41 k7 v55 v9 <bos> k3 v41", "got no <bos> and 2 pairs before a query"),
    ({"reassigned": 1}, "<bos> k3 v41 k3 v55 v9 k3 v55", ""),
    ({"reassigned": 2}, "<bos> k3 v41 k3 v55 v9 k3 v41", ""),
    ({"reassigned": 2}, "<bos> k3 v41 k3 v55 v9 k3 v55", "got another value than that of the key"),
    ({"reassigned": 2}, "<bos> k3 v41 k4 v55 v9 k3 v41", "got a query of a key with 1 value"),
    ({"pairs": 3}, "<bos> k3 v41 k4 v55 k4 v56 v9 k3 v41", "got a key that has not as many values as it should"),
    ({"pairs": 3, "reassigned": 2}, "<bos> k3 v41 k3 v55 k4 v56 v9 k3 v41",
     "got a key that has not as many values as it should"),
    ({"pairs": 4, "reassigned": 2}, "<bos> k3 v41 k3 v55 k4 v56 k4 v57 k4 v57 k3 v41",
     "got a key that another word than its value follows"),
])  # fmt: skip
def test_the_verifier_on_planted_cases(settings: dict[str, int], text: str, fault: str) -> None:
    task = MqarConfig(**{"pairs": 2, "words": 64, "row_tokens": 16, **settings}).build()
    words = text.replace("v9", "v39").replace("v7 ", "v37 ")
    assert task.fault(task.vocabulary.encode(words)) == fault


@pytest.mark.parametrize("gap", [0.01, 1.0])
def test_queries_stand_in_slots_by_the_power_law_without_replacement(gap: float) -> None:
    """The chance of each pair of slots, by the definition: one after another in proportion to g^(a - 1)."""
    count, slots = 20_000, 4
    _, targets = MqarConfig(2, 64, gap=gap, row_tokens=2 * (2 + slots)).build().rows(torch.arange(count))
    found = Counter(tuple((places.nonzero()[:, 0] - 5).div(2, rounding_mode="floor").tolist())
                    for places in targets != IGNORE)  # fmt: skip
    weights = [g ** (gap - 1) for g in range(1, slots + 1)]
    whole = sum(weights)
    for a, b in combinations(range(slots), 2):
        share = weights[a] * weights[b] / whole * (1 / (whole - weights[a]) + 1 / (whole - weights[b]))
        assert near(found[a, b], count * share)


def test_keys_values_and_fillers_are_uniform() -> None:
    inputs, _ = MqarConfig(2, 20, row_tokens=16).build().rows(torch.arange(20_000))
    keys, values = (inputs[:, place : place + 4 : 2].flatten().bincount(minlength=20).tolist() for place in (1, 2))
    assert all(near(n, 40_000 / 9) for n in keys[1:10]) and all(near(n, 4000) for n in values[10:])
    assert sum(keys[1:10]) == sum(values[10:]) == 40_000
    rows, targets = MqarConfig(1, 20, gap=0.001, row_tokens=80).build().rows(torch.arange(9000))
    rows = rows[(targets[:, 70:] == IGNORE).all(1)]  # without a query there
    key, filler = rows[:, 1], rows[:, 79]
    assert not (filler == key).any()
    for one in range(1, 20):  # each key beside itself, the others all alike: eighteen of nineteen words
        counts = filler[key != one].bincount(minlength=20)
        assert near(int(counts[one]), float((key != one).sum()) / 18), "any word but <bos> and the key"


def test_each_key_has_its_assignments_and_the_others_fall_on_any() -> None:
    inputs, _ = MqarConfig(5, 20, reassigned=2, keys=2, row_tokens=16).build().rows(torch.arange(9000))
    shapes = Counter(tuple(key == row[1] for key in row[1:11:2]) for row in inputs.tolist())
    # two of each key and one of either: ten places for those of the first key that have 2 or 3, by symmetry all alike
    assert len(shapes) == 10 and all(near(n, 900) for n in shapes.values())


@pytest.mark.parametrize("config", [SMALL, LAST], ids=lambda config: config.title)
def test_other_sizes_can_be_asked_also_beyond_the_rows(config: MqarConfig) -> None:
    task: Mqar = config.build()
    prompts = task.prompts(40, pairs=14, window=200)
    assert prompts.kinds == ("pairs14",) and 100 < int(prompts.lengths_B.max()) <= 200 > config.row_tokens
    for ids, n, answer in zip(prompts.ids_BP.tolist(), prompts.lengths_B.tolist(), prompts.answers_BQ.tolist(),
                              strict=True):  # fmt: skip
        assert answer[1] == 0 and task.fault([*ids[:n], *answer], pairs=14) == ""
    rows = task.test_rows(5, pairs=14, window=200)
    assert rows.inputs_RT.shape == (5, 200) and rows.kinds == ("pairs14",)
    asked = dataclasses.replace(config, pairs=14, row_tokens=200).asked
    assert (rows.targets_RT != IGNORE).sum(1).tolist() == [asked] * 5


def test_every_query_of_a_row_is_asked_as_often() -> None:
    prompts = SMALL.build().prompts(8000)
    ids, lengths = prompts.ids_BP, prompts.lengths_B
    asked = ids.gather(1, lengths[:, None] - 1)
    place = (ids[:, 1:9:2] == asked).long().argmax(1).bincount()
    assert all(near(n, 2000) for n in place.tolist())


@pytest.mark.parametrize(("settings", "message"), [
    ({"pairs": 65}, r"task\.pairs: got 65, expected between 1 and 64"),
    ({"pairs": 0}, r"task\.pairs: got 0, expected between 1 and 64"),
    ({"words": 10}, r"task\.pairs: got 8, expected between 1 and 4"),
    ({"reassigned": 9}, r"task\.pairs: got 8, expected between 9 and 122"),
    ({"reassigned": 3, "keys": 3}, r"task\.pairs: got 8, expected between 9 and 125"),
    ({"reassigned": 60, "keys": 3}, r"task\.keys: got 3 keys assigned 60 times, whose 180 pairs"),
    ({"keys": 3}, r"task\.keys: got 3, expected between 0 and 0"),
    ({"gap": 0.0}, r"task\.gap: got 0\.0, expected between 0\.001 and 100"),
    ({"reassigned": 1000}, r"task\.reassigned: got 1000, expected between 0 and 127"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(MqarConfig(), **settings)


@pytest.mark.parametrize("config", [
    MqarConfig(1, 4096, row_tokens=64), MqarConfig(1, 30, row_tokens=64),
    MqarConfig(6, 4096, reassigned=3, row_tokens=50), MqarConfig(6, 20, reassigned=1, row_tokens=50),
    MqarConfig(6, 4096, reassigned=2, keys=3, row_tokens=50),
], ids=lambda config: f"{config.title} of {config.words}")  # fmt: skip
def test_the_most_pairs_are_rows_and_one_more_is_refused(config: MqarConfig) -> None:
    most = dataclasses.replace(config, pairs=config.most_pairs)
    inputs, targets = most.build().rows(torch.arange(4))
    assert inputs.shape == (4, config.row_tokens) and (targets != IGNORE).sum(1).tolist() == [most.asked] * 4
    with pytest.raises(UserError, match=rf"task\.pairs: got {most.pairs + 1}, expected between \d+ and {most.pairs}"):
        dataclasses.replace(config, pairs=most.pairs + 1)
    with pytest.raises(UserError, match=r"task\.pairs: got"):
        config.build().prompts(3, pairs=most.pairs + 1)


def test_a_guess_is_some_value_of_the_text() -> None:
    config = MqarConfig(4, 64, row_tokens=32)
    task = config.build()
    prompts = task.prompts(300)
    guesses = task.guesses(prompts).gather(1, prompts.lengths_B[:, None])[:, 0]
    assert (guesses >= 32).all() and (guesses < 64).all()
    assert all(guess in ids[:n] for guess, ids, n in zip(
        guesses.tolist(), prompts.ids_BP.tolist(), prompts.lengths_B.tolist(), strict=True))
    assert 0.1 < task.grade(prompts, task.guesses(prompts)).answer_B.double().mean() < 0.3, "of four pairs, and filler"
