"""What PaTH needs of a chunk, see ``physlm.models.recurrences.path_chunks``, in one pass over memory each way.

One program holds one chunk of one head.  Products are of TF32, as everywhere in PaTH; those of the inverse have the
digits of float32.

Shapes: N chunks of C positions (all rows, heads and chunks), h width of a head; C and h are powers of two from 16 up.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from physlm.models.kernels.tf32 import dot, fine_dot

WARPS = 4
SMALL = 32  # positions whose inverse one program makes


@triton.jit
def _chunk(ptr, rows: tl.constexpr, columns: tl.constexpr):
    """The matrix (rows, columns) of a program."""
    at = tl.arange(0, rows)[:, None] * columns + tl.arange(0, columns)[None, :]
    return tl.load(ptr + tl.program_id(0).to(tl.int64) * rows * columns + at)


@triton.jit
def _store(ptr, x, rows: tl.constexpr, columns: tl.constexpr):
    at = tl.arange(0, rows)[:, None] * columns + tl.arange(0, columns)[None, :]
    tl.store(ptr + tl.program_id(0).to(tl.int64) * rows * columns + at, x)


@triton.jit
def _inverse(a, C: tl.constexpr, LEVELS: tl.constexpr):
    """(I + A)^-1 of A with nothing on and above its diagonal: the blocks of 16 on the diagonal row by row, in float32;
    then blocks of 16, 32, .. are put together, see ``recurrences.delta.unit_inverse``."""
    row = tl.arange(0, C)[:, None]
    column = tl.arange(0, C)[None, :]
    B: tl.constexpr = C // 16
    place = tl.arange(0, 16)
    apart = tl.reshape(tl.where((row // 16) == (column // 16), a, 0.0), [B, 16, B, 16])
    blocks = tl.sum(apart, 2)  # (B, 16, 16)
    small = tl.zeros([B, 16, 16], tl.float32) + tl.where(place[:, None] == place[None, :], 1.0, 0.0)[None, :, :]
    for number in tl.static_range(1, 16):
        own = tl.sum(tl.where((place == number)[None, :, None], blocks, 0.0), 1)  # this row of A, (B, 16)
        less = tl.sum(own[:, :, None] * small, 1)
        small -= tl.where((place == number)[None, :, None], less[:, None, :], 0.0)
    whole = tl.broadcast_to(small[:, :, None, :], [B, 16, B, 16])
    x = tl.where((row // 16) == (column // 16), tl.reshape(whole, [C, C]), 0.0)
    for level in tl.static_range(4, LEVELS):
        beside = ((row >> level) == (column >> level) + 1) & ((column >> level) % 2 == 0)
        x -= fine_dot(fine_dot(x, tl.where(beside, a, 0.0)), x)
    return x


@triton.jit
def _inverse_kernel(w_ptr, beta_ptr, inverse_ptr, C: tl.constexpr, h: tl.constexpr, LEVELS: tl.constexpr):
    """(I + A)^-1,  A = below(diag(b) W W^T).  A kernel of its own, so that neither holds more than the registers do."""
    w = _chunk(w_ptr, C, h)
    below = tl.arange(0, C)[:, None] > tl.arange(0, C)[None, :]
    a = tl.where(below, _chunk(beta_ptr, C, 1) * fine_dot(w, tl.trans(w)), 0.0)
    _store(inverse_ptr, _inverse(a, C, LEVELS), C, C)


@triton.jit
def _merge_kernel(w_ptr, beta_ptr, halves_ptr, inverse_ptr, C: tl.constexpr, h: tl.constexpr):
    """The same of C = 2 S positions from that of each half: [[P, 0], [-R B P, R]]."""
    S: tl.constexpr = C // 2
    at = tl.arange(0, S)
    row = at[:, None]
    column = at[None, :]
    across = tl.arange(0, h)[None, :]
    number = tl.program_id(0).to(tl.int64)
    w_ptr += number * C * h + row * h + across
    halves_ptr += number * 2 * S * S + row * S + column
    inverse_ptr += number * C * C + row * C + column
    first = tl.load(halves_ptr)
    second = tl.load(halves_ptr + S * S)
    strength = tl.load(beta_ptr + number * C + S + row)
    below = strength * fine_dot(tl.load(w_ptr + S * h), tl.trans(tl.load(w_ptr)))
    tl.store(inverse_ptr, first)
    tl.store(inverse_ptr + S, tl.zeros([S, S], tl.float32))
    tl.store(inverse_ptr + S * C, -fine_dot(fine_dot(second, below), first))
    tl.store(inverse_ptr + S * C + S, second)


def inverses(w_NCh: Tensor, beta_NC1: Tensor) -> Tensor:
    """(N, C, C), halves first where C is more than ``SMALL``: 64 rows at once would not fit into registers."""
    count, chunk, width = w_NCh.shape
    size = min(chunk, SMALL)
    found = w_NCh.new_empty(count * chunk // size, size, size)
    _inverse_kernel[(len(found),)](w_NCh, beta_NC1, found, LEVELS=size.bit_length() - 1, **_constants(size, width))
    while size < chunk:
        size *= 2
        halves, found = found, w_NCh.new_empty(count * chunk // size, size, size)
        _merge_kernel[(len(found),)](w_NCh, beta_NC1, halves, found, **_constants(size, width))
    return found


@triton.jit
def _forward_kernel(
    q_ptr, k_ptr, w_ptr, beta_ptr, inverse_ptr, within_ptr, queries_ptr, keys_ptr, through_ptr,
    C: tl.constexpr, h: tl.constexpr,
):  # fmt: skip
    row = tl.arange(0, C)[:, None]
    column = tl.arange(0, C)[None, :]
    w = _chunk(w_ptr, C, h)
    turns = tl.trans(w)
    x = _chunk(inverse_ptr, C, C) * tl.trans(_chunk(beta_ptr, C, 1))
    across = tl.arange(0, h)
    through = tl.where(across[:, None] == across[None, :], 1.0, 0.0) - dot(turns, dot(x, w))
    _store(through_ptr, through, h, h)
    q = _chunk(q_ptr, C, h)
    from_q = dot(tl.where(row >= column, dot(q, turns), 0.0), x)
    _store(queries_ptr, q - dot(from_q, w), C, h)
    k = _chunk(k_ptr, C, h)
    to_k = tl.where(row > column, dot(w, tl.trans(k)), 0.0)
    within = dot(q, tl.trans(k)) - dot(from_q, to_k)
    _store(within_ptr, tl.where(row >= column, within, float("-inf")), C, C)
    _store(keys_ptr, k - dot(tl.trans(dot(x, to_k)), w), C, h)


def forward(
    q_NCh: Tensor, k_NCh: Tensor, w_NCh: Tensor, beta_NC: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Scores within (N, C, C), Q' and K' (N, C, h), P (N, h, h) and the inverse (N, C, C); all contiguous."""
    count, chunk, width = q_NCh.shape
    within, inverse = q_NCh.new_empty(count, chunk, chunk), inverses(w_NCh, beta_NC)
    queries, keys, through = torch.empty_like(q_NCh), torch.empty_like(q_NCh), q_NCh.new_empty(count, width, width)
    constants = _constants(chunk, width)
    _forward_kernel[(count,)](q_NCh, k_NCh, w_NCh, beta_NC, inverse, within, queries, keys, through, **constants)
    return within, queries, keys, through, inverse


