"""The filter of ``physlm.models.local_filter`` with four taps, in one pass over memory each way.

Both ways walk each stretch of a row from its end.  The inputs (and backward, the three later gradients) that a position
needs stand in registers and move on with it, so that each number is read once, whatever follows the filter.
``AHEAD`` positions are read before the first is used: no load waits for the store of the position before it.  The step
of generation reads one token and the three before it, and leaves the last three in their place.

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

from physlm.models.local_filter import GATES, channels_after

AHEAD = 4  # positions that are read before the first is used, see _four
LANES = 128  # channels of a warp
BLOCK = 256  # channels of a program
ACTIVATION = {"": 0, "gelu": 1, "relu2": 2, "swiglu": 3, "relu2glu": 2}


def walk_of(channels: int, then: str, backward: bool) -> tuple[int, int]:
    """(positions of a stretch, a multiple of ``AHEAD``; channels of a warp).

    Long stretches read less twice and have fewer partial sums; narrow inputs need short ones to fill the processors.
    Backward without anything that follows keeps little in registers, which leaves more channels to a thread.
    """
    wide = channels > 512
    if not backward:
        return (64 if wide else 32), LANES
    return (64, LANES) if then else (128 if wide else 64, 2 * LANES)


@triton.jit
def _act(c, ACT: tl.constexpr):
    """The activation that follows the filter."""
    if ACT == 1:
        return c * tl.sigmoid(c * (1.5957691216057308 + 0.07135481627260025 * c * c))  # of twice the argument of tanh
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
        square = c * c
        s = tl.sigmoid(c * (1.5957691216057308 + 0.07135481627260025 * square))
        return s + s * (1.0 - s) * c * (1.5957691216057308 + 0.21406444881780076 * square)
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


@triton.jit
def _sum(w, x0, x1, x2, x3):
    """Four numbers times the taps."""
    return w[0] * x0 + w[1] * x1 + w[2] * x2 + w[3] * x3


@triton.jit
def _at(ptr, first, back: tl.constexpr, T, C: tl.constexpr, inside):
    """What stands ``back`` positions before ``first``; zeros outside of the row."""
    place = first - back
    return tl.load(ptr + first.to(tl.int64) * C - back * C, mask=inside & (place >= 0) & (place < T), other=0.0)


@triton.jit
def _three(ptr, first, T, C: tl.constexpr, inside):
    """The same of a position and the two before it, in float32."""
    return (_at(ptr, first, 0, T, C, inside).to(tl.float32), _at(ptr, first, 1, T, C, inside).to(tl.float32),
            _at(ptr, first, 2, T, C, inside).to(tl.float32))  # fmt: skip


@triton.jit
def _four(ptr, first, T, C: tl.constexpr, inside):
    """The same of a position and the three before it, not yet waited for."""
    return (_at(ptr, first, 0, T, C, inside), _at(ptr, first, 1, T, C, inside),
            _at(ptr, first, 2, T, C, inside), _at(ptr, first, 3, T, C, inside))  # fmt: skip


def _grid(x: Tensor, then: str, backward: bool) -> tuple[tuple[int, int, int], int, dict[str, int]]:
    """Programs, stretches of a row, and constants of a walk over x (M, B, T, C)."""
    members, rows, positions, channels = x.shape
    out = channels_after(channels, then)
    stretch, lanes = walk_of(channels, then, backward)
    pieces = triton.cdiv(positions, stretch)
    stretch = AHEAD * triton.cdiv(positions, AHEAD * pieces)  # all about as long
    block = min(BLOCK, triton.next_power_of_2(out))
    constants = {"STRETCHED": stretch, "BC": block, "num_warps": max(1, block // lanes)}
    return (rows * pieces, triton.cdiv(out, block), members), pieces, constants


def _settings(channels: int, residual: bool, then: str) -> dict[str, int | float | bool]:
    """Constants of all kernels."""
    return {"C": channels, "R": float(residual), "ACT": ACTIVATION[then], "GATED": then in GATES}


# ---- Forward


@triton.jit
def _forward_kernel(
    x_ptr, filter_ptr, y_ptr, T, P,
    C: tl.constexpr, R: tl.constexpr, ACT: tl.constexpr, GATED: tl.constexpr,
    STRETCHED: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """One program: one stretch of one row of one member, BC channels of y, from its last position to its first.

    ``w`` and ``x`` belong to the channels of the gate, or to all where there is none; ``v`` and ``u`` to those that it
    multiplies.
    """
    H: tl.constexpr = C // 2 if GATED else C
    member = tl.program_id(2).to(tl.int64)
    piece = tl.program_id(0)  # of all rows of the member
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = channel < H
    filter_ptr += member * 4 * C + channel
    w = _taps(filter_ptr, inside, C, R)
    end = (piece % P + 1) * STRETCHED  # positions from T on hold zeros
    row = member * (tl.num_programs(0) // P) + piece // P
    x_ptr += row * T * C + channel
    y_ptr += row * T * H + channel
    x0, x1, x2 = _three(x_ptr, end - 1, T, C, inside)
    if GATED:
        v = _taps(filter_ptr + H, inside, C, R)
        u0, u1, u2 = _three(x_ptr + H, end - 1, T, C, inside)
    for start in range(0, STRETCHED, 4):
        first = end - 1 - start
        read = _four(x_ptr, first - 3, T, C, inside)
        if GATED:
            u_read = _four(x_ptr + H, first - 3, T, C, inside)
        for k in tl.static_range(4):
            x3 = read[k].to(tl.float32)
            y = _act(_sum(w, x0, x1, x2, x3), ACT)
            x0 = x1
            x1 = x2
            x2 = x3
            if GATED:
                u3 = u_read[k].to(tl.float32)
                y *= _sum(v, u0, u1, u2, u3)
                u0 = u1
                u1 = u2
                u2 = u3
            at = first.to(tl.int64) * H - k * H
            tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=inside & (first - k < T))


def forward(x_MBTC: Tensor, filter_M4C: Tensor, residual: bool, then: str) -> Tensor:
    """y (M, B, T, H) in the dtype of x."""
    x, weights = x_MBTC.contiguous(), filter_M4C.contiguous()
    *outer, positions, channels = x.shape
    y = x.new_empty(*outer, positions, channels_after(channels, then))
    grid, pieces, walk = _grid(x, then, backward=False)
    _forward_kernel[grid](x, weights, y, positions, pieces, **_settings(channels, residual, then), **walk)
    return y


# ---- One token more


@triton.jit
def _step_half(x_ptr, last_ptr, filter_ptr, inside, C: tl.constexpr, R: tl.constexpr):
    """What stands before the activation; the last three inputs move on."""
    x = tl.load(x_ptr, mask=inside, other=0.0)
    third = tl.load(last_ptr, mask=inside, other=0.0)
    second = tl.load(last_ptr + C, mask=inside, other=0.0)
    first = tl.load(last_ptr + 2 * C, mask=inside, other=0.0)
    w = _taps(filter_ptr, inside, C, R)
    tl.debug_barrier()  # small blocks stand in several threads: all have read before one writes
    tl.store(last_ptr, second, mask=inside)
    tl.store(last_ptr + C, first, mask=inside)
    tl.store(last_ptr + 2 * C, x.to(last_ptr.dtype.element_ty), mask=inside)
    return _sum(w, x.to(tl.float32), first.to(tl.float32), second.to(tl.float32), third.to(tl.float32))


@triton.jit
def _step_kernel(
    x_ptr, last_ptr, filter_ptr, y_ptr, C: tl.constexpr, R: tl.constexpr, ACT: tl.constexpr, GATED: tl.constexpr,
    BC: tl.constexpr,
):  # fmt: skip
    """One program: one row of one member, BC channels of y."""
    H: tl.constexpr = C // 2 if GATED else C
    member = tl.program_id(2).to(tl.int64)
    row = member * tl.num_programs(0) + tl.program_id(0)
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = channel < H
    x_ptr += row * C + channel
    last_ptr += row * 3 * C + channel
    filter_ptr += member * 4 * C + channel
    y = _act(_step_half(x_ptr, last_ptr, filter_ptr, inside, C, R), ACT)
    if GATED:
        y *= _step_half(x_ptr + H, last_ptr + H, filter_ptr + H, inside, C, R)
    tl.store(y_ptr + row * H + channel, y.to(y_ptr.dtype.element_ty), mask=inside)


def step(x_MB1C: Tensor, last_MB3C: Tensor, filter_M4C: Tensor, residual: bool, then: str) -> Tensor:
    """y (M, B, 1, H) in the dtype of x; the three inputs in ``last``, contiguous, move on."""
    assert last_MB3C.is_contiguous(), "it is changed in place"
    x, weights = x_MB1C.contiguous(), filter_M4C.contiguous()
    members, rows, _, channels = x.shape
    out = channels_after(channels, then)
    y = x.new_empty(members, rows, 1, out)
    block = min(BLOCK, triton.next_power_of_2(out))
    _step_kernel[(rows, triton.cdiv(out, block), members)](
        x, last_MB3C, weights, y, **_settings(channels, residual, then), BC=block, num_warps=max(1, block // LANES),
    )  # fmt: skip
    return y


# ---- Backward


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
    C: tl.constexpr, R: tl.constexpr, ACT: tl.constexpr, GATED: tl.constexpr,
    STRETCHED: tl.constexpr, BC: tl.constexpr,
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

    # three positions of the next stretch lend their gradients: g0 of its first
    g2, g1, g0 = _three(grad_ptr, end + 2, T, H, inside)
    if ACT > 0:
        next2, next1, next0 = _three(x_ptr, end + 2, T, C, inside)
        x0, x1, x2 = _three(x_ptr, end - 1, T, C, inside)
        z0 = _sum(w, next0, x0, x1, x2)
        z1 = _sum(w, next1, next0, x0, x1)
        z2 = _sum(w, next2, next1, next0, x0)
        if GATED:
            u_later = (g0 * _act(z0, ACT), g1 * _act(z1, ACT), g2 * _act(z2, ACT))
            next2, next1, next0 = _three(x_ptr + H, end + 2, T, C, inside)
            u0, u1, u2 = _three(x_ptr + H, end - 1, T, C, inside)
            g0 *= _sum(v, next0, u0, u1, u2)
            g1 *= _sum(v, next1, next0, u0, u1)
            g2 *= _sum(v, next2, next1, next0, u0)
        g0 *= _slope(z0, ACT)
        g1 *= _slope(z1, ACT)
        g2 *= _slope(z2, ACT)
    later = (g0, g1, g2)

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
                z = _sum(w, x0, x1, x2, x3)
                if GATED:
                    u3 = u_read[k].to(tl.float32)
                    u_g = g * _act(z, ACT)
                    g *= _sum(v, u0, u1, u2, u3)
                    u_sums = _leave(for_x_ptr + H, at, v, u0, u_g, u_later, u_sums, mask)
                    u_later = (u_g, u_later[0], u_later[1])
                    u0 = u1
                    u1 = u2
                    u2 = u3
                g *= _slope(z, ACT)
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
    members, _, positions, channels = x.shape
    grid, pieces, walk = _grid(x, then, backward=True)
    for_x = torch.empty_like(x)
    partial_MP4C = torch.empty(members, grid[0], 4, channels, dtype=torch.float32, device=x.device)
    settings = _settings(channels, residual, then)
    _backward_kernel[grid](x, weights, grad, for_x, partial_MP4C, positions, pieces, **settings, **walk)
    return for_x, partial_MP4C.sum(1).to(weights.dtype)
