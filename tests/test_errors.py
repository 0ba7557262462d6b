"""How errors and reports show how many there are."""

import pytest

from physlm.errors import counted


@pytest.mark.parametrize(("number", "noun", "words"), [
    (1, "run", "1 run"), (0, "run", "0 runs"), (1_200, "run", "1,200 runs"), (2, "process", "2 processes"),
    (1, "process", "1 process"), (3, "entry", "3 entries"), (2, "key", "2 keys"), (1, "person", "1 person"),
    (5, "person", "5 people"), (0, "other person", "0 other people"),
    (2, "unneeded parameter", "2 unneeded parameters"),
])  # fmt: skip
def test_one_is_one_and_others_are_many(number: int, noun: str, words: str) -> None:
    assert counted(number, noun) == words
