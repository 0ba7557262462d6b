"""What PaTH needs of a chunk, see ``physlm.models.recurrences.path_chunks``, in one pass over memory each way.

One program holds one chunk of one head.  Products are made of inputs that are rounded to TF32, as everywhere in PaTH;
those of the inverse of three such products each, which keep the digits of float32.

Shapes: N chunks of C positions (all rows, heads and chunks), h width of a head; C and h are powers of two from 16 up.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

WARPS = 8


@triton.jit
def _fine(a, b):
    """A B with the digits of float32."""
    return tl.dot(a, b, input_precision="tf32x3")


@triton.jit
def _dot(a, b):
    return tl.dot(a, b, input_precision="tf32")


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
    """(I + A)^-1 of A with nothing on and above its diagonal: blocks of 1, 2, 4, .. positions are put together, see
    ``recurrences.delta.unit_inverse``."""
    row = tl.arange(0, C)[:, None]
    column = tl.arange(0, C)[None, :]
    x = tl.where(row == column, 1.0, 0.0) - tl.where((row == column + 1) & (column % 2 == 0), a, 0.0)
    for level in tl.static_range(1, LEVELS):
        beside = ((row >> level) == (column >> level) + 1) & ((column >> level) % 2 == 0)
        x -= _fine(_fine(x, tl.where(beside, a, 0.0)), x)
    return x


@triton.jit
def _forward_kernel(
    q_ptr, k_ptr, w_ptr, beta_ptr, within_ptr, queries_ptr, keys_ptr, through_ptr, inverse_ptr,
    C: tl.constexpr, h: tl.constexpr, LEVELS: tl.constexpr,
):  # fmt: skip
    row = tl.arange(0, C)[:, None]
    column = tl.arange(0, C)[None, :]
    w = _chunk(w_ptr, C, h)
    beta = _chunk(beta_ptr, C, 1)
    turns = tl.trans(w)
    inverse = _inverse(tl.where(row > column, beta * _fine(w, turns), 0.0), C, LEVELS)
    _store(inverse_ptr, inverse, C, C)
    x = inverse * tl.trans(beta)
    across = tl.arange(0, h)
    through = tl.where(across[:, None] == across[None, :], 1.0, 0.0) - _dot(turns, _dot(x, w))
    _store(through_ptr, through, h, h)
    q = _chunk(q_ptr, C, h)
    from_q = _dot(tl.where(row >= column, _dot(q, turns), 0.0), x)
    _store(queries_ptr, q - _dot(from_q, w), C, h)
    k = _chunk(k_ptr, C, h)
    to_k = tl.where(row > column, _dot(w, tl.trans(k)), 0.0)
    within = _dot(q, tl.trans(k)) - _dot(from_q, to_k)
    _store(within_ptr, tl.where(row >= column, within, float("-inf")), C, C)
    _store(keys_ptr, k - _dot(tl.trans(_dot(x, to_k)), w), C, h)


def forward(
    q_NCh: Tensor, k_NCh: Tensor, w_NCh: Tensor, beta_NC: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Scores within (N, C, C), Q' and K' (N, C, h), P (N, h, h) and the inverse (N, C, C); all contiguous."""
    count, chunk, width = q_NCh.shape
    within, inverse = (q_NCh.new_empty(count, chunk, chunk) for _ in range(2))
    queries, keys, through = torch.empty_like(q_NCh), torch.empty_like(q_NCh), q_NCh.new_empty(count, width, width)
    _forward_kernel[(count,)](q_NCh, k_NCh, w_NCh, beta_NC, within, queries, keys, through, inverse,
                              **_constants(chunk, width))  # fmt: skip
    return within, queries, keys, through, inverse


def _constants(chunk: int, width: int) -> dict[str, int]:
    return {"C": chunk, "h": width, "LEVELS": chunk.bit_length() - 1, "num_warps": WARPS}


