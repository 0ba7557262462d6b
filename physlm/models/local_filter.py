"""A causal depth-wise filter over the last few tokens, with what follows it: one pass over memory each way.

    y_mbtc = then(r x_mbtc + sum_{s < S} w_msc x_mb(t-s)c),   r = 1 with a residual, else 0;  x before the row is 0

Where a gate follows, the first half of the filtered channels is the gate of the second: y_c = act(z_c) z_(C/2 + c).

``local_filter`` is a custom operator of torch, so that ``torch.compile`` sees one opaque node.  The obvious
implementation, in this file, runs anywhere; on CUDA devices Triton kernels (``physlm.models.kernels.local_filter``)
compute the same for S = 4.  What is kept for the backward pass is x alone; the filter's gradient is summed in a fixed
order.  ``local_filter_step`` is the same for one token more of each row, whose last S - 1 inputs are kept.

Shapes: M members, B rows, T positions, C channels, S taps; H channels of y: C, or C / 2 with a gate.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import custom_op, register_autograd, register_fake

KERNEL_TAPS = 4
KERNEL_DTYPES = (torch.bfloat16, torch.float16, torch.float32)
GATES = ("swiglu", "relu2glu")


def activate(x: Tensor, then: str) -> Tensor:
    """What may follow: ``gelu`` (its tanh form); ``relu2``, max(0, x)^2; nothing (an empty text); or a gate, silu(g) u
    (``swiglu``) and max(0, g)^2 u (``relu2glu``) for the two halves g, u of the channels."""
    if then == "gelu":
        return F.gelu(x, approximate="tanh")
    if then == "relu2":
        return F.relu(x).square()
    if then in GATES:
        gate, up = x.split(channels_after(x.shape[-1], then), -1)
        return (F.silu(gate) if then == "swiglu" else F.relu(gate).square()) * up
    if then:
        raise ValueError(f"local_filter: got {then!r}, expected 'gelu', 'relu2', 'swiglu', 'relu2glu' or ''")
    return x


def channels_after(channels: int, then: str) -> int:
    """H."""
    if then not in GATES:
        return channels
    if channels % 2:
        raise ValueError(f"local_filter: got {channels} channels, expected an even number for {then!r}")
    return channels // 2


def reference_filter(x_MBTC: Tensor, filter_MSC: Tensor, residual: bool, then: str) -> Tensor:
    """The formula at the top of this page, in float32 and the dtype of x."""
    return activate(_filtered(x_MBTC, filter_MSC, residual), then).to(x_MBTC.dtype)


def reference_gradients(
    x_MBTC: Tensor, filter_MSC: Tensor, grad_MBTH: Tensor, residual: bool, then: str
) -> tuple[Tensor, Tensor]:
    """(d / d x in its dtype, d / d filter in its dtype), with g the gradient of what stands before ``then``.

    dx_t = r g_t + sum_s w_s g_(t+s);  dw_s = sum_bt g_t x_(t-s)
    """
    x, positions = _wide(x_MBTC), x_MBTC.shape[2]
    w, g = filter_MSC.to(x.dtype), grad_MBTH.to(x.dtype)
    if then:
        g = _before(g, _filtered(x_MBTC, filter_MSC, residual), then)
    for_x = g.clone() if residual else torch.zeros_like(g)
    for_filter = torch.zeros_like(w)  # of distances longer than the row
    for s in range(min(w.shape[1], positions)):
        for_x[:, :, : positions - s].addcmul_(w[:, s, None, None], g[:, :, s:])
        for_filter[:, s] = (g[:, :, s:] * x[:, :, : positions - s]).sum((1, 2))
    return for_x.to(x_MBTC.dtype), for_filter.to(filter_MSC.dtype)


def _before(grad: Tensor, z: Tensor, then: str) -> Tensor:
    """d / d z of ``activate(z, then)``."""
    if then == "gelu":
        return torch.ops.aten.gelu_backward(grad, z, approximate="tanh")
    if then == "relu2":
        return 2 * grad * F.relu(z)
    gate, up = z.chunk(2, -1)
    if then == "swiglu":
        return torch.cat((torch.ops.aten.silu_backward(grad * up, gate), grad * F.silu(gate)), -1)
    positive = F.relu(gate)
    return torch.cat((2 * grad * up * positive, grad * positive.square()), -1)


def reference_step(x_MB1C: Tensor, last_MBsC: Tensor, filter_MSC: Tensor, residual: bool, then: str) -> Tensor:
    """y (M, B, 1, H) of one token more; ``last``, the S - 1 inputs before it, the oldest first, moves on in place."""
    tokens = torch.cat((last_MBsC.to(x_MB1C.dtype), x_MB1C), 2)
    wide = tokens.to(torch.promote_types(x_MB1C.dtype, torch.float32))
    total = (filter_MSC.flip(1)[:, None] * wide).sum(2, keepdim=True)
    last_MBsC.copy_(tokens[:, :, 1:])
    return activate(x_MB1C + total if residual else total, then).to(x_MB1C.dtype)


def _filtered(x_MBTC: Tensor, filter_MSC: Tensor, residual: bool) -> Tensor:
    """What stands before ``then``, in float32 or float64.

    Added up in place, and only where the row has a token s before: each tensor more, or zeros before each row, would be
    one pass more over memory.
    """
    x, positions = _wide(x_MBTC), x_MBTC.shape[2]
    w = filter_MSC.to(x.dtype)
    total = x.clone() if residual else torch.zeros_like(x)
    for s in range(min(w.shape[1], positions)):
        total[:, :, s:].addcmul_(w[:, s, None, None], x[:, :, : positions - s])
    return total


def _wide(x: Tensor) -> Tensor:
    """In float32, or float64 if that is what came."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _kernels(x: Tensor, filter_MSC: Tensor) -> bool:
    return x.is_cuda and x.dtype in KERNEL_DTYPES and filter_MSC.shape[1] == KERNEL_TAPS


