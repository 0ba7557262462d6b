"""Rendering pieces: the tensor program against a loop that lays strings end to end."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from physlm.tasks.rows import IGNORE, Pieces, Pool, pack, render, single, training_rows

STRINGS = [[0], [1], [2, 3], [4, 5, 6], [7, 8, 9, 10], []]


def obvious(row: list[int], width: int) -> tuple[list[int], list[int]]:
    """Tokens and roles of one row of string numbers; the role of string s is s + 1."""
    tokens = [(token, s + 1) for s in row for token in STRINGS[s]][:width]
    tokens += [(0, 0)] * (width - len(tokens))
    return [t for t, _ in tokens], [r for _, r in tokens]


def pieces_of(rows: list[list[int]]) -> tuple[torch.Tensor, Pieces]:
    pool = Pool()
    table = pool.add(STRINGS)
    which = torch.tensor(rows)
    return pool.tokens(), Pieces(table[which][..., 0], table[which][..., 1], which + 1)


@settings(max_examples=80)
@given(st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=1, max_size=5), st.integers(1, 20))
def test_render_lays_strings_end_to_end(rows: list[list[int]], width: int) -> None:
    pool, pieces = pieces_of(rows)
    entries = render(pool, pieces, width)
    for i, row in enumerate(rows):
        tokens, roles = obvious(row, width)
        assert entries.ids_RW[i].tolist() == tokens
        assert entries.roles_RW[i].tolist() == roles
        assert int(entries.lengths_R[i]) == min(sum(len(STRINGS[s]) for s in row), width)


def test_single_and_pack_put_separators_between_entries() -> None:
    pool, pieces = pieces_of([[2, 3], [4, 1], [1, 1], [3, 3]])
    alone = render(pool, single(pieces), 8)
    assert alone.ids_RW[0].tolist() == [0, 2, 3, 4, 5, 6, 0, 0]
    packed = render(pool, pack(pieces, 2), 14)
    assert packed.ids_RW[0].tolist() == [0, 2, 3, 4, 5, 6, 0, 7, 8, 9, 10, 1, 0, 0]
    assert packed.roles_RW[0].tolist()[-2:] == [1, 0]


def test_training_rows_shift_by_one_and_do_not_score_padding() -> None:
    pool, pieces = pieces_of([[2, 3]])
    rows = training_rows(render(pool, single(pieces), 9))
    assert rows.inputs_RT[0].tolist() == [0, 2, 3, 4, 5, 6, 0, 0]
    assert rows.targets_RT[0].tolist() == [2, 3, 4, 5, 6, 0, IGNORE, IGNORE]
