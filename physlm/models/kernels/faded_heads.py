"""The operators of ``physlm.models.faded_heads``, each in one pass over memory each way.

One program holds a head of ``POSITIONS`` tokens of a row.  What a token gives to the one before it, backward of a
shift, is computed again where it arrives.  Gradients of gains leave each program as a partial sum.

Shapes: M members, B rows, T positions, H heads, K width of a head, W = K + 8, D = H K.  H and K are constants of the
kernels: the compiler must know by which power of two addresses can be divided to read several channels at once.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from physlm.models.faded_heads import Shift
from physlm.models.parts.fox import COLUMNS
from physlm.models.parts.recurrent import NORM_EPS

POSITIONS = 32
WARPS = 4


@triton.jit
def _place(T, K: tl.constexpr, BK: tl.constexpr, POSITIONS: tl.constexpr):
    """Row of all members, head, positions and channels of a program, and which numbers are in the row, (P, BK)."""
    blocks = tl.cdiv(T, POSITIONS)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    t = (tl.program_id(0) % blocks) * POSITIONS + tl.arange(0, POSITIONS)
    channel = tl.arange(0, BK)
    return row, tl.program_id(1), t, channel, (t < T)[:, None] & (channel < K)[None, :]


@triton.jit
def _scale(x, K: tl.constexpr, EPS: tl.constexpr):
    """1 / sqrt(mean x^2 + eps) of each row, (P, 1)."""
    return 1.0 / tl.sqrt(tl.sum(x * x, 1) / K + EPS)[:, None]


@triton.jit
def _norm_gradient(x, grad, gain, K: tl.constexpr, EPS: tl.constexpr):
    """Of g x / sqrt(mean x^2 + eps): d / d x, and what each row adds to d / d g."""
    scale = _scale(x, K, EPS)
    scaled = grad * gain
    mean = (tl.sum(x * scaled, 1) / K)[:, None]
    return scale * (scaled - x * (scale * scale * mean)), grad * x * scale


@triton.jit
def _read(ptr, at, mask):
    return tl.load(ptr + at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _gain_of(ptr, row, rows, head, channel, H: tl.constexpr, K: tl.constexpr):
    """(1, BK)."""
    own = ptr + (row // rows) * H * K + head * K + channel
    return tl.load(own, mask=channel < K, other=0.0).to(tl.float32)[None, :]


@triton.jit
def _share_of(ptr, row, t, T, head, H2: tl.constexpr):
    """a of each token, 0 outside of the row, (P, 1)."""
    return tl.load(ptr + (row * T + t) * H2 + head, mask=(t >= 0) & (t < T), other=0.0).to(tl.float32)[:, None]


@triton.jit
def _write(ptr, row, head, t, T, x, columns, channel, mask, H: tl.constexpr, K: tl.constexpr, COLUMNS: tl.constexpr):
    """A head of K channels and the further ones, (P, COLUMNS)."""
    W: tl.constexpr = K + COLUMNS
    ptr += (row * H + head) * T * W + t.to(tl.int64)[:, None] * W
    further = tl.arange(0, COLUMNS)
    tl.store(ptr + channel[None, :], x.to(ptr.dtype.element_ty), mask=mask)
    tl.store(ptr + K + further[None, :], columns.to(ptr.dtype.element_ty), mask=(t < T)[:, None])


# ---- Forward


@triton.jit
def _columns_of(faded, ptr, SPLIT: tl.constexpr, COLUMNS: tl.constexpr):
    """-c as channels of a key in the dtype of a pointer: itself, or what its leading digits leave again and again."""
    dtype: tl.constexpr = ptr.dtype.element_ty
    further = tl.arange(0, COLUMNS)[None, :]
    first = faded.to(dtype).to(tl.float32)
    found = tl.where(further == 0, -first[:, None], 0.0)
    if SPLIT:
        second = (faded - first).to(dtype).to(tl.float32)
        third = (faded - first - second).to(dtype).to(tl.float32)
        found = tl.where(further == 1, -second[:, None], found)
        found = tl.where(further == 2, -third[:, None], found)
    return found


@triton.jit
def _forward_kernel(
    qkv_ptr, faded_ptr, share_ptr, q_gain_ptr, k_gain_ptr, q_ptr, k_ptr, v_ptr, T, rows, scale,
    H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr, COLUMNS: tl.constexpr, SHIFTED: tl.constexpr,
    SPLIT: tl.constexpr, EPS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: skip
    D: tl.constexpr = H * K
    row, head, t, channel, mask = _place(T, K, BK, POSITIONS)
    qkv_ptr += row * T * 3 * D + head * K
    at = t[:, None] * (3 * D) + channel[None, :]
    q = _read(qkv_ptr, at, mask)
    k = _read(qkv_ptr + D, at, mask)
    v = _read(qkv_ptr + 2 * D, at, mask)
    if SHIFTED:
        earlier = mask & (t > 0)[:, None]
        k += _share_of(share_ptr, row, t, T, head, 2 * H) * (_read(qkv_ptr + D, at - 3 * D, earlier) - k)
        v += _share_of(share_ptr, row, t, T, H + head, 2 * H) * (_read(qkv_ptr + 2 * D, at - 3 * D, earlier) - v)
        q *= _scale(q, K, EPS) * _gain_of(q_gain_ptr, row, rows, head, channel, H, K)
        k *= _scale(k, K, EPS) * _gain_of(k_gain_ptr, row, rows, head, channel, H, K)
    faded = tl.load(faded_ptr + (row * H + head) * T + t, mask=t < T, other=0.0)
    zeros = tl.zeros([POSITIONS, COLUMNS], tl.float32)
    columns = _columns_of(faded, k_ptr, SPLIT, COLUMNS)
    _write(q_ptr, row, head, t, T, q * scale, zeros + 1.0, channel, mask, H, K, COLUMNS)
    _write(k_ptr, row, head, t, T, k, columns, channel, mask, H, K, COLUMNS)
    _write(v_ptr, row, head, t, T, v, zeros, channel, mask, H, K, COLUMNS)


def forward(qkv_MBTc: Tensor, faded_MBHT1: Tensor, heads: int, shift: Shift | None) -> tuple[Tensor, Tensor, Tensor]:
    """q~, k~ and v~, (M, B, H, T, W)."""
    qkv, faded = qkv_MBTc.contiguous(), faded_MBHT1.contiguous()
    members, rows, positions, three = qkv.shape
    width = three // (3 * heads)
    q, k, v = (qkv.new_empty(members, rows, heads, positions, width + COLUMNS) for _ in range(3))
    _forward_kernel[_grid(qkv, heads)](
        qkv, faded, *_given(shift, qkv), q, k, v, positions, rows, width**-0.5, SPLIT=qkv.dtype != faded.dtype,
        SHIFTED=shift is not None, **_constants(heads, width),
    )  # fmt: skip
    return q, k, v


def _grid(qkv: Tensor, heads: int) -> tuple[int, int]:
    members, rows, positions = qkv.shape[:3]
    return members * rows * triton.cdiv(positions, POSITIONS), heads


def _constants(heads: int, width: int) -> dict[str, int | float]:
    return {"H": heads, "K": width, "BK": triton.next_power_of_2(width), "COLUMNS": COLUMNS, "EPS": NORM_EPS,
            "POSITIONS": POSITIONS, "num_warps": WARPS}  # fmt: skip


def _given(shift: Shift | None, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Contiguous; without a shift any tensor, which is not read."""
    return (other, other, other) if shift is None else tuple(x.contiguous() for x in shift)  # type: ignore[return-value]