@custom_op("physlm::local_filter", mutates_args=(),
           schema="(Tensor x, Tensor filter, bool residual, str then) -> Tensor")
def local_filter(x: Tensor, filter: Tensor, residual: bool, then: str) -> Tensor:
    """y (M, B, T, H) of x (M, B, T, C) and a filter (M, S, C) in float32; see the top of this page."""
    if not _kernels(x, filter):
        return reference_filter(x, filter, residual, then)
    from physlm.models.kernels import local_filter as kernels

    return kernels.forward(x, filter, residual, then)


@register_fake("physlm::local_filter")
def _(x: Tensor, filter: Tensor, residual: bool, then: str) -> Tensor:
    return x.new_empty((*x.shape[:-1], channels_after(x.shape[-1], then)))


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


@custom_op("physlm::local_filter_step", mutates_args=("last",),
           schema="(Tensor x, Tensor(a!) last, Tensor filter, bool residual, str then) -> Tensor")
def local_filter_step(x: Tensor, last: Tensor, filter: Tensor, residual: bool, then: str) -> Tensor:
    """y (M, B, 1, H) of one token more of each row, x (M, B, 1, C), after the inputs in ``last``, (M, B, S - 1, C), the
    oldest first.  ``last`` moves on in place.  It has no gradient, and never waits for the device."""
    if not (_kernels(x, filter) and last.dtype in KERNEL_DTYPES and last.is_contiguous()):
        return reference_step(x, last, filter, residual, then)
    from physlm.models.kernels import local_filter as kernels

    return kernels.step(x, last, filter, residual, then)


@register_fake("physlm::local_filter_step")
def _(x: Tensor, last: Tensor, filter: Tensor, residual: bool, then: str) -> Tensor:
    return x.new_empty((*x.shape[:-1], channels_after(x.shape[-1], then)))
