"""Functions of positions and distances that several mixers need.

Shape letters: M members, B rows, T positions, L positions of a state, H heads, k = d / H,
r rotated dimensions of a head, P rows of a table, W distances in use.  The distance of query position i and key
position j is i - j.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from physlm.models.primitives import converted


def angles(dims: int, base: float, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin of t base^(-2j/r) for each position t < size and pair j < r/2, (size, r/2) float32 each.

    Frequencies are powers of r = ``dims``, the rotated dimensions, not of the whole head (arXiv 2104.09864).
    """
    frequency = (base ** (-torch.arange(0, dims, 2).double() / dims)).to(device)
    angle = torch.arange(size, device=device)[:, None] * frequency
    return angle.cos().float(), angle.sin().float()


def turn(x_BHTk: Tensor, cos_Tr: Tensor, sin_Tr: Tensor) -> Tensor:
    """Turn dimension pairs (j, j + r/2) of a head by their angles; the dimensions from r on pass unchanged.

    A query-key product then depends on the distance of the two positions only.  Pairs are split in halves as in
    GPT-NeoX.
    """
    dims = 2 * cos_Tr.shape[-1]
    turned, rest = x_BHTk[..., :dims], x_BHTk[..., dims:]
    turned = turned.to(torch.promote_types(x_BHTk.dtype, torch.float32))
    a, b = turned.chunk(2, -1)
    turned = torch.cat((a * cos_Tr - b * sin_Tr, b * cos_Tr + a * sin_Tr), -1).to(x_BHTk.dtype)
    return torch.cat((turned, rest), -1) if rest.shape[-1] else turned


def turn_first(x_NHTk: Tensor, heads: int, cos_Tr: Tensor, sin_Tr: Tensor) -> Tensor:
    """``turn`` the first so many heads alone."""
    if heads == x_NHTk.shape[1]:
        return turn(x_NHTk, cos_Tr, sin_Tr)
    return torch.cat((turn(x_NHTk[:, :heads], cos_Tr, sin_Tr), x_NHTk[:, heads:]), 1)


def size_for(positions: int) -> int:
    """The power of two from ``positions`` up: few sizes of table are ever built."""
    return 1 << (positions - 1).bit_length()


def future(positions: int, device: torch.device) -> Tensor:
    """True where the key comes after the query, (T, T)."""
    place = torch.arange(positions, device=device)
    return place > place[:, None]


def seen(positions: int, place_1: Tensor) -> Tensor:
    """True for the positions of a state up to ``place``, (L,)."""
    return torch.arange(positions, device=place_1.device) <= place_1


def keep(kept_MBHLk: Tensor, new_MBHTk: Tensor, place_1: Tensor | None = None) -> None:
    """Store keys or values of the first T positions, or of the one at a place that only the device knows.

    Of more positions than are kept, the last ones stay, position p at p modulo L.
    """
    size, positions = kept_MBHLk.shape[3], new_MBHTk.shape[3]
    if place_1 is not None:
        kept_MBHLk.index_copy_(3, place_1, new_MBHTk)
    elif positions <= size:
        kept_MBHLk[..., :positions, :] = new_MBHTk
    else:
        kept_MBHLk.copy_(new_MBHTk[..., -size:, :].roll(positions % size, -2))


def clipped(table_MPx: Tensor, positions: int, causal: bool) -> Tensor:
    """Rows of the distances 0 .. T - 1, or -T .. T - 1 if not ``causal``, from a table of P of them: (M, W, x).

    Distances beyond the table take its last row on their side.  Cutting and repeating rows, not indexing: the gradient
    is then a sum in a fixed order.
    """
    reach = table_MPx.shape[1] if causal else table_MPx.shape[1] // 2
    middle = 0 if causal else reach
    beyond = max(0, positions - reach)
    kept = min(positions, reach)
    parts = [table_MPx[:, middle - (0 if causal else kept) : middle + kept]]
    if beyond:
        if not causal:
            parts.insert(0, table_MPx[:, :1].expand(-1, beyond, -1))
        parts.append(table_MPx[:, -1:].expand(-1, beyond, -1))
    return torch.cat(parts, 1) if beyond else parts[0]


def clipped_row(rows: int, place_1: Tensor, positions: int) -> Tensor:
    """Rows in a causal table of ``rows`` distances for the query at ``place`` and each key 0 .. L - 1: (L,).

    Keys after the query get row 0; they are masked elsewhere.
    """
    return (place_1 - torch.arange(positions, device=place_1.device)).clamp(0, rows - 1)


def skew(x: Tensor, offset: int, keys: int | None = None) -> Tensor:
    """From distances to positions: out[..., a, b] = x[..., a, b - a + offset], (..., T, W) -> (..., T, T or ``keys``).

    Anything where that column does not exist.  Only padding and reshaping: compiled, it is no copy but an index within
    the kernel that reads it, and so is its gradient, without atomics.
    """
    rows, columns = x.shape[-2:]
    flat = F.pad(x, (0, 1)).flatten(-2)  # element (a, c) is now at a (W + 1) + c
    return flat.narrow(-1, offset, rows * columns).unflatten(-1, (rows, columns))[..., : rows if keys is None else keys]


def windows(heads: int, positions: int, device: torch.device) -> Tensor:
    """Weights of GPT_uni, (H, T, T) float32.

    Row i of head h = 1, 2, ... is uniform over the last 2^h - 1 positions, j = i - 2^h + 2 .. i, or what there is.
    """
    place = torch.arange(positions, device=device)
    distance = place[:, None] - place
    # float64 holds 2^h for every number of heads
    reach = 2.0 ** torch.arange(1, heads + 1, device=device, dtype=torch.float64) - 1
    inside = (distance >= 0) & (distance < reach[:, None, None])
    return inside.float() / inside.sum(-1, keepdim=True)


def over_rows(x_MBHTk: Tensor, table_MHWk: Tensor) -> Tensor:
    """x . table^T as one product a head over all rows of a member, (M, B, H, T, W)."""
    members, rows, heads, positions, _ = x_MBHTk.shape
    flat = x_MBHTk.transpose(1, 2).reshape(members, heads, rows * positions, -1)
    return (flat @ table_MHWk.mT).view(members, heads, rows, positions, -1).transpose(1, 2)


def softmax_of_sum(a: Tensor, b: Tensor, c: Tensor, scale: float, causal: bool) -> Tensor:
    """softmax((a + b + c) scale) over keys, (..., T, T) in the dtype of ``a``; see ``_Softmax``."""
    weights: Tensor = _Softmax.apply(a, b, c, scale, causal)
    return weights


class _Softmax(torch.autograd.Function):
    """softmax((a + b + c) scale) over keys, in float32; only the rounded weights are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, c: Tensor, scale: float, causal: bool) -> Tensor:
        wide = torch.promote_types(a.dtype, torch.float32)
        scores = (a.to(wide) + b.to(wide) + c.to(wide)) * scale
        if causal:
            scores = scores.masked_fill(future(scores.shape[-1], scores.device), -torch.inf)
        weights = converted(scores.softmax(-1), a.dtype)
        ctx.save_for_backward(weights)
        ctx.scale = scale
        return weights

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        (weights,) = ctx.saved_tensors
        wide = torch.promote_types(weights.dtype, torch.float32)
        p, g = weights.to(wide), grad.to(wide)
        scores = (p * (g - (p * g).sum(-1, keepdim=True)) * ctx.scale).to(weights.dtype)
        return scores, scores, scores, None, None
