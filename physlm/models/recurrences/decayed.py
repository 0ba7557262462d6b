"""Linear attention with decays: what is written fades, by a number for each head or for each channel of the keys.

    S_t = diag(a_t) S_(t-1) + k_t v_t^T,   o_t = S_t^T q_t,   0 < a_t <= 1

Linear attention (arXiv 2006.16236) has a = 1, Mamba2 (arXiv 2405.21060) a number a head, GLA (arXiv 2312.06635) one a
channel.  Whole rows are read in chunks of C positions.  With G the running sum of ln a from the beginning of a chunk
and S what it begins with,

    o_i = S^T (e^(G_i) q_i) + sum_(j <= i) (sum_c q_ic k_jc e^(G_ic - G_jc)) v_j
    S  <- diag(e^(G_C)) S + sum_j (e^(G_C - G_j) k_j) v_j^T

No exponent is above 0.  For decays of channels the sum over c is no product of two matrices, as e^(-G_j) alone would
overflow: in pieces of 16 positions the exponents of earlier pieces are taken from where the piece of the query begins,
G_i - R <= 0 and R - G_j <= 0, and those within the piece are written out.

Shape letters: ``..`` any leading axes (members, rows, heads), T positions, n chunks of C positions, p pieces of s
positions, h width of a key, e width of a value.  Arguments may have leading axes of one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physlm.models.parts.recurrent import chunk_of
from physlm.models.recurrences.chunks import (
    Chunked,
    above,
    decays,
    floored,
    in_chunks,
    read_chunks,
    running,
)
from physlm.models.recurrences.matmul import matmul

PIECE = 16


def decayed(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor | None = None, state: Tensor | None = None, chunk: int = 0,
    rounded: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """o (.., T, e) and the last S (.., h, e), in the dtype of the arguments: float32 or float64.

    Args:
        q, k: (.., T, h).
        v: (.., T, e).
        log_decay: ln a, (.., T, 1) of a head or (.., T, h) of its channels; None: 0.
        state: S before the first token, (.., h, e); None: 0.
        chunk: C, a multiple of 16; 0: ``chunk_of`` T.
        rounded: what the model computes in, see ``read_chunks``.
    """
    return read_chunks(decayed_chunks(q, k, v, log_decay, chunk, rounded), q.shape[-2], state, rounded)


def decayed_chunks(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor | None = None, chunk: int = 0, rounded: torch.dtype | None = None
) -> Chunked:
    """The recurrence in chunks; arguments as of ``decayed``."""
    by_channels = log_decay is not None and log_decay.shape[-1] > 1
    chunk = chunk or chunk_of(q.shape[-2], "channels" if by_channels else "decayed")
    fade = torch.zeros_like(k[..., :1]) if log_decay is None else floored(log_decay)
    q, k, v, fade = (in_chunks(x, chunk) for x in (q, k, v, fade))
    total = running(fade)  # G
    end = total[..., -1:, :]
    weights = _by_channels(q, k, total) if by_channels else matmul(q, k.mT, rounded) * decays(total)
    return Chunked(weights, q * total.exp(), end.exp().mT, k * (end - total).exp(), v)


def decayed_step(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    """The same for one token more, T = 1, by the recurrence itself."""
    kept = state if log_decay is None else floored(log_decay).exp().mT * state
    state = kept + k.mT @ v
    return q @ state, state


def _by_channels(q: Tensor, k: Tensor, total: Tensor) -> Tensor:
    """sum_c q_ic k_jc e^(G_ic - G_jc) for j <= i, else 0, (.., n, C, C), of decays of channels."""
    chunk = q.shape[-2]
    size = min(PIECE, chunk)
    q, total_q = (x.unflatten(-2, (-1, size)) for x in (q, total))  # (.., n, p, s, h)
    # R, the sum before the piece of the query
    start = torch.cat((torch.zeros_like(total_q[..., :1, -1:, :]), total_q[..., :-1, -1:, :]), -3)
    pieces = torch.arange(q.shape[-3], device=q.device)
    later = (torch.arange(chunk, device=q.device) // size >= pieces[:, None])[..., None]  # (p, C, 1): no earlier piece
    fade = (start - total[..., None, :, :]).masked_fill(later, -torch.inf).exp()
    earlier = (q * (total_q - start).exp()) @ (k[..., None, :, :] * fade).mT  # (.., n, p, s, C)
    return earlier.flatten(-3, -2) + _on_diagonal(_within(q, k.unflatten(-2, (-1, size)), total_q))


def _within(q: Tensor, k: Tensor, total: Tensor) -> Tensor:
    """The same within each piece, (.., p, s, s)."""
    gap = total[..., :, None, :] - total[..., None, :, :]
    hidden = above(gap.shape[-2], 1, gap.device)[..., None]
    return (q[..., :, None, :] * k[..., None, :, :] * gap.masked_fill(hidden, -torch.inf).exp()).sum(-1)


def _on_diagonal(blocks: Tensor) -> Tensor:
    """(.., p, s, s) as the blocks on the diagonal of (.., C, C)."""
    pieces = blocks.shape[-3]
    own = torch.eye(pieces, dtype=blocks.dtype, device=blocks.device)[:, None, :, None]
    return (blocks[..., None, :] * own).flatten(-2).flatten(-3, -2)
