"""A causal depth-wise filter over the last few tokens, with what follows it: one pass over memory each way.

    y_mbtc = then(r x_mbtc + sum_{s < S} w_msc x_mb(t-s)c),   r = 1 with a residual, else 0;  x before the row is 0

``local_filter`` is a custom operator of torch, so that ``torch.compile`` sees one opaque node.  The obvious
implementation, in this file, runs anywhere; on CUDA devices Triton kernels (``physlm.models.kernels.local_filter``)
compute the same for S = 4.  What is kept for the backward pass is x alone; the filter's gradient is summed in a fixed
order.

Shapes: M members, B rows, T positions, C channels, S taps.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import custom_op, register_autograd, register_fake

KERNEL_TAPS = 4
KERNEL_DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def activate(x: Tensor, then: str) -> Tensor:
    """What may follow: ``gelu`` (its tanh form), ``relu2``, max(0, x)^2, or nothing (an empty text)."""
    if then == "gelu":
        return F.gelu(x, approximate="tanh")
    if then == "relu2":
        return F.relu(x).square()
    if then:
        raise ValueError(f"local_filter: got {then!r}, expected 'gelu', 'relu2' or ''")
    return x


def reference_filter(x_MBTC: Tensor, filter_MSC: Tensor, residual: bool, then: str) -> Tensor:
    """The formula at the top of this page, in float32 and the dtype of x."""
    return activate(_filtered(x_MBTC, filter_MSC, residual), then).to(x_MBTC.dtype)


def reference_gradients(
    x_MBTC: Tensor, filter_MSC: Tensor, grad_MBTC: Tensor, residual: bool, then: str
) -> tuple[Tensor, Tensor]:
    """(d / d x in its dtype, d / d filter in its dtype), with g the gradient of what stands before ``then``.

    dx_t = r g_t + sum_s w_s g_(t+s);  dw_s = sum_bt g_t x_(t-s)
    """
    wide = torch.promote_types(x_MBTC.dtype, torch.float32)
    positions, g = x_MBTC.shape[2], grad_MBTC.to(wide)
    if then == "gelu":
        before = _filtered(x_MBTC, filter_MSC, residual)
        g = torch.ops.aten.gelu_backward(g, before, approximate="tanh")
    elif then == "relu2":
        g = 2 * g * F.relu(_filtered(x_MBTC, filter_MSC, residual))
    for_x = g.clone() if residual else torch.zeros_like(g)
    for_filter = []
    for s in range(filter_MSC.shape[1]):
        for_x += filter_MSC[:, s, None, None] * F.pad(g, (0, 0, 0, s))[:, :, s:]
        for_filter.append((g * _shifted(x_MBTC.to(wide), s)[:, :, :positions]).sum((1, 2)))
    return for_x.to(x_MBTC.dtype), torch.stack(for_filter, 1).to(filter_MSC.dtype)


def _filtered(x_MBTC: Tensor, filter_MSC: Tensor, residual: bool) -> Tensor:
    """What stands before ``then``, in float32 or float64."""
    x = x_MBTC.to(torch.promote_types(x_MBTC.dtype, torch.float32))
    total = x if residual else torch.zeros_like(x)
    for s in range(filter_MSC.shape[1]):
        total = total + filter_MSC[:, s, None, None] * _shifted(x, s)
    return total


def _shifted(x_MBTC: Tensor, s: int) -> Tensor:
    """x_(t-s), zeros before the row."""
    return F.pad(x_MBTC, (0, 0, s, 0))[:, :, : x_MBTC.shape[2]]


def _kernels(x: Tensor, filter_MSC: Tensor) -> bool:
    return x.is_cuda and x.dtype in KERNEL_DTYPES and filter_MSC.shape[1] == KERNEL_TAPS


@custom_op("physlm::local_filter", mutates_args=(),
           schema="(Tensor x, Tensor filter, bool residual, str then) -> Tensor")
def local_filter(x: Tensor, filter: Tensor, residual: bool, then: str) -> Tensor:
    """y (M, B, T, C) of x (M, B, T, C) and a filter (M, S, C) in float32; see the top of this page."""
    if not _kernels(x, filter):
        return reference_filter(x, filter, residual, then)
    from physlm.models.kernels import local_filter as kernels

    return kernels.forward(x, filter, residual, then)


@register_fake("physlm::local_filter")
def _(x: Tensor, filter: Tensor, residual: bool, then: str) -> Tensor:
    return x.new_empty(x.shape)


@custom_op("physlm::local_filter_backward", mutates_args=(),
           schema="(Tensor x, Tensor filter, Tensor grad, bool residual, str then) -> (Tensor, Tensor)")
def _backward(x: Tensor, filter: Tensor, grad: Tensor, residual: bool, then: str) -> tuple[Tensor, Tensor]:
    """(d / d x in its dtype, d / d filter in its dtype)."""
    if not _kernels(x, filter):
        return reference_gradients(x, filter, grad, residual, then)
    from physlm.models.kernels import local_filter as kernels

    return kernels.backward(x, filter, grad, residual, then)


@register_fake("physlm::local_filter_backward")
def _(x: Tensor, filter: Tensor, grad: Tensor, residual: bool, then: str) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), filter.new_empty(filter.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, filter_MSC, ctx.residual, ctx.then = inputs
    ctx.save_for_backward(x, filter_MSC)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
    x, filter_MSC = ctx.saved_tensors
    return (*_backward(x, filter_MSC, grad, ctx.residual, ctx.then), None, None)


register_autograd("physlm::local_filter", _gradients, setup_context=_setup)
