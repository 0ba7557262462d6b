"""The filter of ``physlm.models.local_filter`` with four taps, in one pass over memory each way.

Forward reads each number of x once from memory (its three later uses find it in the cache) and writes y.  Backward
walks each stretch of a row from its end: the four inputs and the three later gradients that a position needs stand in
registers and move on with it, so that x and the gradient are read once, whatever follows the filter.

Shapes: M members, B rows, T positions, C channels; P stretches of a row, each of at most ``STRETCH`` positions.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BACKWARD_LANES = 128  # channels of a warp of the backward pass
STRETCH = 64  # positions that one program of the backward pass walks
TOKENS = 16  # of one program of the forward pass
THEN = {"": 0, "gelu": 1, "relu2": 2}


@triton.jit
def _then(c, THEN: tl.constexpr):
    """What follows the filter."""
    if THEN == 1:
        inner = 1.5957691216057308 * (c + 0.044715 * c * c * c)  # twice the argument of tanh
        return c * tl.sigmoid(inner)
    if THEN == 2:
        positive = tl.maximum(c, 0.0)
        return positive * positive
    return c


@triton.jit
def _slope(c, THEN: tl.constexpr):
    """Its derivative."""
    if THEN == 1:
        inner = 1.5957691216057308 * (c + 0.044715 * c * c * c)
        s = tl.sigmoid(inner)
        return s + c * s * (1.0 - s) * 1.5957691216057308 * (1.0 + 0.134145 * c * c)
    if THEN == 2:
        return 2.0 * tl.maximum(c, 0.0)
    return tl.full(c.shape, 1.0, tl.float32)


@triton.jit
def _forward_kernel(
    x_ptr, filter_ptr, y_ptr, N, T, C, R: tl.constexpr, THEN: tl.constexpr, BN: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """One program: BN tokens of one member, BC channels."""
    member = tl.program_id(2).to(tl.int64)
    token = tl.program_id(0) * BN + tl.arange(0, BN)
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = channel < C
    place = token % T
    filter_ptr += member * 4 * C + channel
    at = (member * N + token)[:, None] * C + channel[None, :]
    mask = (token < N)[:, None] & inside[None, :]
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    total = x * (tl.load(filter_ptr, mask=inside, other=0.0) + R)[None, :]
    for s in tl.static_range(1, 4):
        tap = tl.load(filter_ptr + s * C, mask=inside, other=0.0)
        before = tl.load(x_ptr + at - s * C, mask=mask & (place >= s)[:, None], other=0.0).to(tl.float32)
        total += tap[None, :] * before
    tl.store(y_ptr + at, _then(total, THEN).to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _backward_kernel(
    x_ptr, filter_ptr, grad_ptr, for_x_ptr, partial_ptr, T, C, P,
    STRETCHED: tl.constexpr, R: tl.constexpr, THEN: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """One program: one stretch of one row of one member, BC channels, from its last position to its first."""
    member = tl.program_id(2).to(tl.int64)
    piece = tl.program_id(0)  # of all rows of the member
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = channel < C
    filter_ptr += member * 4 * C + channel
    w0 = tl.load(filter_ptr, mask=inside, other=0.0)
    w1 = tl.load(filter_ptr + C, mask=inside, other=0.0)
    w2 = tl.load(filter_ptr + 2 * C, mask=inside, other=0.0)
    w3 = tl.load(filter_ptr + 3 * C, mask=inside, other=0.0)
    rows = tl.num_programs(0) // P
    first = (piece % P) * STRETCHED
    end = first + STRETCHED  # positions from T on hold zeros
    row = (member * rows + piece // P) * T * C + channel
    x_ptr += row
    grad_ptr += row
    for_x_ptr += row

    last = end + 2  # three positions of the next stretch lend their gradients
    x1 = tl.load(x_ptr + last.to(tl.int64) * C, mask=inside & (last < T), other=0.0).to(tl.float32)
    x2 = tl.load(x_ptr + (last - 1).to(tl.int64) * C, mask=inside & (last - 1 < T), other=0.0).to(tl.float32)
    x3 = tl.load(x_ptr + (last - 2).to(tl.int64) * C, mask=inside & (last - 2 < T), other=0.0).to(tl.float32)
    g1 = tl.zeros([BC], tl.float32)
    g2 = tl.zeros([BC], tl.float32)
    g3 = tl.zeros([BC], tl.float32)
    d0 = tl.zeros([BC], tl.float32)
    d1 = tl.zeros([BC], tl.float32)
    d2 = tl.zeros([BC], tl.float32)
    d3 = tl.zeros([BC], tl.float32)
    for back in range(0, STRETCHED + 3):
        place = last - back
        x0 = x1
        x1 = x2
        x2 = x3
        x3 = tl.load(x_ptr + (place - 3).to(tl.int64) * C, mask=inside & (place >= 3) & (place - 3 < T),
                     other=0.0).to(tl.float32)
        grad = tl.load(grad_ptr + place.to(tl.int64) * C, mask=inside & (place < T), other=0.0).to(tl.float32)
        if THEN > 0:
            grad *= _slope((w0 + R) * x0 + w1 * x1 + w2 * x2 + w3 * x3, THEN)
        own = (place < end) & (place < T)
        mine = tl.where(own, grad, 0.0)
        d0 += mine * x0
        d1 += mine * x1
        d2 += mine * x2
        d3 += mine * x3
        for_x = (w0 + R) * grad + w1 * g1 + w2 * g2 + w3 * g3
        tl.store(for_x_ptr + place.to(tl.int64) * C, for_x.to(for_x_ptr.dtype.element_ty), mask=inside & own)
        g3 = g2
        g2 = g1
        g1 = grad
    partial_ptr += (member * tl.num_programs(0) + piece) * 4 * C + channel
    tl.store(partial_ptr, d0, mask=inside)
    tl.store(partial_ptr + C, d1, mask=inside)
    tl.store(partial_ptr + 2 * C, d2, mask=inside)
    tl.store(partial_ptr + 3 * C, d3, mask=inside)


def forward(x_MBTC: Tensor, filter_M4C: Tensor, residual: bool, then: str) -> Tensor:
    """y (M, B, T, C) in the dtype of x."""
    x, weights = x_MBTC.contiguous(), filter_M4C.contiguous()
    members, rows, positions, channels = x.shape
    y = torch.empty_like(x)
    block = min(256, triton.next_power_of_2(channels))
    grid = (triton.cdiv(rows * positions, TOKENS), triton.cdiv(channels, block), members)
    _forward_kernel[grid](x, weights, y, rows * positions, positions, channels, R=float(residual), THEN=THEN[then],
                          BN=TOKENS, BC=block, num_warps=4)  # fmt: skip
    return y


def backward(
    x_MBTC: Tensor, filter_M4C: Tensor, grad_MBTC: Tensor, residual: bool, then: str
) -> tuple[Tensor, Tensor]:
    """(d / d x in its dtype, d / d filter (M, 4, C) in its dtype)."""
    x, weights, grad = x_MBTC.contiguous(), filter_M4C.contiguous(), grad_MBTC.contiguous()
    members, rows, positions, channels = x.shape
    pieces = triton.cdiv(positions, STRETCH)
    for_x = torch.empty_like(x)
    partial_MP4C = torch.empty(members, rows * pieces, 4, channels, dtype=torch.float32, device=x.device)
    block = min(256, triton.next_power_of_2(channels))
    grid = (rows * pieces, triton.cdiv(channels, block), members)
    _backward_kernel[grid](
        x, weights, grad, for_x, partial_MP4C, positions, channels, pieces,
        STRETCHED=triton.cdiv(positions, pieces), R=float(residual), THEN=THEN[then], BC=block,
        num_warps=max(1, block // BACKWARD_LANES),
    )  # fmt: skip
    return for_x, partial_MP4C.sum(1).to(weights.dtype)
