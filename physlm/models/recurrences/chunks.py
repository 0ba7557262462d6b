"""Rows in chunks: how they are cut, decays within and across them, and the memory that goes from one to the next.

Every linear recurrence of this package, over rows that are cut into chunks of C positions, is

    O = weights V + queries S,     S <- decay S + writes^T V                                        (``Chunked``)

with S what the memory holds where a chunk begins.  ``decayed`` and ``delta`` say what the four are.

Shape letters: ``..`` any leading axes (members, rows, heads), T positions, n chunks of C positions, h width of a key, e
width of a value.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from physlm.models.recurrences.matmul import matmul

# e^-50 = 2e-22: a log decay below counts as this, so that running sums keep their digits.  Two errors follow.  What is
# before such a token keeps a weight of at most 2e-22, below a rounding of float64.  Differences of sums over a chunk of
# C tokens are wrong by 50 C roundings at worst, where all its gates are shut: 2e-4 of a weight in float32 with C = 64,
# 4e-13 in float64; with gates of 1/2 it is 3e-6, and where the gates are open nothing.
FLOOR = -50.0
ROWS = 64  # positions of a chunk of ``running_over_rows``


class Chunked(NamedTuple):
    """What a recurrence is for each of n chunks.

    Attributes:
        weights: of each value of the chunk for each position that is read, (.., n, R, C); R is C, or less where not
            every position is read.
        queries: what the memory before the chunk is read with, (.., n, R, h).
        decay: (.., n, h or 1, 1), multiplied entry by entry, or (.., n, h, h), a matrix.
        writes: what each value is written with, as it stands at the chunk's end, (.., n, C, h).
        values: (.., n, C, e).
    """

    weights: Tensor
    queries: Tensor
    decay: Tensor
    writes: Tensor
    values: Tensor


def read_chunks(
    chunked: Chunked, positions: int, state: Tensor | None = None, rounded: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """O (.., T, e) and the last S (.., h, e).

    Args:
        state: S before the first token; None: 0.
        rounded: what the model computes in, which says how products are made, see ``products``; None: as they stand.
    """
    before, last = carried(chunked.decay, matmul(chunked.writes.mT, chunked.values, rounded), state, rounded)
    read = matmul(chunked.queries, before, rounded) + matmul(chunked.weights, chunked.values, rounded)
    return in_rows(read, positions), last


def in_chunks(x: Tensor, chunk: int) -> Tensor:
    """(.., T, x) as (.., n, C, x), the last chunk filled up with zeros."""
    missing = -x.shape[-2] % chunk
    if missing:  # not F.pad: compiled, its gradient here had other strides than the compiler had planned for
        x = torch.cat((x, x.new_zeros((*x.shape[:-2], missing, x.shape[-1]))), -2)
    return x.unflatten(-2, (-1, chunk))


def in_rows(x: Tensor, positions: int) -> Tensor:
    """The way back: (.., n, C, x) as (.., T, x)."""
    return x.flatten(-3, -2)[..., :positions, :]


def floored(log_decay: Tensor) -> Tensor:
    """A log decay <= 0, at least ``FLOOR``; without a gradient where it was below."""
    return log_decay.clamp_min(FLOOR)


def running(x: Tensor) -> Tensor:
    """Sums over all positions of a chunk up to each, (.., C, x): a product with a triangle of ones, as cumsum of floats
    on a GPU is in no fixed order, and is refused where torch is asked for the same bits every time."""
    ones = torch.ones(x.shape[-2], x.shape[-2], dtype=x.dtype, device=x.device)
    return ones.tril() @ x


def running_over_rows(x: Tensor) -> Tensor:
    """The same over whole rows, (.., T, x), chunk by chunk."""
    positions = x.shape[-2]
    within = running(in_chunks(x, ROWS))
    ends = within[..., -1, :]
    return in_rows(within + (running(ends) - ends)[..., None, :], positions)


def decays(total: Tensor) -> Tensor:
    """L_ij = exp(G_i - G_j) for j <= i, else 0, of running sums G (.., C, 1) of log decays: (.., C, C).

    What lies above the diagonal is -inf before exp: exp first would give inf, and inf times 0 in the backward pass.
    """
    gap = total - total.mT
    return gap.masked_fill(above(gap.shape[-1], 1, gap.device), -torch.inf).exp()


def above(size: int, diagonal: int, device: torch.device) -> Tensor:
    """True where j >= i + ``diagonal``, (C, C)."""
    place = torch.arange(size, device=device)
    return place >= place[:, None] + diagonal


def carried(
    decay: Tensor, added: Tensor, state: Tensor | None, rounded: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """S_0 = ``state`` or 0, S_(c+1) = a_c S_c + U_c: the S before each chunk, (.., n, h, e), and the last one.

    Args:
        decay: a of each chunk: (.., n, h or 1, 1), multiplied entry by entry; or (.., n, h, h), a matrix.
        added: U, (.., n, h, e).
    """
    current = torch.zeros_like(added[..., 0, :, :]) if state is None else state
    before = []
    for c in range(added.shape[-3]):
        before.append(current)
        a, u = decay[..., c, :, :], added[..., c, :, :]
        current = through(a, current, rounded) + u
    return torch.stack(before, -3), current


def through(decay: Tensor, memory: Tensor, rounded: torch.dtype | None = None) -> Tensor:
    """a S, entry by entry or as a product."""
    return decay * memory if decay.shape[-1] == 1 else matmul(decay, memory, rounded)
