"""Depo: true instances and planted errors, rows end to end, questions by k, windows of one k."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from physlm.tasks.playground import kernel
from physlm.tasks.playground.depo import DEPO1, DEPO2, Depo, DepoConfig
from physlm.tasks.playground.graphs import tokens
from physlm.tasks.rows import IGNORE

TASK = DepoConfig(9, hops=5, row_tokens=300).build()
ANS = TASK.vocabulary.id("<ans>")


def instances(task: Depo, count: int, nodes: int = 0) -> list[list[int]]:
    made = kernel.instances(task.config, np.arange(count), nodes=nodes)
    return [row[:length].tolist() for row, length in zip(tokens(made.ids_NW), made.lengths_N, strict=True)]


def read(text: str) -> list[int]:
    return TASK.vocabulary.encode(text)


def test_one_hundred_thousand_instances_are_right() -> None:
    assert Counter(map(TASK.fault, instances(TASK, 100_000))) == {"": 100_000}


@pytest.mark.parametrize("config", [*DEPO1.values(), *DEPO2.values()], ids=lambda config: config.title)
def test_published_ones_are_right(config: DepoConfig) -> None:
    task = config.build()
    for nodes in (0, config.nodes):
        assert not any(map(task.fault, instances(task, 200, nodes)))


RIGHT = "<bos> z3 a1 z1 z2 z3 a1 z1 z2 <query_2> z3 <ans> z2 <query_5> z2 <ans> a1 z1"


@pytest.mark.parametrize(("right", "wrong", "fault"), [
    ("", "", ""),
    ("<ans> z2", "<ans> z3", "got a wrong answer to a question of k = 2"),
    ("<ans> a1 z1", "<ans> z1", "got a wrong answer to a question of k = 5"),
    ("<ans> a1 z1", "<ans> a1", "got a wrong answer to a question of k = 5"),
    ("<ans> a1 z1", "<ans>", "got a wrong answer to a question of k = 5"),
    ("<ans> a1 z1", "<ans> a1 z1 z2", "got a wrong answer to a question of k = 5"),
    ("<query_2>", "<query_3>", "got a wrong answer to a question of k = 3"),
    ("<query_5> z2", "<query_5> z4", "got a question of k = 5 about what is no node"),
    ("<query_5> z2", "<query_5>", "got a question of k = 5 about what is no node"),
    ("<bos> z3", "z3", "got something other than <bos> and names by twos"),
    ("<bos> z3", "<bos>", "got something other than <bos> and names by twos"),
    ("<bos> z3", "<bos> <ans> z3", "got something other than <bos> and names by twos"),
    ("z2 <query_2>", "a1 <query_2>", "got something other than <bos> and names by twos"),
    ("z2 z3 a1 z1", "z2 z2 a1 z1", "got edges that are not one cycle"),
    ("z2 z3 a1 z1", "z2 z4 a1 z1", "got edges that are not one cycle"),
    ("z2 z3 a1 z1", "z3 z3 a1 z1", "got edges that are not one cycle"),
    (" <query_2>", " z3 z2 <query_2>", "got edges that are not one cycle"),
    (" <query_2>", " a1 a1 z1 a1 a1 z1 <query_2>", "got edges that are not one cycle"),
    ("<query_2> z3 <ans> z2 <query_5> z2 <ans> a1 z1", "", "got no question"),
])  # fmt: skip
def test_planted_errors_are_found(right: str, wrong: str, fault: str) -> None:
    assert right in RIGHT and TASK.fault(read(RIGHT)) == ""
    assert TASK.fault(read(RIGHT.replace(right, wrong, 1))) == fault


def test_any_other_token_in_an_answer_is_found() -> None:
    (ids,) = instances(TASK, 1)
    first = ids.index(ANS)
    ends = [place for place in range(first + 1, len(ids)) if place == len(ids) - 1 or ids[place + 1] >= 9]
    for place in [first + 1, *ends]:
        if 0 < ids[place] < 9:
            for other in {*range(len(TASK.vocabulary))} - {ids[place]}:
                assert TASK.fault([*ids[:place], other, *ids[place + 1 :]]) != ""


def test_rows_are_instances_and_their_targets_are_answers() -> None:
    inputs, targets = TASK.rows(torch.arange(50))
    for read_, scored in zip(inputs.tolist(), targets.tolist(), strict=True):
        whole = [*read_, scored[-1]] if scored[-1] != IGNORE else read_
        starts = [place for place, token in enumerate(whole) if token == 0] + [len(whole)]
        assert starts[0] == 0 and len(starts) > 2, "the first is whole"
        for begin, end in pairwise(starts[:-1]):
            assert TASK.fault(whole[begin:end]) == ""
        answering, expected = False, []
        for token in whole[1:]:
            answering = token == ANS or (answering and token <= TASK.config.name_tokens and token != 0)
            expected.append(token if answering else IGNORE)
        assert scored[: len(expected)] == expected


def test_questions_are_about_different_nodes_with_uniform_k() -> None:
    hops, counts = Counter[int](), Counter[int]()
    first = TASK.config.name_tokens + 1
    for ids in instances(TASK, 4000):
        nodes = (ids[1:].index(next(token for token in ids if token >= first)))
        marks = [place for place, token in enumerate(ids) if first <= token < ANS]
        asked = [tuple(ids[place + 1 : ids.index(ANS, place)]) for place in marks]
        edges = TASK.reader.edges(TASK.reader.text(ids[1 : nodes + 1]))
        assert edges is not None and len(set(asked)) == len(asked) == min(10, len(edges))
        hops.update(ids[place] - first + 1 for place in marks)
        counts[len(asked)] += 1
    mean = sum(hops.values()) / 5
    assert set(hops) == {1, 2, 3, 4, 5} and all(abs(count - mean) < 5 * mean**0.5 for count in hops.values())
    assert set(counts) == set(range(3, 10))
    large = DEPO2[75].build()
    assert max(ids.count(large.vocabulary.id("<ans>")) for ids in instances(large, 50)) == 10


def test_prompts_ask_the_same_for_each_k() -> None:
    assert DEPO1[375].asked_hops() == (1, 2, 4, 8) and DEPO2[75].asked_hops() == (1, 2, 4, 8, 16)
    assert DepoConfig(9, 1, row_tokens=300).asked_hops() == (1,) and TASK.config.asked_hops() == (1, 2, 4, 5)
    prompts = TASK.prompts(6)
    assert prompts.kinds == ("k1", "k2", "k4", "k5") and prompts.kind_B.tolist() == sorted([0, 1, 2, 3] * 6)
    for row in range(24):
        ids = prompts.ids_BP[row, : prompts.lengths_B[row]].tolist()
        answer = prompts.answers_BQ[row, : prompts.answer_lengths_B[row] - 1].tolist()
        assert TASK.fault([*ids, *answer]) == "" and ids.count(ANS) == 1
        same = prompts.ids_BP[row % 6, : prompts.lengths_B[row % 6]].tolist()
        differing = [place for place, (a, b) in enumerate(zip(ids, same, strict=True)) if a != b]
        assert len(differing) == (row >= 6), "but for the marker with k"
        assert TASK.config.asked_hops()[row // 6] == ids[differing[0] if differing else ids.index(
            TASK.config.name_tokens + 1)] - TASK.config.name_tokens  # fmt: skip
    one = TASK.prompts(6, hop=3, nodes=40)
    assert one.kinds == ("k3",) and int(one.lengths_B.min()) > 400 > TASK.config.row_tokens
    assert TASK.prompts(2, nodes=3).kinds == ("k1", "k2"), "no k above n"


def test_windows_have_one_k_and_whole_cycles() -> None:
    windows = TASK.test_rows(5)
    assert windows.kinds == ("k1", "k2", "k4", "k5") and windows.kind_R.tolist() == sorted([0, 1, 2, 3] * 5)
    assert windows.inputs_RT.shape == windows.targets_RT.shape == (20, 300)
    same = TASK.config.name_tokens
    for inputs, targets, kind in zip(windows.inputs_RT.tolist(), windows.targets_RT.tolist(), windows.kind_R.tolist(),
                                     strict=True):  # fmt: skip
        assert {token - same for token in inputs if same < token < ANS} == {int(windows.kinds[kind][1:])}
        assert ANS not in targets and {token for token in targets if token != IGNORE} <= set(range(1, 9))
        first = inputs[: inputs.index(0, 1)]
        edges = TASK.reader.edges(TASK.reader.text(first[1 : first.index(same + int(windows.kinds[kind][1:]))]))
        assert edges is not None and len(edges) == 9 and TASK.fault(first) == ""
        answers = [token for place, token in enumerate(first[:-1]) if targets[place - 1] != IGNORE]
        assert len(answers) >= 9 * 5 - 1
    assert TASK.test_rows(2, hop=3, nodes=4).kinds == ("k3",)
    assert not TASK.test_rows(5, "validation").inputs_RT.equal(windows.inputs_RT)


def test_texts_say_what_they_are_about() -> None:
    for text in TASK.texts(torch.arange(20)):
        assert TASK.fault(text.ids) == "" and set(text.labels) == {"bos", "edge", "query", "node", "marker", "answer"}
        edges = TASK.reader.edges(TASK.reader.text([
            token for token, label in zip(text.ids, text.labels, strict=True) if label == "edge"]))  # fmt: skip
        assert edges is not None and len(edges) == text.about["nodes"] and text.more["prompt"].endswith("<ans>")
