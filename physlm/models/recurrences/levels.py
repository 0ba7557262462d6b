"""A memory of each scale of time in place of one: log-linear forms of linear recurrences (arXiv 2506.04761).

Of what came before the token at place t, the last 2^b tokens before t - t mod 2^b have the level b + 1, where bit b of
t is set; the token itself has the level 0.  So what is farther away is held in larger pieces: 13 = 8 + 4 + 1 reads
tokens 0 .. 7 at level 4, 8 .. 11 at level 3, 12 at level 1 and 13 at level 0.  Each level has an S of its own,

    o_t = sum_l g_tl (S_t^l)^T q_t        where every S^l fades and is written over as the S of the recurrence,

so that with g = 1 this is the recurrence itself: their sum is its S.  The level of key j for query i is 0 where i = j,
and else 1 + the highest bit in which i and j differ.  With L levels, all beyond belongs to the last one.

    before a token    level 0 is empty; its write is level 0
    after token t     levels 0 .. z are added to level z + 1, where 2^z is the largest power of two that divides t + 1

Whole rows are read in chunks: within a chunk of C = 2^c positions the level is that of the places within, and a chunk
sees chunks before it as a token sees tokens, at levels c + 1 up.

Shape letters: ``..`` any leading axes (members, rows, heads), T positions, L levels, n chunks of C positions, h width
of a key, e width of a value.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physlm.models.recurrences.chunks import Chunked, in_chunks, in_rows, through
from physlm.models.recurrences.matmul import matmul

Step = Callable[..., tuple[Tensor, Tensor]]


def level_of(size: int, device: torch.device) -> Tensor:
    """The level of key j for query i >= j, (T, T); above the diagonal of query j for key i."""
    place = torch.arange(size, device=device)
    differ = place[:, None] ^ place
    return sum((differ >= 1 << bit for bit in range(size.bit_length())), torch.zeros_like(differ))


def read_levels(
    chunked: Chunked, share: Tensor, positions: int, slots: int = 0, rounded: torch.dtype | None = None
) -> tuple[Tensor, Tensor | None]:
    """o (.., T, e), and what the levels 1 .. ``slots`` hold as the next token finds them, (.., slots, h, e).

    Args:
        chunked: of a row from its beginning; every position is read, R = C.
        share: g, (.., T, L).
        slots: at least the bits of T, or L - 1; 0: not asked for.
        rounded: what the model computes in, see ``products``; None: products as they stand.
    """
    chunk, levels = chunked.weights.shape[-1], share.shape[-1]
    share, first = in_chunks(share, chunk), chunk.bit_length()  # of the levels beyond a chunk
    held = _held(chunked, rounded)
    bits = (len(held) - 2).bit_length()
    read = matmul(chunked.weights * _within(share, chunk), chunked.values, rounded)
    if bits:
        # the queries of all levels beside each other, and so the memories below each other: one product
        queries = torch.cat([chunked.queries * _at(share, first + bit) for bit in range(bits)], -1)
        empty = torch.zeros_like(held[-1][max(held[-1])])
        memories = torch.stack([torch.cat([here.get(bit, empty) for bit in range(bits)], -2) for here in held[:-1]], -3)
        read = read + matmul(queries, memories, rounded)
    return in_rows(read, positions), _left(chunked, held, positions, slots, levels) if slots else None


def _at(share: Tensor, level: int) -> Tensor:
    """g of a level, or of the last one, (.., 1)."""
    level = min(level, share.shape[-1] - 1)
    return share[..., level : level + 1]


def _within(share: Tensor, chunk: int) -> Tensor:
    """g of key j of a chunk for query i, (.., n, C, C)."""
    level = level_of(chunk, share.device)
    found = torch.zeros_like(share[..., :1])
    for number in range(chunk.bit_length()):
        found = torch.where(level == number, _at(share, number), found)
    return found


def _held(chunked: Chunked, rounded: torch.dtype | None) -> list[dict[int, Tensor]]:
    """By bit of its number what a chunk finds, and at the end what one more would find: {bit: S (.., h, e)}."""
    added = matmul(chunked.writes.mT, chunked.values, rounded)
    found: list[dict[int, Tensor]] = [{}]
    for c in range(added.shape[-3]):
        decay, before = chunked.decay[..., c, :, :], found[-1]
        free = ((c + 1) & -(c + 1)).bit_length() - 1  # the lowest bit of c that is not set: those below it are
        after = {bit: through(decay, memory, rounded) for bit, memory in before.items() if bit > free}
        lower = [memory for bit, memory in before.items() if bit < free]
        after[free] = added[..., c, :, :]
        if lower:
            after[free] = after[free] + through(decay, sum(lower[1:], lower[0]), rounded)
        found.append(after)
    return found


def _left(
    chunked: Chunked, held: list[dict[int, Tensor]], positions: int, slots: int, levels: int
) -> Tensor:
    """What the levels 1 .. ``slots`` hold after the row."""
    chunk = chunked.weights.shape[-1]
    full, rest = divmod(positions, chunk)
    first, found = chunk.bit_length(), [torch.zeros_like(held[-1][max(held[-1])]) for _ in range(slots)]

    def add(level: int, memory: Tensor) -> None:
        level = min(level, levels - 1)
        found[level - 1] = found[level - 1] + memory

    for bit, memory in held[full].items():  # what a chunk that is not full was filled up with changes nothing
        add(first + bit, through(chunked.decay[..., full, :, :], memory) if rest else memory)
    for bit in range(first - 1):
        if rest >> bit & 1:
            end = rest >> bit << bit
            own = slice(end - (1 << bit), end)
            add(bit + 1, chunked.writes[..., full, own, :].mT @ chunked.values[..., full, own, :])
    return torch.stack(found, -3)


def levels_step(
    step: Step, q: Tensor, k: Tensor, v: Tensor, *rest: Tensor | None, share: Tensor, memory: Tensor, place_1: Tensor
) -> tuple[Tensor, Tensor]:
    """The same for one token more, at a place that only the device knows: o (.., 1, e) and the memory after it.

    Args:
        step: the recurrence for one token, as ``decayed_step``.
        q, k, v, rest: its arguments, (.., 1, x) each.
        share: g, (.., 1, L).
        memory: (.., slots, h, e); where there are fewer than L - 1, of a place below 2^slots.
    """
    slots = memory.shape[-3]
    empty = torch.zeros_like(memory[..., :1, :, :])
    values = torch.cat((v[..., None, :, :], torch.zeros_like(memory[..., :1, :])), -3)  # only level 0 is written to
    given = [None if x is None else x[..., None, :, :] for x in (q, k, *rest)]
    read, memories = step(*given[:2], values, *given[2:], torch.cat((empty, memory), -3))
    o = (read * share[..., : slots + 1].mT[..., None]).sum(-3)
    return o, (_merges(slots, place_1 + 1).to(o.dtype) @ memories.flatten(-2)).unflatten(-1, memory.shape[-2:])


def _merges(slots: int, count_1: Tensor) -> Tensor:
    """Which levels, 0 up, each of the levels 1 up is made of after so many tokens, (slots, slots + 1) bool."""
    lowest = count_1 & -count_1  # 2^z
    size = 1 << torch.arange(slots + 1, device=count_1.device)
    added = size <= lowest  # levels up to z
    into = size[:-1] == lowest
    into = torch.cat((into[:-1], size[-2:-1] <= lowest))  # the last holds all beyond
    stays = torch.eye(slots + 1, dtype=torch.bool, device=count_1.device)[1:] & ~added
    return stays | (into[:, None] & added)
