"""The delta rule: what is written for a key replaces what was there.

    S' = a_t S_(t-1),   u_t = b_t (v_t - S'^T k_t),   S_t = S' + k_t u_t^T,   o_t = S_t^T q_t

DeltaNet (arXiv 2406.06484) has a = 1, Gated DeltaNet (arXiv 2412.06464) 0 < a <= 1, a number for each head.  With unit
keys S_t = a (I - b k k^T) S_(t-1) + b k v^T: an eigenvalue of 1 - b, which is negative for b > 1 (arXiv 2411.12537).

Whole rows are read in chunks of C positions (the WY form).  With G the running sum of ln a in a chunk, S what it begins
with, L_ij = e^(G_i - G_j) for j <= i, and lower(X) what lies below the diagonal of X,

    X = (I + lower(diag(b) K K^T * L))^-1 diag(b),   W = X diag(e^G) K,   V' = X V - W S
    O = diag(e^G) Q S + (Q K^T * L) V' = (diag(e^G) Q - (Q K^T * L) W) S + ((Q K^T * L) X) V
    S <- e^(G_C) S + K~^T V' = (e^(G_C) I - K~^T W) S + (X^T K~)^T V,   K~ = diag(e^(G_C - G)) K

so that one product a chunk waits for the chunk before.  A token may make N updates, one after the other, each with a
key, a value and a b of its own; it fades once, before the first, and is read after the last (DeltaProduct, arXiv
2502.10297).

Shape letters: ``..`` any leading axes (members, rows, heads), T positions, N updates of each, n chunks of C updates, h
width of a key, e width of a value.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from physlm.models.parts.recurrent import chunk_of, in_heads, unit
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

BASE = 16


def delta(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None = None, state: Tensor | None = None,
    chunk: int = 0, rounded: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """o (.., T, e) and the last S (.., h, e), in the dtype of the arguments: float32 or float64.

    Args:
        q: (.., T, h).
        k: (.., T N, h), no longer than 1.
        v: (.., T N, e).
        beta: b, (.., T N, 1), from 0 to 2.
        log_decay: ln a, (.., T, 1); None: 0.
        state: S before the first token, (.., h, e); None: 0.
        chunk: C, a power of two from 16 up; 0: ``chunk_of`` T N.
        rounded: what the model computes in, see ``read_chunks``.
    """
    steps, chunk = k.shape[-2] // q.shape[-2], chunk or chunk_of(k.shape[-2], "delta")
    fade, split = _at_first(log_decay, steps), chunk % steps > 0
    if split:  # tokens lie across the ends of chunks: they are read after each update
        q = q.repeat_interleave(steps, -2)
    read, last = read_chunks(delta_chunks(q, k, v, beta, fade, chunk, rounded), q.shape[-2], state, rounded)
    return read[..., steps - 1 :: steps, :] if split else read, last


def delta_chunks(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None = None, chunk: int = 0,
    rounded: torch.dtype | None = None,
) -> Chunked:
    """The recurrence in chunks; arguments as of ``delta``, but for ln a of each update, (.., T N, 1)."""
    steps = k.shape[-2] // q.shape[-2]
    chunk = chunk or chunk_of(k.shape[-2], "delta")
    last = slice(steps - 1, None, steps)  # the positions of a chunk that are read
    q = in_chunks(q, chunk // steps)
    k, v, beta = (in_chunks(x, chunk) for x in (k, v, beta))
    similar, scores, onward = (beta * k) @ k.mT, matmul(q, k.mT, rounded), k
    decay, entering, leaving = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device), q, k
    if log_decay is None:
        scores = scores.masked_fill(above(chunk, 1, q.device)[last], 0.0)
    else:
        total = running(in_chunks(floored(log_decay), chunk))  # G
        end, faded = total[..., -1:, :], decays(total)
        similar, scores, decay = similar * faded, scores * faded[..., last, :], end.exp() * decay
        entering, leaving, onward = q * total[..., last, :].exp(), k * (end - total).exp(), k * total.exp()
    inverse = unit_inverse(similar.masked_fill(above(chunk, 0, q.device), 0.0)) * beta.mT  # X
    turned = matmul(inverse, onward, rounded)  # W
    return Chunked(matmul(scores, inverse, rounded), entering - matmul(scores, turned, rounded),
                   decay - matmul(leaving.mT, turned, rounded), matmul(inverse.mT, leaving, rounded), v)


def delta_step(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    """The same for one token more, T = 1, by the recurrence itself."""
    if log_decay is not None:
        state = floored(log_decay).exp() * state
    for n in range(k.shape[-2]):
        key, value, b = (x[..., n : n + 1, :] for x in (k, v, beta))
        state = state + key.mT @ (b * (value - key @ state))
    return q @ state, state


def heads_of_steps(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, heads: int, steps: int, negative: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q, k, v and b of ``delta`` where each token makes N = ``steps`` updates: (M, B, H, T, h), (M, B, H, T N, h), ..,
    (M, B, H, T N, 1).

    Args:
        q: (M, B, T, H h), k and v: (M, B, T, N H h or e), before they are made units.
        beta: (M, B, T, N H), the logits of b, which is at most 1, or 2 if ``negative``.
    """
    q, k, v, beta = (_steps(x, heads, n) for x, n in ((q, 1), (k, steps), (v, steps), (beta, steps)))
    return unit(q) * q.shape[-1] ** -0.5, unit(k), v, beta.sigmoid() * (2 if negative else 1)


