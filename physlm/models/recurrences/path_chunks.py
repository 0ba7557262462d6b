"""What PaTH needs of each chunk of positions: scores within it, and how queries, keys and later keys pass it.

Formulas and letters as at the top of ``recurrences.path``.  The obvious implementation, in this file, runs anywhere.
On CUDA devices, of models that compute in bfloat16, Triton kernels (``physlm.models.kernels.path_chunks``) compute the
same in one pass over memory each way, as a custom operator of torch.  They keep the inverse for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op, register_autograd, register_fake

from physlm.models.recurrences.chunks import above
from physlm.models.recurrences.delta import unit_inverse
from physlm.models.recurrences.matmul import matmul

Pieces = tuple[Tensor, Tensor, Tensor, Tensor]
CHUNKS, WIDTHS = (16, 32, 64), (16, 32, 64)  # of the kernels: a program holds several such matrices in registers


def chunk_pieces(q: Tensor, k: Tensor, w: Tensor, beta: Tensor, rounded: torch.dtype | None = None) -> Pieces:
    """Scores within a chunk, (.., C, C), -inf for later keys; Q' and K', (.., C, h); P, (.., h, h).

    Args:
        q, k, w: (.., C, h), float32 or float64; w no longer than 1.
        beta: b, (.., C, 1).
        rounded: what the model computes in, see ``matmul``.
    """
    chunk, width = q.shape[-2:]
    if rounded == torch.bfloat16 and q.is_cuda and q.dtype == torch.float32 and chunk in CHUNKS and width in WIDTHS:
        given = (x.flatten(0, -3).contiguous() for x in (q, k, w, beta))
        found = _chunk_pieces(*given)[:4]
        within, queries, keys, through = (x.unflatten(0, q.shape[:-2]) for x in found)
        return within, queries, keys, through
    return reference_pieces(q, k, w, beta, rounded)


def reference_pieces(q: Tensor, k: Tensor, w: Tensor, beta: Tensor, rounded: torch.dtype | None = None) -> Pieces:
    """The formulas."""
    hidden, diagonal = above(q.shape[-2], 1, q.device), above(q.shape[-2], 0, q.device)
    inverse = unit_inverse(((beta * w) @ w.mT).masked_fill(diagonal, 0.0)) * beta.mT
    from_q = matmul(matmul(q, w.mT, rounded).masked_fill(hidden, 0.0), inverse, rounded)
    to_k = matmul(w, k.mT, rounded).masked_fill(diagonal, 0.0)
    within = matmul(q, k.mT, rounded) - matmul(from_q, to_k, rounded)
    through = torch.eye(w.shape[-1], dtype=w.dtype, device=w.device)
    through = through - matmul(w.mT, matmul(inverse, w, rounded), rounded)
    queries = q - matmul(from_q, w, rounded)
    keys = k - matmul(matmul(inverse, to_k, rounded).mT, w, rounded)
    return within.masked_fill(hidden, -torch.inf), queries, keys, through


@custom_op("physlm::path_chunks", mutates_args=(), device_types="cuda",
           schema="(Tensor q, Tensor k, Tensor w, Tensor beta) -> (Tensor, Tensor, Tensor, Tensor, Tensor)")
def _chunk_pieces(q: Tensor, k: Tensor, w: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The four pieces of (N, C, ..), and the inverse."""
    from physlm.models.kernels import path_chunks as kernels

    return kernels.forward(q, k, w, beta)


@register_fake("physlm::path_chunks")
def _(q: Tensor, k: Tensor, w: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    count, chunk, width = q.shape
    square = (count, chunk, chunk)
    return (q.new_empty(square), q.new_empty(q.shape), q.new_empty(q.shape), q.new_empty((count, width, width)),
            q.new_empty(square))  # fmt: skip


@custom_op("physlm::path_chunks_backward", mutates_args=(), device_types="cuda",
           schema="(Tensor q, Tensor k, Tensor w, Tensor beta, Tensor inverse, Tensor g_within, Tensor g_queries, "
                  "Tensor g_keys, Tensor g_through) -> (Tensor, Tensor, Tensor, Tensor)")  # fmt: skip
def _backward(
    q: Tensor, k: Tensor, w: Tensor, beta: Tensor, inverse: Tensor, g_within: Tensor, g_queries: Tensor,
    g_keys: Tensor, g_through: Tensor,
) -> Pieces:  # fmt: skip
    """d / d q, k, w and b."""
    from physlm.models.kernels import path_chunks as kernels

    return kernels.backward(q, k, w, beta, inverse, g_within, g_queries, g_keys, g_through)


@register_fake("physlm::path_chunks_backward")
def _(
    q: Tensor, k: Tensor, w: Tensor, beta: Tensor, inverse: Tensor, g_within: Tensor, g_queries: Tensor,
    g_keys: Tensor, g_through: Tensor,
) -> Pieces:  # fmt: skip
    return q.new_empty(q.shape), k.new_empty(k.shape), w.new_empty(w.shape), beta.new_empty(beta.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs, output[4])
    ctx.mark_non_differentiable(output[4])


def _gradients(ctx: Any, *grads: Tensor) -> Pieces:
    found: Pieces = _backward(*ctx.saved_tensors, *(grad.contiguous() for grad in grads[:4]))
    return found


register_autograd("physlm::path_chunks", _gradients, setup_context=_setup)
