"""Attention within short rows, see ``physlm.models.short_attention``: one program holds a head of a row.

Scores, weights and their gradients are float32; products are made of 16 bits with sums in float32.  Whatever strides q,
k, v and the gradient have, their channels stand beside each other.

Shapes: N rows of all members, H heads, T positions, P >= T a power of two from 16 up, K width of a head.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

from physlm.models.short_attention import by_token

LEAST = 16  # positions, and channels, of a product
WARPS = {16: 1, 32: 2, 64: 4, 128: 8}  # by P


@triton.jit
def _place(H: tl.constexpr):
    """Row and head of a program; the heads of a row, which are near each other in memory, run together."""
    return (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H


@triton.jit
def _at(row, head, s_row, s_head, s_position, T, P: tl.constexpr, K: tl.constexpr):
    """Where the numbers of a head stand, (P, K), and which of its positions are there, (P, 1)."""
    t = tl.arange(0, P)[:, None]
    return row * s_row + head * s_head + t * s_position + tl.arange(0, K)[None, :], t < T


@triton.jit
def _load(ptr, row, head, s_row, s_head, s_position, T, P: tl.constexpr, K: tl.constexpr):
    at, there = _at(row, head, s_row, s_head, s_position, T, P, K)
    return tl.load(ptr + at, mask=there, other=0.0)


@triton.jit
def _weights(q, k, scale, P: tl.constexpr):
    """The softmax of each query, (P, P).  Queries behind the row see keys of it, so that they are finite."""
    scores = tl.dot(q, tl.trans(k)) * scale
    scores = tl.where(tl.arange(0, P)[:, None] >= tl.arange(0, P)[None, :], scores, float("-inf"))
    weights = tl.exp2(scores - tl.max(scores, 1)[:, None])
    return weights / tl.sum(weights, 1)[:, None]


@triton.jit
def _forward_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, T, q_row, q_head, q_at, k_row, k_head, k_at, v_row, v_head, v_at, o_row, o_head, o_at,
    scale, H: tl.constexpr, P: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    row, head = _place(H)
    q = _load(q_ptr, row, head, q_row, q_head, q_at, T, P, K)
    k = _load(k_ptr, row, head, k_row, k_head, k_at, T, P, K)
    v = _load(v_ptr, row, head, v_row, v_head, v_at, T, P, K)
    out = tl.dot(_weights(q, k, scale, P).to(v.dtype), v)
    at, there = _at(row, head, o_row, o_head, o_at, T, P, K)
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask=there)


@triton.jit
def _backward_kernel(
    q_ptr, k_ptr, v_ptr, grad_ptr, for_q_ptr, for_k_ptr, for_v_ptr, T, q_row, q_head, q_at, k_row, k_head, k_at,
    v_row, v_head, v_at, g_row, g_head, g_at, o_row, o_head, o_at, scale, natural,
    H: tl.constexpr, P: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """With weights p and the gradient g of o:  d / d v = p^T g,  d / d scores = p (g v^T - sum of p g v^T)."""
    row, head = _place(H)
    q = _load(q_ptr, row, head, q_row, q_head, q_at, T, P, K)
    k = _load(k_ptr, row, head, k_row, k_head, k_at, T, P, K)
    weights = _weights(q, k, scale, P)
    grad = _load(grad_ptr, row, head, g_row, g_head, g_at, T, P, K)
    own, there = _at(row, head, o_row, o_head, o_at, T, P, K)
    for_v = tl.dot(tl.trans(weights.to(grad.dtype)), grad)
    tl.store(for_v_ptr + own, for_v.to(for_v_ptr.dtype.element_ty), mask=there)
    v = _load(v_ptr, row, head, v_row, v_head, v_at, T, P, K)
    given = tl.dot(grad, tl.trans(v))
    given = weights * (given - tl.sum(weights * given, 1)[:, None]) * natural
    rounded = given.to(q.dtype)
    tl.store(for_q_ptr + own, tl.dot(rounded, k).to(for_q_ptr.dtype.element_ty), mask=there)
    tl.store(for_k_ptr + own, tl.dot(tl.trans(rounded), q).to(for_k_ptr.dtype.element_ty), mask=there)


def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """o, (N, H, T, k), with the heads of a token beside each other."""
    q, k, v = (_with_channels_beside(x) for x in (q, k, v))
    out = by_token(q)
    strides = [size for x in (q, k, v, out) for size in x.stride()[:3]]
    _forward_kernel[(_programs(q),)](q, k, v, out, q.shape[2], *strides, _scale(q) / math.log(2), **_constants(q))
    return out


def backward(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """d / d q, k and v, laid out as o is."""
    q, k, v, grad = (_with_channels_beside(x) for x in (q, k, v, grad))
    for_q, for_k, for_v = by_token(q), by_token(k), by_token(v)
    strides = [size for x in (q, k, v, grad, for_q) for size in x.stride()[:3]]
    _backward_kernel[(_programs(q),)](q, k, v, grad, for_q, for_k, for_v, q.shape[2], *strides,
                                      _scale(q) / math.log(2), _scale(q), **_constants(q))  # fmt: skip
    return for_q, for_k, for_v


def _with_channels_beside(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _programs(q: Tensor) -> int:
    return q.shape[0] * q.shape[1]


def _scale(q: Tensor) -> float:
    return float(q.shape[3] ** -0.5)


def _constants(q: Tensor) -> dict[str, int]:
    size = max(LEAST, triton.next_power_of_2(q.shape[2]))
    return {"H": q.shape[1], "P": size, "K": q.shape[3], "num_warps": WARPS[size]}
