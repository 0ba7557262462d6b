"""Wordings that are never trained on differ from those that are by more than a word.

That every word of them is trained is held against the texts of all claims in ``tests/test_experiments_part3.py``.
"""

from __future__ import annotations

from physlm.tasks.biography.kinds import HELD_OUT, INVERSE, KINDS, RETRIEVAL


def changes(one: list[str], two: list[str]) -> int:
    """The fewest words to put in, take out or replace that make one text the other."""
    row = list(range(len(two) + 1))
    for i, word in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(two, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def test_held_out_wordings_are_wordings_of_their_own() -> None:
    """Two words away from each that may be trained on, and from each other."""
    assert changes(list("abcd"), list("bcedf")) == 3 and changes(["a"], ["a"]) == 0
    several = [kind for kind in KINDS.values() if len(kind.forms) > 1]
    assert len(several) == len(RETRIEVAL) + len(INVERSE)
    for kind in several:
        for held_out in kind.forms[-HELD_OUT:]:
            others = [form for form in kind.forms if form != held_out]
            assert min(changes(held_out.split(), form.split()) for form in others) >= 2, held_out
