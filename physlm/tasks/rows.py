"""Ragged text as tensors: pieces of a token pool laid end to end, every position computed for itself.

Shape letters: R rows, P pieces a row, W positions, T = W - 1 training positions.

A task keeps all its fixed token strings (template parts, names, values) in one flat pool.  A row of text is then a list
of pieces, each the start and the length of a string in the pool:

    pool    <eos> He She was born on . Princeton , NJ Anya Briar Forger ...
    pieces  <eos> | Anya Briar Forger | was born on | October 2 , 1996 | . | She | ...

and every position's token is found by one scatter and one running sum over the row, on any device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = -1
ROLE_LIMIT = 64  # roles of a task are numbered below this


class Rows(NamedTuple):
    """Training rows: predict ``targets`` from ``inputs``; a target of ``IGNORE`` (padding) is not scored."""

    inputs_RT: Tensor
    targets_RT: Tensor


def unpacked(packed_RW: Tensor) -> Rows:
    """Rows of T = W - 1 positions from W tokens each, of any integer type: ids, and ``~id`` for what is no target."""
    wide_RW = packed_RW.long()
    return Rows(torch.where(wide_RW < 0, ~wide_RW, wide_RW)[:, :-1], wide_RW[:, 1:].clamp(min=IGNORE))


def marked_rows(ids_RW: Tensor, learnt_RW: Tensor) -> Rows:
    """Rows of T = W - 1 positions from W tokens each, whose targets are the marked tokens."""
    return Rows(ids_RW[:, :-1], ids_RW[:, 1:].where(learnt_RW[:, 1:], IGNORE))


class Entries(NamedTuple):
    """Labelled texts, one a row: ids, the role of each token (0 is padding), and the number of tokens."""

    ids_RW: Tensor
    roles_RW: Tensor
    lengths_R: Tensor


class Pieces(NamedTuple):
    """``start`` and ``length`` of each piece in the token pool, and the role of its tokens."""

    start_RP: Tensor
    length_RP: Tensor
    role_RP: Tensor


def render(pool: Tensor, pieces: Pieces, width: int) -> Entries:
    """Lay the pieces of each row end to end and cut or pad to ``width`` positions (padding repeats token 0, role 0).

    Along a piece the place in the pool grows by one a position and the role stays; where a piece begins both jump.
    So both are running sums, kept in one integer, place * ROLE_LIMIT + role; the jumps of empty pieces just add up.
    """
    ends_RP = pieces.length_RP.cumsum(-1)
    code_RP = pieces.start_RP * ROLE_LIMIT + pieces.role_RP
    after_RP = code_RP + (pieces.length_RP - 1) * ROLE_LIMIT  # the code of a piece's last token
    jump_RP = code_RP - F.pad(after_RP[:, :-1], (1, 0)) - ROLE_LIMIT
    steps_RW = torch.full((len(ends_RP), width + 1), ROLE_LIMIT, device=pool.device)
    begins_RP = F.pad(ends_RP[:, :-1], (1, 0)).clamp_max(width)  # beyond the width: into a column that is cut off
    code_RW = steps_RW.scatter_add_(-1, begins_RP, jump_RP)[:, :width].cumsum(-1)
    lengths_R = ends_RP[:, -1].clamp_max(width)
    code_RW.masked_fill_(torch.arange(width, device=pool.device) >= lengths_R[:, None], 0)
    # ROLE_LIMIT is 2**6
    return Entries(pool.take(code_RW >> 6), code_RW & 63, lengths_R)


def training_rows(entries: Entries) -> Rows:
    """Shift by one: W = T + 1 rendered positions become T inputs and T targets."""
    ids, roles = entries.ids_RW, entries.roles_RW
    return Rows(ids[:, :-1], torch.where(roles[:, 1:] > 0, ids[:, 1:], IGNORE))


def laid_out(size_RI: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Things of these sizes after another in each row: the number of the one that holds each position, and where it
    begins; (R, W) each.  Sizes are at least 1 and fill the row."""
    begin_RI = size_RI.cumsum(1) - size_RI
    marks_RW = size_RI.new_zeros(len(size_RI), width + 1)
    marks_RW.scatter_add_(1, begin_RI.clamp_max(width), torch.ones_like(size_RI))
    number_RW = marks_RW[:, :width].cumsum(1) - 1
    return number_RW, begin_RI.gather(1, number_RW)


# The separator <eos> is every pool's first token; as a piece it has start 0, length 1 and the role of plain text.
_SEPARATOR = (0, 1, 1)


def single(pieces: Pieces) -> Pieces:
    """Each entry alone in its row, between two separators."""
    return Pieces(*(F.pad(x, (1, 1), value=v) for x, v in zip(pieces, _SEPARATOR, strict=True)))


def pack(pieces: Pieces, entries: int) -> Pieces:
    """``entries`` entries after another in each row, a separator before each one and at the end."""
    before = (F.pad(x, (1, 0), value=v) for x, v in zip(pieces, _SEPARATOR, strict=True))
    rows = (x.unflatten(0, (-1, entries)).flatten(1) for x in before)
    return Pieces(*(F.pad(x, (0, 1), value=v) for x, v in zip(rows, _SEPARATOR, strict=True)))


class Pool:
    """Collects token strings while a task is built and remembers where each one starts."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []
        self._size = 0

    def add(self, strings: Sequence[Sequence[int]]) -> Tensor:
        """Append the strings; return their (start, length) pairs, (strings, 2) int64."""
        lengths = torch.tensor([len(string) for string in strings])
        starts = self._size + lengths.cumsum(0) - lengths
        self.add_table(torch.tensor([token for string in strings for token in string], dtype=torch.long))
        return torch.stack((starts, lengths), -1)

    def add_table(self, table: Tensor) -> int:
        """Append a table of equally long strings, one a row; return where the first one starts."""
        start = self._size
        self._parts.append(table.flatten())
        self._size += table.numel()
        return start

    def tokens(self) -> Tensor:
        """The pool, int64."""
        return torch.cat(self._parts)
