"""The filter of ``physlm.models.local_filter`` with four taps, in one pass over memory each way.

Forward reads each number of x once from memory (its three later uses find it in the cache) and writes y.  Backward
walks each stretch of a row from its end: the four inputs and the three later gradients that a position needs stand in
registers and move on with it, so that x and the gradient are read once, whatever follows the filter.  It reads
``AHEAD`` positions before it uses the first: a load never waits for a store that came before it.  The step of
generation reads one token and the three before it, and leaves the last three in their place.

With a gate, channel c of y is made of channels c and H + c of x; one program holds both.

Shapes: M members, B rows, T positions, C channels of x, H channels of y (C, or C / 2 with a gate), P stretches of a
row.  C is a constant of the kernels: the compiler must know by which power of two it can be divided to read several
channels at once, and Triton tells it of 16 alone.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

AHEAD = 4  # positions that the backward pass reads before it uses them
TOKENS = 16  # of one program of the forward pass; half as many with a gate, which reads twice as much of each
STEP_ROWS = 4  # of one program of the step
ACTIVATION = {"": 0, "gelu": 1, "relu2": 2, "swiglu": 3, "relu2glu": 2}
GATED = ("swiglu", "relu2glu")


def walk_of(channels: int, then: str) -> tuple[int, int]:
    """(positions of a stretch, a multiple of ``AHEAD``; channels of a warp) of the backward pass.

    What follows the filter needs registers, which leaves fewer channels to a thread.  Long stretches have fewer
    partial sums; narrow inputs need short ones to fill the processors.
    """
    if then:
        return 64, 128
    return (128 if channels > 512 else 64), 256


@triton.jit
def _act(c, ACT: tl.constexpr):
    """The activation that follows the filter."""
    if ACT == 1:
        inner = 1.5957691216057308 * (c + 0.044715 * c * c * c)  # twice the argument of tanh
        return c * tl.sigmoid(inner)
    if ACT == 2:
        positive = tl.maximum(c, 0.0)
        return positive * positive
    if ACT == 3:
        return c * tl.sigmoid(c)
    return c


@triton.jit
def _slope(c, ACT: tl.constexpr):
    """Its derivative."""
    if ACT == 1:
        inner = 1.5957691216057308 * (c + 0.044715 * c * c * c)
        s = tl.sigmoid(inner)
        return s + c * s * (1.0 - s) * 1.5957691216057308 * (1.0 + 0.134145 * c * c)
    if ACT == 2:
        return 2.0 * tl.maximum(c, 0.0)
    s = tl.sigmoid(c)
    return s + c * s * (1.0 - s)


@triton.jit
def _taps(ptr, inside, C: tl.constexpr, R: tl.constexpr):
    """What the token itself and the three before it are multiplied with."""
    w0 = tl.load(ptr, mask=inside, other=0.0) + R
    w1 = tl.load(ptr + C, mask=inside, other=0.0)
    w2 = tl.load(ptr + 2 * C, mask=inside, other=0.0)
    w3 = tl.load(ptr + 3 * C, mask=inside, other=0.0)
    return w0, w1, w2, w3


# ---- Forward


@triton.jit
def _filtered(x_ptr, filter_ptr, at, mask, place, inside, C: tl.constexpr, R: tl.constexpr):
    """What stands before the activation, for a block of tokens and channels."""
    w0, w1, w2, w3 = _taps(filter_ptr, inside, C, R)
    total = w0[None, :] * tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    before = tl.load(x_ptr + at - C, mask=mask & (place >= 1)[:, None], other=0.0).to(tl.float32)
    total += w1[None, :] * before
    before = tl.load(x_ptr + at - 2 * C, mask=mask & (place >= 2)[:, None], other=0.0).to(tl.float32)
    total += w2[None, :] * before
    before = tl.load(x_ptr + at - 3 * C, mask=mask & (place >= 3)[:, None], other=0.0).to(tl.float32)
    total += w3[None, :] * before
    return total


@triton.jit
def _forward_kernel(
    x_ptr, filter_ptr, y_ptr, N, T, C: tl.constexpr, R: tl.constexpr, ACT: tl.constexpr, GATED: tl.constexpr,
    BN: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """One program: BN tokens of one member, BC channels of y."""
    H: tl.constexpr = C // 2 if GATED else C
    member = tl.program_id(2).to(tl.int64)
    token = tl.program_id(0) * BN + tl.arange(0, BN)
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = channel < H
    place = token % T
    filter_ptr += member * 4 * C + channel
    at = (member * N + token)[:, None] * C + channel[None, :]
    mask = (token < N)[:, None] & inside[None, :]
    y = _act(_filtered(x_ptr, filter_ptr, at, mask, place, inside, C, R), ACT)
    if GATED:
        y *= _filtered(x_ptr, filter_ptr + H, at + H, mask, place, inside, C, R)
    at = (member * N + token)[:, None] * H + channel[None, :]
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=mask)


def forward(x_MBTC: Tensor, filter_M4C: Tensor, residual: bool, then: str) -> Tensor:
    """y (M, B, T, H) in the dtype of x."""
    x, weights = x_MBTC.contiguous(), filter_M4C.contiguous()
    members, rows, positions, channels = x.shape
    out = _outputs(channels, then)
    y = x.new_empty(members, rows, positions, out)
    block = min(256, triton.next_power_of_2(out))
    tokens = TOKENS // 2 if then in GATED else TOKENS
    grid = (triton.cdiv(rows * positions, tokens), triton.cdiv(out, block), members)
    _forward_kernel[grid](x, weights, y, rows * positions, positions, C=channels, R=float(residual),
                          ACT=ACTIVATION[then], GATED=then in GATED, BN=tokens, BC=block, num_warps=4)  # fmt: skip
    return y


def _outputs(channels: int, then: str) -> int:
    """H."""
    return channels // 2 if then in GATED else channels


# ---- One token more


@triton.jit
def _step_half(x_ptr, last_ptr, filter_ptr, row, channel, mask, inside, C: tl.constexpr, R: tl.constexpr):
    """What stands before the activation; the last three inputs move on."""
    w0, w1, w2, w3 = _taps(filter_ptr + channel, inside, C, R)
    x = tl.load(x_ptr + row * C + channel[None, :], mask=mask, other=0.0)
    at = last_ptr + row * 3 * C + channel[None, :]
    third = tl.load(at, mask=mask, other=0.0)
    second = tl.load(at + C, mask=mask, other=0.0)
    first = tl.load(at + 2 * C, mask=mask, other=0.0)
    tl.debug_barrier()  # small blocks stand in several threads: all have read before one writes
    tl.store(at, second, mask=mask)
    tl.store(at + C, first, mask=mask)
    tl.store(at + 2 * C, x.to(last_ptr.dtype.element_ty), mask=mask)
    return (w0[None, :] * x.to(tl.float32) + w1[None, :] * first.to(tl.float32)
            + w2[None, :] * second.to(tl.float32) + w3[None, :] * third.to(tl.float32))  # fmt: skip


@triton.jit
def _step_kernel(
    x_ptr, last_ptr, filter_ptr, y_ptr, B, C: tl.constexpr, R: tl.constexpr, ACT: tl.constexpr, GATED: tl.constexpr,
    BN: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """One program: BN rows of one member, BC channels of y."""
    H: tl.constexpr = C // 2 if GATED else C
    member = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * BN + tl.arange(0, BN)
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = channel < H
    mask = (row < B)[:, None] & inside[None, :]
    row = (member * B + row)[:, None]
    filter_ptr += member * 4 * C
    y = _act(_step_half(x_ptr, last_ptr, filter_ptr, row, channel, mask, inside, C, R), ACT)
    if GATED:
        y *= _step_half(x_ptr, last_ptr, filter_ptr, row, channel + H, mask, inside, C, R)
    tl.store(y_ptr + row * H + channel[None, :], y.to(y_ptr.dtype.element_ty), mask=mask)


def step(x_MB1C: Tensor, last_MB3C: Tensor, filter_M4C: Tensor, residual: bool, then: str) -> Tensor:
    """y (M, B, 1, H) in the dtype of x; the three inputs in ``last``, contiguous, move on."""
    assert last_MB3C.is_contiguous(), "it is changed in place"
    x, weights = x_MB1C.contiguous(), filter_M4C.contiguous()
    members, rows, _, channels = x.shape
    out = _outputs(channels, then)
    y = x.new_empty(members, rows, 1, out)
    block = min(256, triton.next_power_of_2(out))
    grid = (triton.cdiv(rows, STEP_ROWS), triton.cdiv(out, block), members)
    _step_kernel[grid](x, last_MB3C, weights, y, rows, C=channels, R=float(residual), ACT=ACTIVATION[then],
                       GATED=then in GATED, BN=STEP_ROWS, BC=block, num_warps=4)  # fmt: skip
    return y


# ---- Backward


@triton.jit
def _at(ptr, first, back: tl.constexpr, T, C: tl.constexpr, inside):
    """What stands ``back`` positions before ``first``; zeros outside of the row."""
    place = first - back
    return tl.load(ptr + first.to(tl.int64) * C - back * C, mask=inside & (place >= 0) & (place < T), other=0.0)


@triton.jit
def _four(ptr, first, T, C: tl.constexpr, inside):
    """The same of a position and the three before it."""
    return (_at(ptr, first, 0, T, C, inside), _at(ptr, first, 1, T, C, inside),
            _at(ptr, first, 2, T, C, inside), _at(ptr, first, 3, T, C, inside))  # fmt: skip


@triton.jit
def _sum(w, x0, x1, x2, x3):
    """Four numbers times the taps."""
    return w[0] * x0 + w[1] * x1 + w[2] * x2 + w[3] * x3


@triton.jit
def _leave(for_x_ptr, at, w, x0, g, later, sums, mask):
    """Store d / d x of a position; its part of the filter's gradient, x_t g_(t+s), is added to the sums."""
    for_x = _sum(w, g, later[0], later[1], later[2])
    tl.store(for_x_ptr + at, for_x.to(for_x_ptr.dtype.element_ty), mask=mask)
    return sums[0] + x0 * g, sums[1] + x0 * later[0], sums[2] + x0 * later[1], sums[3] + x0 * later[2]