def _constants(chunk: int, width: int) -> dict[str, int]:
    return {"C": chunk, "h": width, "num_warps": WARPS}


# ---- Backward: g_x is the gradient of x, and X, G, F, S are the inverse diag(b), lower(Q W^T), G X, below(W K^T)


@triton.jit
def _passing_kernel(
    k_ptr, w_ptr, beta_ptr, inverse_ptr, g_keys_ptr, g_through_ptr, for_w_ptr, g_x_ptr, g_to_k_ptr,
    C: tl.constexpr, h: tl.constexpr,
):  # fmt: skip
    """What P and K' give to W, X and S: P = I - W^T X W,  K' = K - (X S)^T W."""
    below = tl.arange(0, C)[:, None] > tl.arange(0, C)[None, :]
    w = _chunk(w_ptr, C, h)
    x = _chunk(inverse_ptr, C, C) * tl.trans(_chunk(beta_ptr, C, 1))
    g_through = _chunk(g_through_ptr, h, h)
    g_turned = -dot(w, g_through)  # of X W
    for_w = dot(tl.trans(x), g_turned) - dot(dot(x, w), tl.trans(g_through))
    g_x = dot(g_turned, tl.trans(w))
    to_k = tl.where(below, dot(w, tl.trans(_chunk(k_ptr, C, h))), 0.0)
    g_keys = _chunk(g_keys_ptr, C, h)
    _store(for_w_ptr, for_w - dot(dot(x, to_k), g_keys), C, h)
    g_product = -dot(w, tl.trans(g_keys))  # of X S
    _store(g_x_ptr, g_x + dot(g_product, tl.trans(to_k)), C, C)
    _store(g_to_k_ptr, dot(tl.trans(x), g_product), C, C)


