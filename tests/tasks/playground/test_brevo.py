"""Brevo: true instances and planted errors against brute force, the law of its graphs, rows end to end, depths."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from physlm.tasks.draws import Stream
from physlm.tasks.playground import kernel, plain
from physlm.tasks.playground.brevo import BREVO1, BREVO2, Brevo, BrevoConfig
from physlm.tasks.playground.graphs import ROW_INSTANCES, tokens
from physlm.tasks.rows import IGNORE

TASK = BrevoConfig(12, row_tokens=128).build()
Edges = list[tuple[str, str]]


def instances(task: Brevo, count: int, nodes: int = 0) -> list[list[int]]:
    """With the <bos> at the end."""
    made = kernel.instances(task.config, np.arange(count), nodes=nodes)
    return [[*row[:length].tolist(), 0] for row, length in zip(tokens(made.ids_NW), made.lengths_N, strict=True)]


def taken_apart(task: Brevo, ids: list[int]) -> tuple[Edges, str, list[str]]:
    """Edges, query and answer, in words, by the definition of the text."""
    words = [task.vocabulary.words[i] for i in ids]
    names: list[str] = []
    parts: list[list[str]] = [[]]
    for word in words[1:-1]:
        if word in ("<query>", "<ans>"):
            parts.append([])
        else:
            names.append(word)
            if word.startswith("z"):
                parts[-1].append(" ".join(names))
                names = []
    shown, query, answer = parts
    return list(zip(shown[::2], shown[1::2], strict=True)), query[0], answer


def needs(edges: Edges, query: str) -> set[str]:
    found = {query}
    for _ in edges:
        found |= {node for node, dependent in edges if dependent in found}
    return found


def is_right(edges: Edges, query: str, order: tuple[str, ...]) -> bool:
    """By the definition."""
    return sorted(order) == sorted(needs(edges, query)) and all(
        order.index(node) < order.index(dependent) for node, dependent in edges if dependent in order)


def depth(edges: Edges, query: str) -> int:
    below = [node for node, dependent in edges if dependent == query]
    return 1 + min(depth(edges, node) for node in below) if below else 0


def test_one_hundred_thousand_instances_are_right() -> None:
    assert Counter(map(TASK.fault, instances(TASK, 100_000))) == {"": 100_000}


@pytest.mark.parametrize("config", [*BREVO1.values(), *BREVO2.values()], ids=lambda config: config.title)
def test_published_ones_are_right(config: BrevoConfig) -> None:
    task = config.build()
    for nodes in (0, config.nodes):
        assert not any(map(task.fault, instances(task, 200, nodes)))
    for ids in instances(task, 20):
        edges, query, answer = taken_apart(task, ids)
        assert is_right(edges, query, tuple(answer))


def test_right_is_each_topological_order_of_what_is_needed_and_nothing_else() -> None:
    task, rights, wrongs = BrevoConfig(6, row_tokens=64).build(), 0, 0
    for ids in instances(task, 150):
        edges, query, answer = taken_apart(task, ids)
        start = ids.index(task.vocabulary.id("<ans>")) + 1
        names = sorted({name for edge in edges for name in edge})
        for size in range(len(names) + 1):
            for order in permutations(names, size):
                right = is_right(edges, query, order)
                written = [*ids[:start], *(task.vocabulary.id(name) for name in order), 0]
                assert (task.fault(written) == "") == right
                rights, wrongs = rights + right, wrongs + (not right)
        assert is_right(edges, query, tuple(answer))
    assert rights > 200 and wrongs > 10_000


RIGHT = "<bos> z2 z5 z1 z3 z2 z3 z4 z1 z3 z7 <query> z3 <ans> z2 z4 z1 z3 <bos>"


@pytest.mark.parametrize(("right", "wrong", "fault"), [
    ("", "", ""), ("<ans> z2 z4 z1", "<ans> z4 z2 z1", ""), ("<ans> z2 z4 z1", "<ans> z4 z1 z2", ""),
    ("z4 z1 z3 <bos>", "z1 z4 z3 <bos>", "got a node without or before what it depends on"),
    ("<ans> z2 z4", "<ans> z4", "got a node without or before what it depends on"),
    ("<ans> z2 z4 z1 z3", "<ans> z2", "got a node that the query does not need, or not the query"),
    ("<ans> z2 z4 z1 z3", "<ans>", "got a node that the query does not need, or not the query"),
    ("z1 z3 <bos>", "z1 z3 z7 <bos>", "got a node that the query does not need, or not the query"),
    ("z1 z3 <bos>", "z1 z3 z5 <bos>", "got a node that the query does not need, or not the query"),
    ("z1 z3 <bos>", "z1 z3 z9 <bos>", "got a node that the query does not need, or not the query"),
    ("z1 z3 <bos>", "z1 z3 z3 <bos>", "got a node twice"), ("<ans> z2", "<ans> z2 z2", "got a node twice"),
    ("z1 z3 <bos>", "z1 z3", "got no <bos>, <query>, <ans> and <bos>"),
    ("<ans> z2", "z2", "got no <bos>, <query>, <ans> and <bos>"),
    ("<ans> z2", "<ans> <ans> z2", "got something other than names between them"),
    ("z4 z1 z3", "z4 <bos> z1 z3", "got something other than names between them"),
    ("<query> z3", "<query> z3 z1", "got something other than names between them"),
    ("<bos> z2", "<bos>", "got something other than names between them"),
])  # fmt: skip
def test_planted_errors_are_found(right: str, wrong: str, fault: str) -> None:
    assert right in RIGHT and TASK.fault(TASK.vocabulary.encode(RIGHT)) == ""
    assert TASK.fault(TASK.vocabulary.encode(RIGHT.replace(right, wrong, 1))) == fault


@pytest.mark.parametrize(("config", "edges", "answer"), [
    (BREVO1[110], 240, 35), (BREVO1[90], 194, 30), (BREVO1[70], 151, 25),
    (BREVO2[50], 107, 20), (BREVO2[40], 86, 18), (BREVO2[30], 63, 15)], ids=str)  # fmt: skip
def test_graphs_have_the_published_sizes(config: BrevoConfig, edges: int, answer: int) -> None:
    task, count = config.build(), 400
    graphs = [taken_apart(task, ids) for ids in instances(task, count, config.nodes)]
    for value, sizes in ((edges, [len(graph[0]) for graph in graphs]), (answer, [len(graph[2]) for graph in graphs])):
        assert np.mean(sizes) == pytest.approx(value, abs=1 + 5 * np.std(sizes) / count**0.5)
    made = kernel.instances(config, np.arange(4000), nodes=config.nodes).labels_N
    assert 0.75 < np.isin(made, (1, 2, 3)).mean() < 0.93, "depths 1 to 3 cover 75 to 90 %"


def test_every_node_depends_on_and_is_needed_by_at_most_four() -> None:
    depends, needed, last = Counter[int](), Counter[int](), 0
    for ids in instances(TASK, 3000, 12):
        edges, query, answer = taken_apart(TASK, ids)
        assert len(set(edges)) == len(edges) and answer[-1] == query
        depends.update(Counter(dependent for _, dependent in edges).values())
        needed.update(Counter(node for node, _ in edges).values())
        last += query not in {node for node, _ in edges}
    assert set(depends) == set(needed) == {1, 2, 3, 4}
    # node 11, which nobody needs, is the query once in three; at most 11 nodes share the 2.5 that each other one needs
    assert 1 / 3 < last / 3000 < 1 / 3 + 2 / 3 * (1 - 2.5 / 11)


def test_the_number_of_leaves_and_of_edges_follow_their_laws() -> None:
    """Of n = 5 one node is a leaf, and nodes 1, 2, 3, 4 depend on 1, 1 .. 2, 1 .. 3, 1 .. 4 of those before them."""
    task, count = BrevoConfig(5, row_tokens=64).build(), 20_000
    edges = Counter(len(taken_apart(task, ids)[0]) for ids in instances(task, count, 5))
    law = Counter({1: Fraction(1)})
    for most in (2, 3, 4):
        law = Counter({total: sum((law[total - more] for more in range(1, most + 1)), Fraction()) / most
                       for total in range(1, 11)})  # fmt: skip
    assert sum(law.values()) == 1
    for total, share in law.items():
        assert abs(edges[total] - count * share) <= 5 * float(count * share) ** 0.5


def test_the_order_is_that_of_taking_away_what_nothing_needs() -> None:
    parents = [[], [], [0], [1], [1, 2], [3, 4]]  # 5 needs 3 and 4; 3 needs 1; 4 needs 1 and 2; 2 needs 0

    def law(order: tuple[int, ...]) -> Fraction:
        share, left = Fraction(1), set(range(6))
        for node in order[::-1]:
            ready = {one for one in left if not any(one in parents[other] for other in left)}
            if node not in ready:
                return Fraction()
            share, left = share / len(ready), left - {node}
        return share

    count = 20_000
    found = Counter(tuple(plain._sorted(Stream.of(7, number), parents, 5)) for number in range(count))
    expected = {order: law(order) for order in permutations(range(6)) if law(order)}
    assert sum(expected.values()) == 1 and set(found) == set(expected) and len(expected) > 3
    for order, share in expected.items():
        assert abs(found[order] - count * share) < 5 * float(count * share) ** 0.5


def test_rows_are_instances_and_their_targets_are_answers_with_their_ends() -> None:
    ans = TASK.vocabulary.id("<ans>")
    inputs, targets = TASK.rows(torch.arange(50))
    for read, scored in zip(inputs.tolist(), targets.tolist(), strict=True):
        whole = [*read, scored[-1]] if scored[-1] != IGNORE else read
        starts = [place for place, token in enumerate(whole) if token == 0]
        assert starts[0] == 0 and len(starts) > 1, "the first is whole"
        for begin, end in pairwise(starts):
            assert TASK.fault(whole[begin : end + 1]) == ""
        answering, expected = False, []
        for before, token in pairwise(whole):
            answering = token == ans or (answering and before != 0)
            expected.append(token if answering else IGNORE)
        assert scored[: len(expected)] == expected


def test_instances_longer_than_a_row_are_left_out() -> None:
    config = BrevoConfig(6, 1, 14, 16, 285)
    firsts = kernel.instances(config, np.arange(3000) * ROW_INSTANCES, "train").lengths_N
    long = np.flatnonzero(firsts > 285)
    assert 0 < len(long) < 60, "a few"
    for row in long.tolist():
        made = kernel.instances(config, row * ROW_INSTANCES + np.arange(40), "train")
        ids = np.concatenate([one[:length] for one, length in zip(made.ids_NW, made.lengths_N, strict=True)
                              if length <= 285])  # fmt: skip
        assert np.array_equal(kernel.rows(config, [row])[0], ids[:286])
    assert bool((config.build().rows(torch.arange(200)).targets_RT != IGNORE).any(1).all())


def test_depths_are_fewest_edges_to_a_leaf_and_can_be_asked_for() -> None:
    made = kernel.instances(TASK.config, np.arange(300))
    for ids, label in zip(instances(TASK, 300), made.labels_N, strict=True):
        edges, query, _ = taken_apart(TASK, ids)
        assert depth(edges, query) == label
    for config in (TASK.config, BREVO2[30]):
        task = config.build()
        prompts = task.prompts(7, by_depth=True)
        depths = [int(kind.removeprefix("depth")) for kind in prompts.kinds]
        assert depths[:3] == [1, 2, 3] == sorted(depths)[:3] and prompts.kind_B.bincount().tolist() == [7] * len(depths)
        assert prompts.kinds == task.prompts(2, "validation", by_depth=True).kinds
        for ids, length, answer, kind in zip(prompts.ids_BP.tolist(), prompts.lengths_B, prompts.answers_BQ.tolist(),
                                             prompts.kind_B, strict=True):  # fmt: skip
            edges, query, _ = taken_apart(task, [*ids[:length], *answer[: answer.index(0)], 0])
            assert depth(edges, query) == depths[kind]
        natural = task.prompts(7)
        assert natural.kinds == (f"n{config.nodes}",) and len(natural.kind_B) == 7
    longer = BREVO2[30].build().prompts(5, nodes=200)
    assert int(longer.lengths_B.min()) > BREVO2[30].row_tokens and longer.kinds == ("n200",)


def test_any_right_order_counts_and_only_with_its_end() -> None:
    prompts = TASK.prompts(200)
    written = torch.zeros(200, prompts.ids_BP.shape[1] + prompts.answers_BQ.shape[1] + 3, dtype=torch.long)
    others = 0
    for row, ids, n, answer, m in zip(written, prompts.ids_BP, prompts.lengths_B.tolist(), prompts.answers_BQ.tolist(),
                                      prompts.answer_lengths_B.tolist(), strict=True):  # fmt: skip
        edges, query, order = taken_apart(TASK, [*ids[:n].tolist(), *answer[:m]])
        one = next(tuple(order[a] for a in swap) for swap in swaps(len(order)) if is_right(
            edges, query, tuple(order[a] for a in swap)))  # fmt: skip
        others += list(one) != order
        row[: n + m] = torch.tensor([*ids[:n].tolist(), *map(TASK.vocabulary.id, one), 0])
        row[n + m] = 5  # whatever comes after the end
    assert others > 100
    grades = TASK.grade(prompts, written)
    assert bool(grades.exact_B.all()) and grades.answer_B.equal(grades.exact_B) and bool(grades.hint_B.all())
    assert not TASK.grade(prompts, F.pad(prompts.ids_BP, (0, 0))).answer_B.any(), "nothing written"
    endless = written[:, : int((prompts.lengths_B + prompts.answer_lengths_B).min()) - 1]
    assert not TASK.grade(prompts, endless).answer_B[prompts.lengths_B + 1 < endless.shape[1]].any()


def swaps(count: int) -> list[list[int]]:
    """Orders of 0 .. count - 1 with two neighbours exchanged, and the order itself at the end."""
    same = list(range(count))
    return [*([*same[:at], at + 1, at, *same[at + 2 :]] for at in range(count - 1)), same]


def test_texts_say_what_they_are_about() -> None:
    for text in TASK.texts(torch.arange(20)):
        edges, query, answer = taken_apart(TASK, [*text.ids, 0])
        assert text.about["edges"] == len(edges) and text.about["depth"] == depth(edges, query)
        assert text.labels.count("answer") == len(answer) and text.more["prompt"].endswith("<ans>")
