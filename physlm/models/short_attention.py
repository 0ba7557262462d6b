"""Causal softmax attention within rows so short that one program of a GPU holds all scores of a head.

    o_i = sum_j softmax_j(q_i . k_j / sqrt(k)) v_j   over j <= i

Kernels that are made for long rows cut them into blocks of 128 queries and fill the last one up: of a row of 60 tokens
three quarters of the scores are of nothing, and backward they pass over memory several times.  On CUDA devices, of 16
bits and up to ``LONGEST``, Triton kernels (``physlm.models.kernels.short_attention``) read q, k and v once each way and
compute the weights again backward, as a custom operator of torch.  Elsewhere torch's own attention is the
implementation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op, register_autograd, register_fake

# Tokens of the rows that are short, up to 128, which the kernels know.  None yet: only Triton's interpreter and its
# compiler for sm_90 have tested them; physlm bench rows says on a GPU what is gained.
LONGEST = 0
WIDTHS = (16, 32, 64)  # of a head
KERNEL_DTYPES = (torch.bfloat16, torch.float16)


def is_short(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether the kernels are there for q, k and v, (N, H, T, k) each."""
    return (q.is_cuda and q.dtype in KERNEL_DTYPES and q.shape == k.shape == v.shape and q.shape[2] <= LONGEST
            and q.shape[3] in WIDTHS and q.dtype == k.dtype == v.dtype)  # fmt: skip


def short_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """o, (N, H, T, k), whose heads stand beside each other in memory; where ``is_short``."""
    found: Tensor = _attend(q, k, v)
    return found


@custom_op("physlm::short_attention", mutates_args=(), device_types="cuda",
           schema="(Tensor q, Tensor k, Tensor v) -> Tensor")
def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    from physlm.models.kernels import short_attention as kernels

    return kernels.forward(q, k, v)


def by_token(x_NHTk: Tensor) -> Tensor:
    """Room for as many numbers, (N, H, T, k) with the heads of a token beside each other, as what comes after wants."""
    rows, heads, positions, width = x_NHTk.shape
    return x_NHTk.new_empty(rows, positions, heads, width).transpose(1, 2)


@register_fake("physlm::short_attention")
def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return by_token(q)


@custom_op("physlm::short_attention_backward", mutates_args=(), device_types="cuda",
           schema="(Tensor q, Tensor k, Tensor v, Tensor grad) -> (Tensor, Tensor, Tensor)")
def _backward(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """d / d q, k and v."""
    from physlm.models.kernels import short_attention as kernels

    return kernels.backward(q, k, v, grad)


@register_fake("physlm::short_attention_backward")
def _(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return by_token(q), by_token(k), by_token(v)


def _setup(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    found: tuple[Tensor, Tensor, Tensor] = _backward(*ctx.saved_tensors, grad)
    return found


register_autograd("physlm::short_attention", _gradients, setup_context=_setup)