@triton.jit
def _store_sums(partial_ptr, sums, inside, C: tl.constexpr):
    tl.store(partial_ptr, sums[0], mask=inside)
    tl.store(partial_ptr + C, sums[1], mask=inside)
    tl.store(partial_ptr + 2 * C, sums[2], mask=inside)
    tl.store(partial_ptr + 3 * C, sums[3], mask=inside)


@triton.jit
def _backward_kernel(
    x_ptr, filter_ptr, grad_ptr, for_x_ptr, partial_ptr, T, P,
    C: tl.constexpr, STRETCHED: tl.constexpr, R: tl.constexpr, ACT: tl.constexpr, GATED: tl.constexpr,
    BC: tl.constexpr,
):  # fmt: skip
    """One program: one stretch of one row of one member, BC channels of y, from its last position to its first.

    ``w``, ``x``, ``sums`` and ``later`` belong to the channels of the gate, or to all where there is none; ``v``,
    ``u``, ``u_sums`` and ``u_later`` to those that it multiplies.
    """
    H: tl.constexpr = C // 2 if GATED else C
    LAG: tl.constexpr = 3 if ACT > 0 else 0  # what follows the filter is undone by the inputs of three tokens before
    member = tl.program_id(2).to(tl.int64)
    piece = tl.program_id(0)  # of all rows of the member
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = channel < H
    filter_ptr += member * 4 * C + channel
    w = _taps(filter_ptr, inside, C, R)
    end = (piece % P + 1) * STRETCHED  # positions from T on hold zeros
    row = member * (tl.num_programs(0) // P) + piece // P
    x_ptr += row * T * C + channel
    for_x_ptr += row * T * C + channel
    grad_ptr += row * T * H + channel
    zero = tl.zeros([BC], tl.float32)
    sums = (zero, zero, zero, zero)
    if GATED:
        v = _taps(filter_ptr + H, inside, C, R)
        u_sums = (zero, zero, zero, zero)

    # three positions of the next stretch lend their gradients
    later = (_at(grad_ptr, end, 0, T, H, inside).to(tl.float32), _at(grad_ptr, end + 1, 0, T, H, inside).to(tl.float32),
             _at(grad_ptr, end + 2, 0, T, H, inside).to(tl.float32))  # fmt: skip
    if ACT > 0:
        next2 = _at(x_ptr, end + 2, 0, T, C, inside).to(tl.float32)
        next1 = _at(x_ptr, end + 1, 0, T, C, inside).to(tl.float32)
        next0 = _at(x_ptr, end, 0, T, C, inside).to(tl.float32)
        x0 = _at(x_ptr, end, 1, T, C, inside).to(tl.float32)
        x1 = _at(x_ptr, end, 2, T, C, inside).to(tl.float32)
        x2 = _at(x_ptr, end, 3, T, C, inside).to(tl.float32)
        before0 = _sum(w, next0, x0, x1, x2)
        before1 = _sum(w, next1, next0, x0, x1)
        before2 = _sum(w, next2, next1, next0, x0)
        if GATED:
            u_later = (later[0] * _act(before0, ACT), later[1] * _act(before1, ACT), later[2] * _act(before2, ACT))
            next2 = _at(x_ptr + H, end + 2, 0, T, C, inside).to(tl.float32)
            next1 = _at(x_ptr + H, end + 1, 0, T, C, inside).to(tl.float32)
            next0 = _at(x_ptr + H, end, 0, T, C, inside).to(tl.float32)
            u0 = _at(x_ptr + H, end, 1, T, C, inside).to(tl.float32)
            u1 = _at(x_ptr + H, end, 2, T, C, inside).to(tl.float32)
            u2 = _at(x_ptr + H, end, 3, T, C, inside).to(tl.float32)
            later = (later[0] * _sum(v, next0, u0, u1, u2), later[1] * _sum(v, next1, next0, u0, u1),
                     later[2] * _sum(v, next2, next1, next0, u0))  # fmt: skip
        later = (later[0] * _slope(before0, ACT), later[1] * _slope(before1, ACT), later[2] * _slope(before2, ACT))

    for start in range(0, STRETCHED, 4):
        first = end - 1 - start
        grads = _four(grad_ptr, first, T, H, inside)
        read = _four(x_ptr, first - LAG, T, C, inside)
        if GATED:
            u_read = _four(x_ptr + H, first - LAG, T, C, inside)
        for k in tl.static_range(4):
            at = first.to(tl.int64) * C - k * C
            mask = inside & (first - k < T)
            g = grads[k].to(tl.float32)
            if ACT == 0:
                x0 = read[k].to(tl.float32)
            else:
                x3 = read[k].to(tl.float32)
                before = _sum(w, x0, x1, x2, x3)
                if GATED:
                    u3 = u_read[k].to(tl.float32)
                    u_g = g * _act(before, ACT)
                    g *= _sum(v, u0, u1, u2, u3)
                    u_sums = _leave(for_x_ptr + H, at, v, u0, u_g, u_later, u_sums, mask)
                    u_later = (u_g, u_later[0], u_later[1])
                    u0 = u1
                    u1 = u2
                    u2 = u3
                g *= _slope(before, ACT)
            sums = _leave(for_x_ptr, at, w, x0, g, later, sums, mask)
            later = (g, later[0], later[1])
            if ACT > 0:
                x0 = x1
                x1 = x2
                x2 = x3
    partial_ptr += (member * tl.num_programs(0) + piece) * 4 * C + channel
    _store_sums(partial_ptr, sums, inside, C)
    if GATED:
        _store_sums(partial_ptr + H, u_sums, inside, C)


def backward(
    x_MBTC: Tensor, filter_M4C: Tensor, grad_MBTH: Tensor, residual: bool, then: str
) -> tuple[Tensor, Tensor]:
    """(d / d x in its dtype, d / d filter (M, 4, C) in its dtype)."""
    x, weights, grad = x_MBTC.contiguous(), filter_M4C.contiguous(), grad_MBTH.contiguous()
    members, rows, positions, channels = x.shape
    out = _outputs(channels, then)
    stretch, lanes = walk_of(channels, then)
    pieces = triton.cdiv(positions, stretch)
    stretch = AHEAD * triton.cdiv(positions, AHEAD * pieces)  # all about as long
    for_x = torch.empty_like(x)
    partial_MP4C = torch.empty(members, rows * pieces, 4, channels, dtype=torch.float32, device=x.device)
    block = min(256, triton.next_power_of_2(out))
    grid = (rows * pieces, triton.cdiv(out, block), members)
    _backward_kernel[grid](
        x, weights, grad, for_x, partial_MP4C, positions, pieces, C=channels, STRETCHED=stretch, R=float(residual),
        ACT=ACTIVATION[then], GATED=then in GATED, BC=block, num_warps=max(1, block // lanes),
    )  # fmt: skip
    return for_x, partial_MP4C.sum(1).to(weights.dtype)
