"""What PaTH reads of chunks that are prepared (``recurrences.path_chunks``): a softmax without a table of scores.

    o_i = sum_j softmax_j(s_ij + c_i - c_j) v_j,   s_ij = x_ic K'_j for j in chunk c,   x_i(c-1) = x_ic P_c,

where x_ic is Q'_i at the nearest chunk before that of i, and within a chunk the scores are given.  On CUDA devices, of
models that compute in bfloat16, Triton kernels (``physlm.models.kernels.path_attention``) do this as a custom operator
of torch.  The other way, the one that runs anywhere and whose keys move and queries stay, is ``_group`` in
``recurrences.path``; tests hold the two against each other.

Backward needs 2 T n h numbers a head for a moment, n = T / C.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op, register_autograd, register_fake

from physlm.models.recurrences.path_chunks import CHUNKS, WIDTHS

Six = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def reads_by_kernels(queries: Tensor, values: Tensor) -> bool:
    """Whether kernels are there for Q' and V, (.., n, C, h) each."""
    kinds = queries.is_cuda and queries.dtype == torch.float32 and values.dtype == torch.bfloat16
    chunk, width = queries.shape[-2:]
    return kinds and queries.shape == values.shape and chunk in CHUNKS and width in WIDTHS


def read_prepared(
    within: Tensor, queries: Tensor, keys: Tensor, through: Tensor, values: Tensor, faded: Tensor | None
) -> Tensor:
    """o, (.., n, C, h) in the dtype of V.

    Args:
        within, queries, keys, through: see ``path_chunks.chunk_pieces``, without what fades.
        values: V, (.., n, C, h).
        faded: c, (.., n, C, 1); None: 0.
    """
    given = (x.flatten(0, -4).contiguous() for x in (within, queries, keys, through, values))
    found: Tensor = _read(*given, None if faded is None else faded.flatten(0, -4).squeeze(-1).contiguous())[0]
    return found.unflatten(0, values.shape[:-3])


@custom_op("physlm::path_read", mutates_args=(), device_types="cuda",
           schema="(Tensor within, Tensor queries, Tensor keys, Tensor through, Tensor values, Tensor? faded) "
                  "-> (Tensor, Tensor)")  # fmt: skip
def _read(
    within: Tensor, queries: Tensor, keys: Tensor, through: Tensor, values: Tensor, faded: Tensor | None
) -> tuple[Tensor, Tensor]:
    """o of (R, n, C, h), and the logarithm of each softmax's total."""
    from physlm.models.kernels import path_attention as kernels

    return kernels.forward(within, queries, keys, through, values, faded)


@register_fake("physlm::path_read")
def _(
    within: Tensor, queries: Tensor, keys: Tensor, through: Tensor, values: Tensor, faded: Tensor | None
) -> tuple[Tensor, Tensor]:
    return values.new_empty(values.shape), within.new_empty(values.shape[:3])


@custom_op("physlm::path_read_backward", mutates_args=(), device_types="cuda",
           schema="(Tensor within, Tensor queries, Tensor keys, Tensor through, Tensor values, Tensor? faded, "
                  "Tensor out, Tensor total, Tensor grad) "
                  "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)")  # fmt: skip
def _backward(
    within: Tensor, queries: Tensor, keys: Tensor, through: Tensor, values: Tensor, faded: Tensor | None, out: Tensor,
    total: Tensor, grad: Tensor,
) -> Six:  # fmt: skip
    """d / d each; that of c empty where nothing fades."""
    from physlm.models.kernels import path_attention as kernels

    return kernels.backward(within, queries, keys, through, values, faded, out, total, grad)


@register_fake("physlm::path_read_backward")
def _(
    within: Tensor, queries: Tensor, keys: Tensor, through: Tensor, values: Tensor, faded: Tensor | None, out: Tensor,
    total: Tensor, grad: Tensor,
) -> Six:  # fmt: skip
    a, q, k, p, v = (x.new_empty(x.shape) for x in (within, queries, keys, through, values))
    return a, q, k, p, v, within.new_empty((0,) if faded is None else faded.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)
    ctx.fades = inputs[5] is not None
    ctx.mark_non_differentiable(output[1])


def _gradients(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    *found, faded = _backward(*ctx.saved_tensors, grad.contiguous())
    return *found, faded if ctx.fades else None


register_autograd("physlm::path_read", _gradients, setup_context=_setup)