def _steps(x_MBTc: Tensor, heads: int, steps: int) -> Tensor:
    """(M, B, T, N H h) as (M, B, H, T N, h)."""
    return in_heads(x_MBTc.unflatten(-1, (steps, -1)).flatten(2, 3), heads)


def _at_first(log_decay: Tensor | None, steps: int) -> Tensor | None:
    """The log decay of a token at the first of its updates, 0 at the others: (.., T, 1) as (.., T N, 1)."""
    if log_decay is None or steps == 1:
        return log_decay
    return F.pad(log_decay[..., None, :], (0, 0, 0, steps - 1)).flatten(-3, -2)


def unit_inverse(lower: Tensor) -> Tensor:
    """X = (I + A)^-1 of A (.., C, C) with nothing on and above its diagonal; C is a power of two.

    Blocks of 1, 2, 4, .. positions are put together: with P and R the inverses of two neighbours and B what is below,
    [[P, 0], [-R B P, R]].  That is as stable as substitution and takes log2 C steps of a fixed shape; powers of A, the
    other way to double, grow beyond float32 where keys repeat.  The backward pass needs X alone: dA = -X^T dX X^T.
    """
    inverse: Tensor = _UnitInverse.apply(lower)
    return inverse


class _UnitInverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, lower: Tensor) -> Tensor:
        inverse = _inverse(lower)
        ctx.save_for_backward(inverse)
        return inverse

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (inverse,) = ctx.saved_tensors
        return -(inverse.mT @ grad @ inverse.mT).tril(-1)


def _inverse(lower: Tensor) -> Tensor:
    size = lower.shape[-1]
    base = min(BASE, size)
    blocks = _base(_diagonal(lower, base))  # (.., C / s, s, s)
    while base < size:
        first, second = blocks[..., 0::2, :, :], blocks[..., 1::2, :, :]
        below = -second @ _diagonal(lower, 2 * base)[..., base:, :base] @ first
        right = torch.zeros_like(first)
        blocks = torch.cat((torch.cat((first, right), -1), torch.cat((below, second), -1)), -2)
        base *= 2
    return blocks.squeeze(-3)


def _base(lower: Tensor) -> Tensor:
    """The same step for small blocks, where parts of whole matrices are masked: X <- X - X B X."""
    size = lower.shape[-1]
    place = torch.arange(size, device=lower.device)
    inverse = torch.eye(size, dtype=lower.dtype, device=lower.device).expand_as(lower)
    width = 1
    while width < size:
        block = place // width
        below = (block[:, None] == block + 1) & (block % 2 == 0)  # an odd block of rows, the even one before of columns
        part = lower.masked_fill(~below, 0.0)
        inverse = inverse - (part if width == 1 else inverse @ part @ inverse)
        width *= 2
    return inverse


def _diagonal(x: Tensor, size: int) -> Tensor:
    """The blocks on the diagonal, (.., C / s, s, s)."""
    blocks = x.shape[-1] // size
    parted = x.unflatten(-1, (blocks, size)).unflatten(-3, (blocks, size))  # (.., row block, s, column block, s)
    return parted.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)
