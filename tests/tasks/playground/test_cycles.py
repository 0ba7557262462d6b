"""Cycles in a window: right questions, filler that changes nothing, as much of it as is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from physlm.errors import UserError
from physlm.tasks.playground.cycles import KINDS, CyclesConfig
from physlm.tasks.prompts import Prompts

NODES = 7
CONFIG = CyclesConfig(nodes=NODES, hops=3, queries=5, names=50, window=100, share=0.8, fillers=5, row_tokens=130)
WORDS = CONFIG.vocabulary().words


def texts_of(prompts: Prompts) -> list[list[str]]:
    return [[WORDS[i] for i in ids[:n]] for ids, n in zip(prompts.ids_BP.tolist(), prompts.lengths_B.tolist(),
                                                          strict=True)]


def edges_of(text: list[str]) -> dict[str, str]:
    nodes = [word for word in text[1:-3] if word.startswith("n")]
    assert len(nodes) % 2 == 0
    found = dict(zip(nodes[::2], nodes[1::2], strict=True))
    assert len(found) == len(nodes) // 2, "each node has one successor"
    return found


def cycle_of(after: dict[str, str], node: str) -> list[str]:
    found = [node]
    while after[found[-1]] != node:
        found.append(after[found[-1]])
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_questions_are_those_of_the_cycle_whatever_fills_the_window(kind: Any, share: float) -> None:
    task = CONFIG.build()
    plain, filled = task.prompts(30), task.prompts(30, filled=share, filler=kind)
    assert filled.kinds == ("k1", "k2", "k3") and filled.answers_BQ.equal(plain.answers_BQ)
    for text, clean, answer, ids, k in zip(texts_of(filled), texts_of(plain), filled.answers_BQ[:, 0].tolist(),
                                           filled.ids_BP.tolist(), filled.kind_B.tolist(), strict=True):
        assert text[0] == "<bos>" and text[-3:] == clean[-3:] == [f"<query_{k + 1}>", text[-2], "<ans>"]
        after, asked = edges_of(text), cycle_of(edges_of(text), text[-2])
        assert len(asked) == NODES and asked[k + 1] == WORDS[answer] and WORDS[answer] not in asked[-1 - k :]
        assert task.fault([*ids[: len(text)], answer]) == ""
        assert "wrong answer" in task.fault([*ids[: len(text)], answer % 50 + 1])
        assert {node: after[node] for node in asked} == edges_of(clean), "the same cycle"
        others = len(after) - NODES
        assert all(2 <= len(cycle_of(after, node)) <= NODES for node in after), "cycles of as many nodes, none of one"
        order = [node for node in text[1:-3:1] if node in asked]
        assert order == [node for node in clean[1:-3] if node in asked], "in the same order"
        extra = len(text) - len(clean)
        assert extra == 2 * others + sum(word.startswith("<filler") for word in text)
        edges = int(share * 50 + 1e-9)
        assert extra == (2 * (edges - (edges % NODES == 1)) if kind == "edges" else int(share * 100 + 1e-9))
        assert (others > 0) == (kind == "edges" and share > 0)
        if kind == "repeat":
            begins = {(at - int(word[8:-1])) % 5 for at, word in enumerate(text) if word.startswith("<filler")}
            assert len(begins) == (share > 0), "one phrase, over which edges are written"


def test_training_shows_every_kind_and_amount_and_learns_the_answers() -> None:
    inputs, targets = CONFIG.build().rows(torch.arange(300))
    learnt = targets != -1
    marker = WORDS.index("<ans>")
    assert learnt.equal((targets == marker) | (inputs == marker)), "<ans>, and what comes after it"
    texts = CONFIG.build().texts(torch.arange(300))
    amounts: dict[Any, list[int]] = {kind: [] for kind in KINDS}
    for text in texts:
        amounts[text.about["filler"]].append(len(text.ids) - 1 - 2 * NODES - 4 * 5)
        words = [WORDS[i] for i in text.ids]
        asked = [tuple(words[at : at + 2]) for at in range(len(words) - 20, len(words), 4)]
        assert len({*asked}) == 5, "different questions"
        task, first = CONFIG.build(), len(words) - 20
        for at in range(first, len(words), 4):
            wrong = [*text.ids]
            wrong[at + 3] = text.ids[first + 1] if text.ids[at + 3] != text.ids[first + 1] else text.ids[1]
            assert task.fault(text.ids) == "" and (wrong == text.ids or "wrong answer" in task.fault(wrong))
    for kind, found in amounts.items():
        assert len(found) > 60 and min(found) <= 6 and 74 <= max(found) <= 80, kind
        assert kind != "edges" or not any(amount % 2 for amount in found)
    only = replace(CONFIG, filler="words").build().texts(torch.arange(50))
    assert {text.about["filler"] for text in only} == {"words"}


@pytest.mark.parametrize(("text", "fault"), [
    ("<bos> n1 n2 <filler_1> n2 n3 n3 n1 n5 n6 n6 n5 <query_2> n1 <ans> n3 <query_1> n3 <ans> n1", ""),
    ("<bos> n1 n2 n2 n3 n3 n1 <query_2> n1 <ans> n2 <query_1> n3 <ans> n1", "got a wrong answer to a question of k = "),
    ("<bos> n1 n2 n2 n3 n3 n1 <query_2> n1 <ans> n3 <query_1> n3 <ans> n3", "got a wrong answer to a question of k = "),
    ("<bos> n1 n2 n2 n3 n3 n2 <query_1> n1 <ans> n2", "got edges that are not cycles"),
    ("<bos> n1 n2 n2 n3 n3 n1 n1 <query_1> n1 <ans> n2", "got edges that are not cycles"),
    ("<bos> n1 <filler_1> n2 n2 n3 n3 n1 <query_1> n1 <ans> n2", "got an edge whose nodes do not stand side by side"),
    ("<bos> n1 n2 n2 n3 n3 n1", "got no question"),
    ("<bos> n1 n2 n2 n1 <query_1> n1 <ans> n2 <query_1> n1 <ans>", "got something other than <bos>, nodes and filler"),
    ("<bos> n1 n2 <ans> n2 n1 <query_1> n1 <ans> n2", "got something other than <bos>, nodes and filler"),
    ("<bos> n1 n2 <bos> n2 n1 <query_1> n1 <ans> n2", "got something other than <bos>, nodes and filler"),
    ("n1 n2 n2 n1 <query_1> n1 <ans> n2", "got something other than <bos>, nodes and filler"),
    ("<bos> n1 n2 n2 n1 <query_1> n9 <ans> n2", "got something other than a question about a node"),
    ("<bos> n1 n2 n2 n1 <query_1> n1 n2 n2", "got something other than a question about a node"),
])  # fmt: skip
def test_the_verifier_on_planted_cases(text: str, fault: str) -> None:
    task = CONFIG.build()
    found = task.fault(task.vocabulary.encode(text))
    assert found.startswith(fault) and bool(found) == bool(fault)


@pytest.mark.parametrize("names", [47, 60, 200, 1000])
def test_the_same_number_is_the_same_problem_whatever_training_shows(names: int) -> None:
    """However many names are drawn of however many there are: in training too, but for what the amount moves."""
    found = []
    kinds: tuple[Any, ...] = (*KINDS, "any")
    for kind in kinds:
        config = replace(CONFIG, names=names, filler=kind)
        words, texts = config.vocabulary().words, config.build().texts(torch.arange(40))
        found.append([[words[i] for i in text.ids[-20:]] for text in texts])
        for filler in KINDS:
            prompts = config.build().prompts(20, filled=0.6, filler=filler)
            asked = prompts.ids_BP.gather(1, prompts.lengths_B[:, None] - torch.tensor([3, 2, 1]))
            found.append(torch.cat((asked, prompts.answers_BQ), 1).tolist())
    trained, tested = found[:: len(KINDS) + 1], [one for i, one in enumerate(found) if i % (len(KINDS) + 1)]
    assert all(one == trained[0] for one in trained) and all(one == tested[0] for one in tested)


@pytest.mark.parametrize(("hops", "nodes"), [(1, 3), (3, 7), (4, 9)])
def test_no_steps_back_lead_where_steps_lead(hops: int, nodes: int) -> None:
    """With fewer nodes some would: with 8 four steps on and four back are the same node."""
    CyclesConfig(nodes, hops, queries=1)
    assert not {k % nodes for k in range(1, hops + 1)} & {-k % nodes for k in range(1, hops + 1)}
    assert {k % (nodes - 1) for k in range(1, hops + 1)} & {-k % (nodes - 1) for k in range(1, hops + 1)}
    with pytest.raises(UserError, match=rf"task\.nodes: got {nodes - 1}, expected between {nodes} and 256"):
        CyclesConfig(nodes - 1, hops, queries=1)


def test_all_that_is_no_cycle_may_be_filler() -> None:
    """Also where floats round what is left below the share: 1 - 16 / 20 < 0.2."""
    assert CyclesConfig(8, 2, 1, window=20, share=0.2).build().rows(torch.arange(3)).inputs_RT.shape == (3, 256)
    with pytest.raises(UserError, match=r"task\.share: got 0\.3, expected between 0 and 0\.2$"):
        CyclesConfig(8, 2, 1, window=20, share=0.3)


def test_what_does_not_fit_is_refused() -> None:
    task = CONFIG.build()
    for condition, message in (({"filled": 0.9}, "filled 0.9, expected between 0 and 0.86"), ({"hop": 4}, "hop 4"),
                               ({"filler": "edge"}, "did you mean 'edges'"), ({"filled": float("nan")}, "filled nan"),
                               ({"split": "test"}, "split")):  # fmt: skip
        with pytest.raises(UserError, match=message):
            task.prompts(2, **condition)
    for settings, message in (({"names": 20}, "task.names: got 20, expected between 47"),
                              ({"queries": 22}, "between 1 and 21"), ({"share": 0.9}, "task.share"),
                              ({"window": 110}, "between 14 and 109"), ({"window": 13}, "between 14 and 109"),
                              ({"nodes": 51}, "task.nodes: got 51, expected between 7 and 50"),
                              ({"hops": 4}, "task.nodes: got 7, expected between 9 and 50"),
                              ({"nodes": 6}, "task.nodes: got 6, expected between 7 and 50"),
                              ({"hops": 25}, "task.hops: got 25, expected between 1 and 24")):  # fmt: skip
        with pytest.raises(UserError, match=message):
            replace(CONFIG, **settings)
    few = replace(CONFIG, names=40, filler="words").build()
    with pytest.raises(UserError, match=r"filled 0.8, expected between 0 and 0.66"):
        few.prompts(2, filled=0.8, filler="edges")