@triton.jit
def _scores_kernel(
    q_ptr, k_ptr, w_ptr, beta_ptr, inverse_ptr, g_within_ptr, g_queries_ptr, g_keys_ptr, for_q_ptr, for_k_ptr,
    for_w_ptr, g_x_ptr, g_to_k_ptr, C: tl.constexpr, h: tl.constexpr,
):  # fmt: skip
    """The same of the scores within, Q K^T - F S, and Q' = Q - F W; added to what P and K' give."""
    row = tl.arange(0, C)[:, None]
    column = tl.arange(0, C)[None, :]
    w = _chunk(w_ptr, C, h)
    k = _chunk(k_ptr, C, h)
    q = _chunk(q_ptr, C, h)
    x = _chunk(inverse_ptr, C, C) * tl.trans(_chunk(beta_ptr, C, 1))
    g_within = tl.where(row >= column, _chunk(g_within_ptr, C, C), 0.0)
    g_queries = _chunk(g_queries_ptr, C, h)
    to_k = tl.where(row > column, dot(w, tl.trans(k)), 0.0)
    g_from_q = -dot(g_within, tl.trans(to_k)) - dot(g_queries, tl.trans(w))
    g_seen = tl.where(row >= column, dot(g_from_q, tl.trans(x)), 0.0)
    _store(for_q_ptr, g_queries + dot(g_within, k) + dot(g_seen, w), C, h)
    seen = tl.where(row >= column, dot(q, tl.trans(w)), 0.0)  # G
    _store(g_x_ptr, _chunk(g_x_ptr, C, C) + dot(tl.trans(seen), g_from_q), C, C)
    from_q = tl.trans(dot(seen, x))
    g_to_k = tl.where(row > column, _chunk(g_to_k_ptr, C, C) - dot(from_q, g_within), 0.0)
    for_k = _chunk(g_keys_ptr, C, h) + dot(tl.trans(g_within), q) + dot(tl.trans(g_to_k), w)
    _store(for_k_ptr, for_k, C, h)
    for_w = _chunk(for_w_ptr, C, h) - dot(from_q, g_queries)
    _store(for_w_ptr, for_w + dot(tl.trans(g_seen), q) + dot(g_to_k, k), C, h)


@triton.jit
def _inverse_backward_kernel(
    w_ptr, beta_ptr, inverse_ptr, g_x_ptr, for_w_ptr, for_beta_ptr, C: tl.constexpr, h: tl.constexpr,
):  # fmt: skip
    """Of X = (I + A)^-1 diag(b),  A = below(diag(b) W W^T): what is added to d / d W, and d / d b."""
    row = tl.arange(0, C)[:, None]
    column = tl.arange(0, C)[None, :]
    inverse = _chunk(inverse_ptr, C, C)
    beta = _chunk(beta_ptr, C, 1)
    g_x = _chunk(g_x_ptr, C, C)
    for_beta = tl.sum(g_x * inverse, 0)
    turned = tl.trans(inverse)
    g_a = tl.where(row > column, -fine_dot(fine_dot(turned, g_x * tl.trans(beta)), turned), 0.0)
    w = _chunk(w_ptr, C, h)
    for_beta += tl.sum(g_a * dot(w, tl.trans(w)), 1)
    scaled = g_a * beta
    _store(for_w_ptr, _chunk(for_w_ptr, C, h) + dot(scaled + tl.trans(scaled), w), C, h)
    tl.store(for_beta_ptr + tl.program_id(0).to(tl.int64) * C + tl.arange(0, C), for_beta)


def backward(
    q_NCh: Tensor, k_NCh: Tensor, w_NCh: Tensor, beta_NC: Tensor, inverse_NCC: Tensor, g_within: Tensor,
    g_queries: Tensor, g_keys: Tensor, g_through: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """d / d Q, K, W (N, C, h) and b (N, C), from those of what ``forward`` gives; all contiguous."""
    count, chunk, width = q_NCh.shape
    for_q, for_k, for_w, for_beta = (torch.empty_like(x) for x in (q_NCh, k_NCh, w_NCh, beta_NC))
    constants = _constants(chunk, width)
    g_x, g_to_k = torch.empty_like(inverse_NCC), torch.empty_like(inverse_NCC)
    _passing_kernel[(count,)](k_NCh, w_NCh, beta_NC, inverse_NCC, g_keys, g_through, for_w, g_x, g_to_k, **constants)
    _scores_kernel[(count,)](q_NCh, k_NCh, w_NCh, beta_NC, inverse_NCC, g_within, g_queries, g_keys, for_q, for_k,
                             for_w, g_x, g_to_k, **constants)  # fmt: skip
    _inverse_backward_kernel[(count,)](w_NCh, beta_NC, inverse_NCC, g_x, for_w, for_beta, **constants)
    return for_q, for_k, for_w, for_beta