# ---- Backward


@triton.jit
def _mixed_gradient(
    x_ptr, grad_ptr, share_ptr, gain, row, head, t, T, channel, SHARE: tl.constexpr, NORMED: tl.constexpr,
    H: tl.constexpr, K: tl.constexpr, COLUMNS: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """Of the means of tokens and those before them: their gradient, what they add to that of the gain, a, and by how
    much the token before is more.  All are 0 outside of the row."""
    D: tl.constexpr = H * K
    mask = (t < T)[:, None] & (channel < K)[None, :]
    at = t[:, None] * (3 * D) + channel[None, :]
    x = _read(x_ptr, at, mask)
    more = _read(x_ptr, at - 3 * D, mask & (t > 0)[:, None]) - x
    a = _share_of(share_ptr, row, t, T, SHARE * H + head, 2 * H)
    grad = _read(grad_ptr, t.to(tl.int64)[:, None] * (K + COLUMNS) + channel[None, :], mask)
    for_gain = tl.zeros_like(grad)
    if NORMED:
        grad, for_gain = _norm_gradient(x + a * more, grad, gain, K, EPS)
    return grad, for_gain, a, more


@triton.jit
def _shifted_gradient(
    x_ptr, grad_ptr, share_ptr, for_x_ptr, for_share_ptr, gain, row, head, t, T, channel, SHARE: tl.constexpr,
    NORMED: tl.constexpr, H: tl.constexpr, K: tl.constexpr, COLUMNS: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """Store d / d x and d / d a of a head of keys or values; what each token adds to the gradient of the gain."""
    own, for_gain, a, more = _mixed_gradient(
        x_ptr, grad_ptr, share_ptr, gain, row, head, t, T, channel, SHARE, NORMED, H, K, COLUMNS, EPS
    )
    later, _, later_a, _ = _mixed_gradient(
        x_ptr, grad_ptr, share_ptr, gain, row, head, t + 1, T, channel, SHARE, NORMED, H, K, COLUMNS, EPS
    )
    for_x = (1.0 - a) * own + later_a * later
    mask = (t < T)[:, None] & (channel < K)[None, :]
    tl.store(for_x_ptr + t[:, None] * (3 * H * K) + channel[None, :], for_x.to(for_x_ptr.dtype.element_ty), mask=mask)
    tl.store(for_share_ptr + (row * T + t) * (2 * H) + SHARE * H + head, tl.sum(own * more, 1), mask=t < T)
    return for_gain


@triton.jit
def _backward_kernel(
    qkv_ptr, share_ptr, q_gain_ptr, k_gain_ptr, grad_q_ptr, grad_k_ptr, grad_v_ptr, for_qkv_ptr, for_faded_ptr,
    for_share_ptr, partial_ptr, T, rows, scale,
    H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr, COLUMNS: tl.constexpr, SHIFTED: tl.constexpr,
    EPS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: skip
    D: tl.constexpr = H * K
    row, head, t, channel, mask = _place(T, K, BK, POSITIONS)
    qkv_ptr += row * T * 3 * D + head * K
    for_qkv_ptr += row * T * 3 * D + head * K
    own = (row * H + head) * T * (K + COLUMNS)
    grad_q_ptr += own
    grad_k_ptr += own
    grad_v_ptr += own
    at = t[:, None] * (3 * D) + channel[None, :]
    grad_at = t.to(tl.int64)[:, None] * (K + COLUMNS) + channel[None, :]
    for_q = _read(grad_q_ptr, grad_at, mask) * scale
    column = tl.load(grad_k_ptr + t.to(tl.int64) * (K + COLUMNS) + K, mask=t < T, other=0.0).to(tl.float32)
    tl.store(for_faded_ptr + (row * H + head) * T + t, -column, mask=t < T)
    if SHIFTED:
        q_gain = _gain_of(q_gain_ptr, row, rows, head, channel, H, K)
        k_gain = _gain_of(k_gain_ptr, row, rows, head, channel, H, K)
        for_q, for_q_gain = _norm_gradient(_read(qkv_ptr, at, mask), for_q, q_gain, K, EPS)
        for_k_gain = _shifted_gradient(
            qkv_ptr + D, grad_k_ptr, share_ptr, for_qkv_ptr + D, for_share_ptr, k_gain, row, head, t, T, channel,
            0, True, H, K, COLUMNS, EPS)  # fmt: skip
        _shifted_gradient(
            qkv_ptr + 2 * D, grad_v_ptr, share_ptr, for_qkv_ptr + 2 * D, for_share_ptr, k_gain, row, head, t, T,
            channel, 1, False, H, K, COLUMNS, EPS)  # fmt: skip
        partial_ptr += (tl.program_id(0).to(tl.int64) * H + head) * K + channel
        tl.store(partial_ptr, tl.sum(for_q_gain, 0), mask=channel < K)
        partial_ptr += tl.num_programs(0).to(tl.int64) * D
        tl.store(partial_ptr, tl.sum(for_k_gain, 0), mask=channel < K)
    else:
        for_k = _read(grad_k_ptr, grad_at, mask)
        for_v = _read(grad_v_ptr, grad_at, mask)
        tl.store(for_qkv_ptr + D + at, for_k.to(for_qkv_ptr.dtype.element_ty), mask=mask)
        tl.store(for_qkv_ptr + 2 * D + at, for_v.to(for_qkv_ptr.dtype.element_ty), mask=mask)
    tl.store(for_qkv_ptr + at, for_q.to(for_qkv_ptr.dtype.element_ty), mask=mask)


def backward(
    qkv_MBTc: Tensor, heads: int, shift: Shift | None, for_q: Tensor, for_k: Tensor, for_v: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """d / d qkv, c (M, B, H, T, 1) in float32, share, and gains; without a shift the last three are empty."""
    qkv = qkv_MBTc.contiguous()
    members, rows, positions, three = qkv.shape
    width, grid = three // (3 * heads), _grid(qkv, heads)
    for_qkv, given = torch.empty_like(qkv), _given(shift, qkv)
    for_faded = qkv.new_empty((members, rows, heads, positions, 1), dtype=torch.float32)
    for_share = qkv.new_empty((0,)) if shift is None else torch.empty_like(given[0])
    partial_2PD = qkv.new_empty((2 * (shift is not None), grid[0], heads * width), dtype=torch.float32)
    _backward_kernel[grid](
        qkv, *given, for_q, for_k, for_v, for_qkv, for_faded, for_share, partial_2PD, positions, rows, width**-0.5,
        SHIFTED=shift is not None, **_constants(heads, width),
    )  # fmt: skip
    if shift is None:
        return for_qkv, for_faded, for_share, qkv.new_empty((0,)), qkv.new_empty((0,))
    for_q_gain, for_k_gain = (partial_PD.unflatten(0, (members, -1)).sum(1).to(shift.q_gain.dtype)
                              for partial_PD in partial_2PD)  # each alone: operators must not give views of one tensor
    return for_qkv, for_faded, for_share, for_q_gain, for_k_gain


# ---- The heads' end


@triton.jit
def _read_end(o_ptr, row, head, t, T, channel, mask, o_row, o_head, o_position, H: tl.constexpr, K: tl.constexpr):
    """o of a program, and where its channels of (M, B, T, D) are."""
    at = (row * T + t[:, None]) * (H * K) + head * K + channel[None, :]
    own = o_ptr + row * o_row + head * o_head
    return _read(own, t.to(tl.int64)[:, None] * o_position + channel[None, :], mask), at


@triton.jit
def _gated_kernel(
    o_ptr, gate_ptr, gain_ptr, y_ptr, T, rows, o_row, o_head, o_position,
    H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr, COLUMNS: tl.constexpr, EPS: tl.constexpr,
    POSITIONS: tl.constexpr,
):  # fmt: skip
    row, head, t, channel, mask = _place(T, K, BK, POSITIONS)
    o, at = _read_end(o_ptr, row, head, t, T, channel, mask, o_row, o_head, o_position, H, K)
    y = o * _scale(o, K, EPS) * _gain_of(gain_ptr, row, rows, head, channel, H, K)
    tl.store(y_ptr + at, (y * tl.sigmoid(_read(gate_ptr, at, mask))).to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _gated_backward_kernel(
    o_ptr, gate_ptr, gain_ptr, grad_ptr, for_o_ptr, for_gate_ptr, partial_ptr, T, rows, o_row, o_head, o_position,
    H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr, COLUMNS: tl.constexpr, EPS: tl.constexpr,
    POSITIONS: tl.constexpr,
):  # fmt: skip
    row, head, t, channel, mask = _place(T, K, BK, POSITIONS)
    o, at = _read_end(o_ptr, row, head, t, T, channel, mask, o_row, o_head, o_position, H, K)
    gain = _gain_of(gain_ptr, row, rows, head, channel, H, K)
    open = tl.sigmoid(_read(gate_ptr, at, mask))
    grad = _read(grad_ptr, at, mask)
    for_gate = grad * o * _scale(o, K, EPS) * gain * open * (1.0 - open)
    for_o, for_gain = _norm_gradient(o, grad * open, gain, K, EPS)
    tl.store(for_gate_ptr + at, for_gate.to(for_gate_ptr.dtype.element_ty), mask=mask)
    _write(for_o_ptr, row, head, t, T, for_o, tl.zeros([POSITIONS, COLUMNS], tl.float32), channel, mask, H, K, COLUMNS)
    partial_ptr += (tl.program_id(0).to(tl.int64) * H + head) * K + channel
    tl.store(partial_ptr, tl.sum(for_gain, 0), mask=channel < K)


def gated(o_MBHTw: Tensor, gate_MBTd: Tensor, gain_Md: Tensor) -> Tensor:
    """(M, B, T, D) in the dtype of the gate."""
    gate, gain, o, strides = _end(o_MBHTw, gate_MBTd, gain_Md)
    y, heads = torch.empty_like(gate), o_MBHTw.shape[2]
    _gated_kernel[_grid(gate, heads)](
        o, gate, gain, y, gate.shape[2], gate.shape[1], *strides, **_constants(heads, gate.shape[3] // heads)
    )
    return y


def gated_backward(
    o_MBHTw: Tensor, gate_MBTd: Tensor, gain_Md: Tensor, grad_MBTd: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """d / d o, zeros in its last channels, the gate, and the gain."""
    gate, gain, o, strides = _end(o_MBHTw, gate_MBTd, gain_Md)
    heads, grid = o_MBHTw.shape[2], _grid(gate, o_MBHTw.shape[2])
    for_o, for_gate = gate.new_empty(o_MBHTw.shape), torch.empty_like(gate)
    partial_PD = gate.new_empty((grid[0], gate.shape[3]), dtype=torch.float32)
    _gated_backward_kernel[grid](
        o, gate, gain, grad_MBTd.contiguous(), for_o, for_gate, partial_PD, gate.shape[2], gate.shape[1], *strides,
        **_constants(heads, gate.shape[3] // heads),
    )  # fmt: skip
    return for_o, for_gate, partial_PD.unflatten(0, (gate.shape[0], -1)).sum(1).to(gain.dtype)


def _end(o: Tensor, gate: Tensor, gain: Tensor) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
    """Gate and gain contiguous, o of all rows, and how far apart its rows, heads and positions are."""
    flat = o.flatten(0, 1)
    flat = flat if flat.stride(-1) == 1 else flat.contiguous()
    return gate.contiguous(), gain.contiguous(), flat, flat.stride()[:3]
