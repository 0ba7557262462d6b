"""Filler: where parts come to stand in it, and how the problems of any task are filled with it."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch

from physlm.errors import UserError
from physlm.tasks.playground.depo import DepoConfig
from physlm.tasks.playground.haystack import FILLERS, begins, fill, filler, filler_words, guessed
from physlm.tasks.prompts import Prompts, cut

DEPO = DepoConfig(nodes=5, hops=3, shortest_name=1, longest_name=1, name_words=9, row_tokens=200).build()
WORDS = 7


def problems() -> tuple[Prompts, torch.Tensor]:
    """Problems of Depo, and where their edges and the question begin; names have one token."""
    prompts = DEPO.prompts(50, nodes=5, hop=3)
    at = torch.arange(prompts.ids_BP.shape[1])
    return prompts, ((at % 2 == 1) & (at <= 11)).expand(prompts.ids_BP.shape)


def test_parts_stand_after_their_share_of_the_filler_and_after_the_parts_before() -> None:
    share = torch.tensor([[0.0, 0.5, 0.999], [0.1, 0.2, 0.3]], dtype=torch.double)
    size = torch.tensor([[2, 3, 2]])
    assert begins(share, torch.tensor([4, 0]), size).tolist() == [[0, 2 + 2, 4 + 5], [0, 2, 5]]


def test_the_two_kinds_of_filler() -> None:
    numbers = torch.arange(300)
    assert filler("repeat", 4, 1, numbers[:2], 6).tolist() == [[0, 1, 2, 3, 0, 1]] * 2
    drawn = filler("words", 5, 1, numbers, 100)
    assert drawn[7:9].equal(filler("words", 5, 1, numbers[7:9], 100))
    assert all(abs(int(n) - 6000) < 5 * math.sqrt(6000) for n in drawn.flatten().bincount())
    assert filler_words(2) == ("<filler_1>", "<filler_2>")


@pytest.mark.parametrize("kind", FILLERS)
@pytest.mark.parametrize("tokens", [0, 1, 30])
def test_a_filled_problem_is_the_problem_with_filler_before_its_parts(kind: str, tokens: int) -> None:
    prompts, opens = problems()
    first = len(DEPO.vocabulary)
    filled = fill(prompts, opens, tokens, kind, WORDS, first, key=3)
    assert filled.lengths_B.equal(prompts.lengths_B + tokens) and filled.answers_BQ.equal(prompts.answers_BQ)
    for before, ids, n in zip(prompts.ids_BP.tolist(), filled.ids_BP.tolist(), prompts.lengths_B.tolist(), strict=True):
        assert [i for i in ids[: n + tokens] if i < first] == before[:n] and not any(ids[n + tokens :])
        assert ids[0] == 0 and max(ids) < first + WORDS
        assert ids[n + tokens - 3 : n + tokens] == before[n - 3 : n], "the question comes after all filler"
        for x, y in zip(before[1:11:2], before[2:12:2], strict=True):
            assert (x, y) in pairwise(ids), "edges are whole"
    if tokens == 0:
        assert filled.ids_BP.equal(prompts.ids_BP)


def test_each_part_stands_after_a_uniform_number_of_fillers_in_their_order() -> None:
    ids = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 0]]).expand(10_000, -1)
    prompts = cut(ids, torch.full((10_000,), 7), torch.full((10_000,), 8), ("all",), 1)
    opens = torch.tensor([False, *[True] * 6]).expand(10_000, -1)
    before = Counter[int]()
    for row in fill(prompts, opens, 3, "words", WORDS, 7, key=4).ids_BP.tolist():
        assert row.index(6) == len(row) - 1, "the question is the last part"
        before.update(row.index(part) - part for part in range(1, 6))
    # five independent places out of four each; those of one text are dependent only by their order
    assert all(abs(before[n] - 12_500) < 5 * math.sqrt(12_500) for n in range(4)) and len(before) == 4


def test_filler_goes_in_one_place_where_there_is_one_and_nowhere_else() -> None:
    prompts, _ = problems()
    start = (torch.arange(prompts.ids_BP.shape[1]) == 1).expand(prompts.ids_BP.shape)
    filled = fill(prompts, start, 4, "repeat", WORDS, 100, key=1)
    assert filled.ids_BP[:, 5:].equal(prompts.ids_BP[:, 1:]) and bool((filled.ids_BP[:, 1:5] >= 100).all())
    for opens, tokens in ((start & False, 4), (start, -1)):
        with pytest.raises(UserError, match=r"expected at least 0 tokens and 1 part"):
            fill(prompts, opens, tokens, "words", WORDS, 100, key=1)


def test_guesses_are_each_fitting_place_as_often() -> None:
    prompts, _ = problems()
    ids = torch.tensor([[0, 5, 9, 6, 7, 8]]).expand(6000, -1)
    asked = prompts._replace(ids_BP=ids, lengths_B=torch.full((6000,), 5))
    assert guessed(asked, 5, 9, 1)[:, :5].equal(ids[:, :5])
    counts = Counter(guessed(asked, 5, 9, 1)[:, 5].tolist())
    assert set(counts) == {5, 6, 7}, "what is beyond the prompt does not count"
    assert all(abs(n - 2000) < 5 * math.sqrt(2000) for n in counts.values())
