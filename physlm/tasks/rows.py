"""Ragged text as tensors: pieces of a token pool laid end to end, every position computed for itself.

Shape letters: R rows, P pieces a row, W positions, T = W - 1 training positions.

A task keeps all its fixed token strings (template parts, names, values) in one flat pool.  A row of text is then a list
of pieces, each the start and the length of a string in the pool:

    pool    <eos> He She was born on . Princeton , NJ Anya Briar Forger ...
    pieces  <eos> | Anya Briar Forger | was born on | October 2 , 1996 | . | She | ...

and the token at position w is found by one binary search in the running sum of lengths, on any device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = -1


class Rows(NamedTuple):
    """Training rows: predict ``targets`` from ``inputs``; a target of ``IGNORE`` (padding) is not scored."""

    inputs_RT: Tensor
    targets_RT: Tensor


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
    """Lay the pieces of each row end to end and cut or pad to ``width`` positions (padding repeats token 0, role 0)."""
    ends_RP = pieces.length_RP.cumsum(-1)
    place_W = torch.arange(width, device=pool.device)
    place_RW = place_W.expand(len(ends_RP), width).contiguous()
    piece_RW = torch.searchsorted(ends_RP, place_RW, right=True)
    inside_RW = piece_RW < ends_RP.shape[-1]
    piece_RW = piece_RW.clamp_max(ends_RP.shape[-1] - 1)
    shift_RP = pieces.start_RP - (ends_RP - pieces.length_RP)
    source_RW = torch.where(inside_RW, shift_RP.gather(-1, piece_RW) + place_W, 0)
    roles_RW = torch.where(inside_RW, pieces.role_RP.gather(-1, piece_RW), 0)
    return Entries(pool[source_RW], roles_RW, ends_RP[:, -1].clamp_max(width))


def training_rows(entries: Entries) -> Rows:
    """Shift by one: W = T + 1 rendered positions become T inputs and T targets."""
    ids, roles = entries.ids_RW, entries.roles_RW
    return Rows(ids[:, :-1], torch.where(roles[:, 1:] > 0, ids[:, 1:], IGNORE))


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
