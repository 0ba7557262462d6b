"""Cycles in a window: right questions, filler that changes nothing, as much of it as is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from physlm.errors import UserError
from physlm.tasks.playground.cycles import KINDS, CyclesConfig
from physlm.tasks.prompts import Prompts

CONFIG = CyclesConfig(nodes=4, hops=3, queries=5, names=40, window=50, share=0.8, fillers=5, row_tokens=80)
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
        assert len(asked) == 4 and asked[(k + 1) % 4] == WORDS[answer]
        assert task.fault([*ids[: len(text)], answer]) == ""
        assert "wrong answer" in task.fault([*ids[: len(text)], answer % 40 + 1])
        assert {node: after[node] for node in asked} == edges_of(clean), "the same cycle"
        others = len(after) - 4
        assert all(2 <= len(cycle_of(after, node)) <= 4 for node in after), "cycles of as many nodes, none of one"
        extra = len(text) - len(clean)
        assert extra == 2 * others + sum(word.startswith("<filler") for word in text)
        edges = int(share * 25 + 1e-9)
        assert extra == (2 * (edges - (edges % 4 == 1)) if kind == "edges" else int(share * 50 + 1e-9))
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
        amounts[text.about["filler"]].append(len(text.ids) - 1 - 2 * 4 - 4 * 5)
        words = [WORDS[i] for i in text.ids]
        asked = [tuple(words[at : at + 2]) for at in range(len(words) - 20, len(words), 4)]
        assert len({*asked}) == 5, "different questions"
        task, first = CONFIG.build(), len(words) - 20
        for at in range(first, len(words), 4):
            wrong = [*text.ids]
            wrong[at + 3] = text.ids[first + 1] if text.ids[at + 3] != text.ids[first + 1] else text.ids[1]
            assert task.fault(text.ids) == "" and (wrong == text.ids or "wrong answer" in task.fault(wrong))
    for kind, found in amounts.items():
        assert len(found) > 60 and min(found) <= 3 and 37 <= max(found) <= 40, kind
        assert kind != "edges" or not any(amount % 2 for amount in found)
    only = replace(CONFIG, filler="words").build().texts(torch.arange(50))
    assert {text.about["filler"] for text in only} == {"words"}


def test_what_does_not_fit_is_refused() -> None:
    task = CONFIG.build()
    for condition, message in (({"filled": 0.9}, "filled 0.9, expected between 0 and 0.84"), ({"hop": 4}, "hop 4"),
                               ({"filler": "edge"}, "did you mean 'edges'"), ({"filled": float("nan")}, "filled nan"),
                               ({"split": "test"}, "split")):  # fmt: skip
        with pytest.raises(UserError, match=message):
            task.prompts(2, **condition)
    for settings, message in (({"names": 20}, "task.names"), ({"queries": 13}, "between 1 and 12"),
                              ({"share": 0.9}, "task.share"), ({"window": 60}, "between 8 and 59"),
                              ({"hops": 5}, "task.hops")):  # fmt: skip
        with pytest.raises(UserError, match=message):
            replace(CONFIG, **settings)
    few = replace(CONFIG, names=20, filler="words").build()
    with pytest.raises(UserError, match=r"filled 0.8, expected between 0 and 0.64"):
        few.prompts(2, filled=0.8, filler="edges")
