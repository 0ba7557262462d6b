"""Filler: its words, where parts come to stand in it, and guesses from a text."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from physlm.errors import UserError
from physlm.tasks.playground.haystack import FILLERS, begins, check_filler, filler, filler_words, guessed
from physlm.tasks.prompts import cut


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


def test_guesses_are_each_fitting_place_as_often() -> None:
    ids = torch.tensor([[0, 5, 9, 6, 7, 8, 0]]).expand(6000, -1)
    asked = cut(ids, torch.full((6000,), 5), torch.full((6000,), 7), ("all",), 1)
    assert guessed(asked, 5, 9, 1)[:, :5].equal(ids[:, :5])
    counts = Counter(guessed(asked, 5, 9, 1)[:, 5].tolist())
    assert set(counts) == {5, 6, 7}, "what is beyond the prompt does not count"
    assert all(abs(n - 2000) < 5 * math.sqrt(2000) for n in counts.values())


def test_other_kinds_of_filler_are_refused() -> None:
    for kind in FILLERS:
        check_filler(kind)
    with pytest.raises(UserError, match=r"task\.filler: unknown name 'word'.*words"):
        check_filler("word")