@triton.jit
def _backward_kernel(
    q_ptr, k_ptr, w_ptr, beta_ptr, inverse_ptr, g_within_ptr, g_queries_ptr, g_keys_ptr, g_through_ptr,
    for_q_ptr, for_k_ptr, for_w_ptr, for_beta_ptr, C: tl.constexpr, h: tl.constexpr,
):  # fmt: skip
    """With g_x the gradient of x, and X, G, F, S of the formulas inverse diag(b), lower(Q W^T), G X, below(W K^T)."""
    row = tl.arange(0, C)[:, None]
    column = tl.arange(0, C)[None, :]
    w = _chunk(w_ptr, C, h)
    turns = tl.trans(w)
    beta = _chunk(beta_ptr, C, 1)
    inverse = _chunk(inverse_ptr, C, C)
    x = inverse * tl.trans(beta)

    # P = I - W^T X W
    g_through = _chunk(g_through_ptr, h, h)
    g_turned = -_dot(w, g_through)  # of X W
    for_w = _dot(tl.trans(x), g_turned) - _dot(_dot(x, w), tl.trans(g_through))
    g_x = _dot(g_turned, turns)

    # K' = K - (X S)^T W
    k = _chunk(k_ptr, C, h)
    to_k = tl.where(row > column, _dot(w, tl.trans(k)), 0.0)
    g_keys = _chunk(g_keys_ptr, C, h)
    for_w -= _dot(_dot(x, to_k), g_keys)
    g_product = -_dot(w, tl.trans(g_keys))  # of X S
    g_x += _dot(g_product, tl.trans(to_k))
    g_to_k = _dot(tl.trans(x), g_product)

    # the scores within, Q K^T - F S, and Q' = Q - F W
    q = _chunk(q_ptr, C, h)
    g_within = tl.where(row >= column, _chunk(g_within_ptr, C, C), 0.0)
    for_k = g_keys + _dot(tl.trans(g_within), q)
    g_queries = _chunk(g_queries_ptr, C, h)
    for_q = g_queries + _dot(g_within, k)
    g_from_q = -_dot(g_within, tl.trans(to_k)) - _dot(g_queries, turns)
    seen = tl.where(row >= column, _dot(q, turns), 0.0)  # G
    from_q = _dot(seen, x)
    g_to_k = tl.where(row > column, g_to_k - _dot(tl.trans(from_q), g_within), 0.0)
    for_w -= _dot(tl.trans(from_q), g_queries)
    g_x += _dot(tl.trans(seen), g_from_q)
    g_seen = tl.where(row >= column, _dot(g_from_q, tl.trans(x)), 0.0)
    _store(for_q_ptr, for_q + _dot(g_seen, w), C, h)
    _store(for_k_ptr, for_k + _dot(tl.trans(g_to_k), w), C, h)
    for_w += _dot(tl.trans(g_seen), q) + _dot(g_to_k, k)

    # the inverse of I + A,  A = below(diag(b) W W^T)
    for_beta = tl.sum(g_x * inverse, 0)
    turned = tl.trans(inverse)
    g_a = tl.where(row > column, -_fine(_fine(turned, g_x * tl.trans(beta)), turned), 0.0)
    for_beta += tl.sum(g_a * _dot(w, turns), 1)
    scaled = g_a * beta
    _store(for_w_ptr, for_w + _dot(scaled, w) + _dot(tl.trans(scaled), w), C, h)
    tl.store(for_beta_ptr + tl.program_id(0).to(tl.int64) * C + tl.arange(0, C), for_beta)


def backward(
    q_NCh: Tensor, k_NCh: Tensor, w_NCh: Tensor, beta_NC: Tensor, inverse_NCC: Tensor, g_within: Tensor,
    g_queries: Tensor, g_keys: Tensor, g_through: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """d / d Q, K, W (N, C, h) and b (N, C), from those of what ``forward`` gives; all contiguous."""
    count, chunk, width = q_NCh.shape
    for_q, for_k, for_w, for_beta = (torch.empty_like(x) for x in (q_NCh, k_NCh, w_NCh, beta_NC))
    constants = _constants(chunk, width)
    del constants["LEVELS"]
    _backward_kernel[(count,)](q_NCh, k_NCh, w_NCh, beta_NC, inverse_NCC, g_within, g_queries, g_keys, g_through,
                               for_q, for_k, for_w, for_beta, **constants)  # fmt: skip
    return for_q, for_k, for_w, for_beta
