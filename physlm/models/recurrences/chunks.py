"""Rows in chunks: how they are cut, and decays within and across them.

Shape letters: ``..`` any leading axes (members, rows, heads), T positions, n chunks of C positions, h width of a key.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physlm.models.parts.recurrent import CHUNK

LEAST = 16
# exp(-50) = 2e-22: the past is gone.  A log decay below counts as this, so that sums over a chunk keep their digits.
FLOOR = -50.0


def chunk_of(positions: int) -> int:
    """C: the power of two from T up, at least 16 and at most 64."""
    return min(CHUNK, max(LEAST, 1 << (positions - 1).bit_length()))


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
    within = running(in_chunks(x, chunk_of(positions)))
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


def carried(decay: Tensor, added: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
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
        current = (a * current if a.shape[-1] == 1 else a @ current) + u
    return torch.stack(before, -3), current
