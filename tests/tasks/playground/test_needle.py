"""A needle in a haystack: texts read by the definition, depth and distractors, windows filled to a share, refusals."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import torch

from physlm.errors import UserError
from physlm.tasks.playground.needle import AROUND, BOS, DEPTHS, FIRST_KEY, QUERY, Needle, NeedleConfig
from physlm.tasks.rows import IGNORE

SMALL = NeedleConfig(window=20, shortest=8, distractors=2, fillers=5, keys=9, values=7, row_tokens=64)
RANGE = NeedleConfig(60, 10, 29, fillers=5, keys=40, values=50, row_tokens=200, fewest=1)
TASK: Needle = SMALL.build()


def near(found: float, expected: float) -> bool:
    return abs(found - expected) < 5 * math.sqrt(expected)


def pairs_in(haystack: list[int], config: NeedleConfig) -> list[tuple[int, int, int]]:
    """Place, key and value of each pair; everything else is filler."""
    first_value, first_filler = FIRST_KEY + config.keys, FIRST_KEY + config.keys + config.values
    found, place = [], 0
    while place < len(haystack):
        if haystack[place] >= first_filler:
            place += 1
            continue
        key, value = haystack[place : place + 2]
        assert FIRST_KEY <= key < first_value <= value < first_filler
        found.append((place, key, value))
        place += 2
    return found


@pytest.mark.parametrize("config", [
    SMALL, NeedleConfig(), dataclasses.replace(SMALL, filler="repeat"), NeedleConfig(2, 0, 0, row_tokens=6),
    NeedleConfig(16, 16, 7, row_tokens=70), RANGE, NeedleConfig(30, 6, 2, keys=3, values=1, fillers=1, row_tokens=40),
], ids=lambda config: f"{config.title} in {config.row_tokens}")  # fmt: skip
def test_rows_are_whole_texts_end_to_end(config: NeedleConfig) -> None:
    inputs, targets = config.build().rows(torch.arange(50))
    for row, answers in zip(inputs.tolist(), targets.tolist(), strict=True):
        begins = [place for place, token in enumerate(row) if token == BOS]
        assert begins[0] == 0
        asked = [place for place, answer in enumerate(answers) if answer != IGNORE]
        assert asked == [place + 1 for place, token in enumerate(row[:-1]) if token == QUERY], "the asked keys alone"
        for begin, end in pairwise(begins):
            assert row[end - 3] == QUERY
            haystack, key, value = row[begin + 1 : end - 3], row[end - 2], row[end - 1]
            assert (config.shortest or config.window) <= len(haystack) <= config.window
            pairs = pairs_in(haystack, config)
            assert len({key for _, key, _ in pairs}) == len(pairs)
            assert 1 + config.least <= len(pairs) <= 1 + config.distractors
            assert value == answers[end - 2] == dict(pair[1:] for pair in pairs)[key]
        assert len(begins) > 1 or config.window + AROUND >= config.row_tokens


@pytest.mark.parametrize("config", [SMALL, RANGE], ids=lambda config: config.title)
def test_its_own_samples_pass_the_verifier(config: NeedleConfig) -> None:
    task = config.build()
    texts = (text.ids for text in task.texts(torch.arange(100_000), "train"))
    assert Counter(map(task.fault, texts)) == {"": 100_000}


def test_the_asked_needle_is_the_same_whatever_is_around_it() -> None:
    """Key, value and depth: with any amount and kind of filler, any number of pairs, and whatever training shows."""
    config = NeedleConfig(900, 16, 3, keys=512, values=512, row_tokens=1024)
    conditions: list[dict[str, Any]] = [
        {}, {"filled": 0.5}, {"distractors": 0}, {"distractors": 230}, {"filled": 0.0, "distractors": 414},
        {"window": 5000, "distractors": 511}, {"window": 40, "distractors": 19},
    ]  # fmt: skip
    found = []
    for other in (config, dataclasses.replace(config, filler="repeat"),
                  dataclasses.replace(config, distractors=400, fewest=0)):  # fmt: skip
        for condition in conditions:
            prompts = other.build().prompts(40, **condition)
            asked = prompts.ids_BP.gather(1, prompts.lengths_B[:, None] - 1)
            found.append(torch.cat((asked, prompts.answers_BQ, prompts.kind_B[:, None]), 1))
    assert all(one.equal(found[0]) for one in found) and len({*found[0][:, 0].tolist()}) > 80
    depths = [(prompts.ids_BP == asked).long().argmax(1) / prompts.lengths_B for prompts in (
        config.build().prompts(40, window=window, distractors=others) for window, others in ((500, 0), (5000, 511)))]
    assert (depths[0] - depths[1]).abs().max() < 0.06, "it stands after the same share of what is before it"


def test_training_shows_every_number_of_distractors_that_there_is_room_for() -> None:
    config = dataclasses.replace(RANGE, shortest=0, distractors=6)
    counts = Counter(len(pairs_in(text.ids[1:-3], config)) - 1 for text in config.build().texts(torch.arange(9000)))
    assert set(counts) == {1, 2, 3, 4, 5, 6} and all(near(n, 1500) for n in counts.values())
    room = Counter[tuple[int, int]]()
    for text in RANGE.build().texts(torch.arange(40_000)):
        room[min(29, text.about["window"] // 2 - 1), len(pairs_in(text.ids[1:-3], RANGE)) - 1] += 1
    for most in range(4, 30):
        found = {others: n for (largest, others), n in room.items() if largest == most}
        assert set(found) == set(range(1, most + 1)), "from one to as many as there is room for"
        assert all(near(n, sum(found.values()) / most) for n in found.values())
    assert RANGE.title == "needle 10-60, 1-29 distractors, words" and RANGE.parts == 4
    assert RANGE.filled(0.5) == {"words": {"filled": 0.5, "distractors": 1},
                                 "pairs": {"filled": 0.0, "distractors": 14}}
    assert RANGE.build().prompts(3).lengths_B.tolist() == [63] * 9, "asked with the most"


NO_PAIRS = "got something other than filler and pairs of different keys and their values"


@pytest.mark.parametrize(("text", "fault"), [
    ("<bos> k3 v2 <filler_1> k4 v5 <query> k3 v2", ""), ("<bos> k3 v2 <query> k3 v2 <bos>", ""),
    ("<bos> k3 v2 <filler_1> k4 v5 <query> k3 v5", "got another value than that of the key"),
    ("<bos> k3 v2 <filler_1> k4 v5 <query> k5 v5", "got a query of a key that does not stand once before a value"),
    ("<bos> k3 v2 k3 v5 <query> k3 v5", "got a query of a key that does not stand once before a value"),
    ("<bos> k4 v2 k3 <query> k3 v5", "got a query of a key that does not stand once before a value"),
    ("<bos> <filler_1> <filler_2> <query> <filler_1> <filler_2>",
     "got a query of a key that does not stand once before a value"),
    ("<bos> k3 <filler_2> <query> k3 <filler_2>", NO_PAIRS), ("<bos> k3 k4 <query> k3 k4", NO_PAIRS),
    ("<bos> k3 v2 k4 v5 k4 v6 <query> k3 v2", NO_PAIRS), ("<bos> k3 v2 v5 <query> k3 v2", NO_PAIRS),
    ("<bos> k4 k3 v2 v5 <query> k3 v2", NO_PAIRS), ("<bos> k4 <filler_1> v5 k3 v2 <query> k3 v2", NO_PAIRS),
    ("<bos> k3 v2 k4 <query> k3 v2", NO_PAIRS),
    ("<bos> k3 v2 k3 v2", "got no <bos>, or no <query> before the last two tokens"),
    ("k3 v2 <query> k3 v2", "got no <bos>, or no <query> before the last two tokens"),
])  # fmt: skip
def test_the_verifier_on_planted_cases(text: str, fault: str) -> None:
    assert TASK.fault(TASK.vocabulary.encode(text)) == fault


def test_the_depth_of_the_needle_is_uniform() -> None:
    """Alone, it stands after 0 to 4 tokens of filler; among others it is each of them as often."""
    alone = NeedleConfig(6, distractors=0, row_tokens=10).build().texts(torch.arange(10_000))
    depths = Counter(text.about["needle"] for text in alone)
    assert set(depths) == {1, 2, 3, 4, 5} and all(near(n, 2000) for n in depths.values())
    config = NeedleConfig(12, distractors=3, row_tokens=16)
    ranks = Counter([key for _, key, _ in pairs_in(text.ids[1:-3], config)].index(text.ids[-2])
                    for text in config.build().texts(torch.arange(8000)))  # fmt: skip
    assert set(ranks) == {0, 1, 2, 3} and all(near(n, 2000) for n in ranks.values())


def test_windows_are_uniform_and_keys_and_values_too() -> None:
    texts = TASK.texts(torch.arange(26_000), "train")
    windows = Counter(text.about["window"] for text in texts)
    assert set(windows) == set(range(8, 21)) and all(near(n, 2000) for n in windows.values())
    keys, values = Counter(text.ids[-2] for text in texts), Counter(text.ids[-1] for text in texts)
    assert len(keys) == 9 and all(near(n, 26_000 / 9) for n in keys.values())
    assert len(values) == 7 and all(near(n, 26_000 / 7) for n in values.values())


@pytest.mark.parametrize("window", [60, 300])
def test_needles_are_asked_in_each_third(window: int) -> None:
    prompts = TASK.prompts(200, window=window)
    assert prompts.kinds == DEPTHS and prompts.lengths_B.tolist() == [window + 3] * 600
    room = window - 2 * 3  # for filler
    for ids, kind, answer in zip(prompts.ids_BP.tolist(), prompts.kind_B.tolist(), prompts.answers_BQ.tolist(),
                                 strict=True):  # fmt: skip
        place = ids.index(ids[-1]) - 1
        before = place - 2 * sum(at < place for at, _, _ in pairs_in(ids[1:-2], SMALL))
        assert kind / 3 * (room + 1) - 1 < before < (kind + 1) / 3 * (room + 1)
        assert TASK.fault([*ids, *answer]) == ""


@pytest.mark.parametrize("filled", [0.0, 0.5, 0.9, 1.0])
def test_a_window_is_filled_to_a_share(filled: float) -> None:
    for distractors in (0, 8):
        prompts = TASK.prompts(30, window=400, filled=filled, distractors=distractors)
        for ids, answer in zip(prompts.ids_BP.tolist(), prompts.answers_BQ.tolist(), strict=True):
            pairs = pairs_in(ids[1:-2], SMALL)
            assert len(pairs) == 1 + distractors and len(ids) - 3 - 2 * len(pairs) == 400 * filled
            assert TASK.fault([*ids, *answer]) == ""


def test_guesses_are_right_as_often_as_one_value_in_the_text() -> None:
    task = NeedleConfig(40, distractors=3, values=10_000, row_tokens=64).build()
    prompts = task.prompts(2000)
    right = int(task.grade(prompts, task.guesses(prompts)).answer_B.sum())
    assert near(right, 6000 / 4)


@pytest.mark.parametrize(("settings", "message"), [
    ({"window": 253}, r"task\.window: got 253, expected between 2 and 252"),
    ({"window": 1}, r"task\.window: got 1, expected between 2 and 252"),
    ({"shortest": 253}, r"task\.shortest: got 253, expected between 2 and 252"),
    ({"shortest": 1}, r"task\.shortest: got 1, expected between 2 and 252"),
    ({"shortest": 10, "distractors": 126, "fewest": 1}, r"task\.distractors: got 126, expected between 0 and 125"),
    ({"shortest": 10, "fewest": 5}, r"task\.fewest: got 5, expected between 0 and 4"),
    ({"fewest": 8}, r"task\.fewest: got 8, expected between 0 and 7"),
    ({"fewest": -1}, r"task\.fewest: got -1, expected between 0 and 7"),
    ({"distractors": 126}, r"task\.distractors: got 126, expected between 0 and 125"),
    ({"distractors": -1}, r"task\.distractors: got -1, expected between 0 and 125"),
    ({"shortest": 10}, r"task\.distractors: got 7, expected between 0 and 4"),
    ({"keys": 7}, r"task\.distractors: got 7, expected between 0 and 6"),
    ({"filler": "hay"}, r"task\.filler: unknown name 'hay'"),
    ({"fillers": 0}, r"task\.fillers: got 0, expected between 1 and"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(NeedleConfig(), **settings)


@pytest.mark.parametrize(("settings", "message"), [
    ({"window": 1}, r"a window of 1 token, expected between 2, the needle, and"),
    ({"window": 8, "distractors": 4}, r"4 distractors in a window of 8 tokens with 9 keys, expected between 0 and 3"),
    ({"distractors": 9, "window": 90}, r"9 distractors .* expected between 0 and 8"),
    ({"distractors": 9, "filled": 0.5}, r"9 distractors .* expected between 0 and 8"),
    ({"distractors": -1}, r"-1 distractors .* expected between 0 and 8"),
    ({"filled": 1.5}, r"filled 1\.5, expected between 0 and 1"),
])  # fmt: skip
def test_questions_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TASK.prompts(3, **settings)
