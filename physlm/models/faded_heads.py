"""Queries, keys and values of heads whose scores fade, as attention kernels read them; and what the heads' end does.

    q~_t = q_t / sqrt(k), 1, .. 1        k~_t = k_t, -c_t, 0, .. 0        v~_t = v_t, 0, .. 0          (``read_heads``)

with c_t what has faded, in ``COLUMNS`` further channels (see ``columns_of``): q~_i . k~_j = q_i . k_j / sqrt(k) - c_j.
With a ``Shift`` keys and values are means of themselves and those before, k_t <- (1 - a_t) k_t + a_t k_(t-1), and
queries and keys are then divided by their root mean square and multiplied with a gain.  At the end of such heads
stands ``gated_heads``, sigmoid(gate) g o / sqrt(mean o^2 + 1e-5).

The obvious implementations, in this file, run anywhere.  On CUDA devices Triton kernels
(``physlm.models.kernels.faded_heads``) compute the same in one pass over memory each way, as custom operators of torch.
Gradients of gains are summed in a fixed order.

Shape letters: M members, B rows, T positions, H heads, k width of a head, w = k + 8, d = H k.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import custom_op, register_autograd, register_fake

from physlm.models.parts.fox import COLUMNS
from physlm.models.parts.recurrent import in_heads, normed_heads, widened

KERNEL_DTYPES = (torch.bfloat16, torch.float16, torch.float32)


class Shift(NamedTuple):
    """What FoX Pro does before the scores.

    Attributes:
        share: a of the keys of each head, then of the values, (M, B, T, 2 H), in float32 or float64.
        q_gain, k_gain: (M, d).
    """

    share: Tensor
    q_gain: Tensor
    k_gain: Tensor


def read_heads(
    qkv: Tensor, faded: Tensor, heads: int, shift: Shift | None = None, before: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """q~, k~ and v~, (M, B, H, T, w) each, in the dtype of qkv.

    Args:
        qkv: (M, B, T, 3 d).
        faded: c, (M, B, H, T, 1), in float32 or float64.
        before: keys and values before the first token, (M, B, 1, 2 d); None: zeros.
    """
    if before is None and qkv.is_cuda and qkv.dtype in KERNEL_DTYPES:
        none = (None, None, None) if shift is None else shift
        found: tuple[Tensor, Tensor, Tensor] = _read_heads(qkv, faded, heads, *none)
        return found
    return reference_heads(qkv, faded, heads, shift, before)


def reference_heads(
    qkv: Tensor, faded: Tensor, heads: int, shift: Shift | None = None, before: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The formulas at the top of this page."""
    d, dtype = qkv.shape[-1] // 3, qkv.dtype
    q, both = in_heads(qkv[..., :d], heads), in_heads(qkv[..., d:], 2 * heads)
    if shift is not None:
        first = torch.zeros_like(both[..., :1, :]) if before is None else in_heads(before, 2 * heads)
        earlier = torch.cat((first, both[..., :-1, :]), -2)
        both = both.lerp(earlier, in_heads(shift.share, 2 * heads))
    k, v = both.chunk(2, 2)
    if shift is not None:
        q, k = (in_heads(normed_heads(x, gain), heads) for x, gain in ((q, shift.q_gain), (k, shift.k_gain)))
    return *with_faded(q * q.shape[-1] ** -0.5, k, faded, dtype), F.pad(v.to(dtype), (0, COLUMNS))


def with_faded(q: Tensor, k: Tensor, faded: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """q / sqrt(k) and k in ``dtype`` with channels whose product is -c of the key, (M, B, H, T, w): a softmax over
    keys needs no c of the query."""
    return F.pad(q, (0, COLUMNS), value=1.0).to(dtype), torch.cat((k.to(dtype), -columns_of(faded, dtype)), -1)


def columns_of(faded: Tensor, dtype: torch.dtype) -> Tensor:
    """c as channels of a key in ``dtype`` whose sum it is, (.., T, 8): itself, or in 16 bits its leading digits, those
    that they leave, and so on, then zeros.  The gradient is that of the first, since those of all are the same."""
    first = faded.to(dtype)
    parts, rest = [first], (faded - first).detach()
    if first.dtype != faded.dtype:
        for _ in range(2):
            parts.append(rest.to(dtype))
            rest = rest - parts[-1]
    together = torch.cat(parts, -1)
    return F.pad(together, (0, COLUMNS - together.shape[-1]))


def gated_heads(o: Tensor, gate: Tensor, gain: Tensor) -> Tensor:
    """sigmoid(gate) g o / sqrt(mean o^2 + 1e-5), each mean over a head, (M, B, T, d) in the dtype of the gate.

    Args:
        o: (M, B, H, T, w); the last ``COLUMNS`` channels are not read.
        gate: (M, B, T, d).
        gain: g, (M, d).
    """
    if o.is_cuda and o.dtype in KERNEL_DTYPES and gate.dtype == o.dtype:
        found: Tensor = _gated_heads(o, gate, gain)
        return found
    return reference_gated(o, gate, gain)


def reference_gated(o: Tensor, gate: Tensor, gain: Tensor) -> Tensor:
    """The formula at the top of this page."""
    return (normed_heads(widened(o[..., :-COLUMNS]), gain) * widened(gate).sigmoid()).to(gate.dtype)


# ---- Operators of CUDA devices


@custom_op("physlm::read_heads", mutates_args=(), device_types="cuda",
           schema="(Tensor qkv, Tensor faded, int heads, Tensor? share, Tensor? q_gain, Tensor? k_gain) "
                  "-> (Tensor, Tensor, Tensor)")  # fmt: skip
def _read_heads(
    qkv: Tensor, faded: Tensor, heads: int, share: Tensor | None, q_gain: Tensor | None, k_gain: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    from physlm.models.kernels import faded_heads as kernels

    return kernels.forward(qkv, faded, heads, _shift(share, q_gain, k_gain))


@register_fake("physlm::read_heads")
def _(
    qkv: Tensor, faded: Tensor, heads: int, share: Tensor | None, q_gain: Tensor | None, k_gain: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    members, rows, positions, three = qkv.shape
    shape = (members, rows, heads, positions, three // (3 * heads) + COLUMNS)
    return qkv.new_empty(shape), qkv.new_empty(shape), qkv.new_empty(shape)


@custom_op("physlm::read_heads_backward", mutates_args=(), device_types="cuda",
           schema="(Tensor qkv, int heads, Tensor? share, Tensor? q_gain, Tensor? k_gain, Tensor for_q, Tensor for_k, "
                  "Tensor for_v) -> (Tensor, Tensor, Tensor, Tensor, Tensor)")  # fmt: skip
def _read_heads_backward(
    qkv: Tensor, heads: int, share: Tensor | None, q_gain: Tensor | None, k_gain: Tensor | None, for_q: Tensor,
    for_k: Tensor, for_v: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """d / d qkv, c (in float32), share and gains; the last three empty without a shift."""
    from physlm.models.kernels import faded_heads as kernels

    return kernels.backward(qkv, heads, _shift(share, q_gain, k_gain), for_q, for_k, for_v)


@register_fake("physlm::read_heads_backward")
def _(
    qkv: Tensor, heads: int, share: Tensor | None, q_gain: Tensor | None, k_gain: Tensor | None, for_q: Tensor,
    for_k: Tensor, for_v: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    faded = qkv.new_empty((*qkv.shape[:2], heads, qkv.shape[2], 1), dtype=torch.float32)
    a, q, k = (qkv.new_empty((0,)) if x is None else x.new_empty(x.shape) for x in (share, q_gain, k_gain))
    return qkv.new_empty(qkv.shape), faded, a, q, k


def _shift(share: Tensor | None, q_gain: Tensor | None, k_gain: Tensor | None) -> Shift | None:
    if share is None or q_gain is None or k_gain is None:
        return None
    return Shift(share, q_gain, k_gain)


def _setup_read(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    qkv, _, ctx.heads, share, q_gain, k_gain = inputs
    ctx.shifted = share is not None
    ctx.save_for_backward(qkv, share, q_gain, k_gain)


def _read_gradients(ctx: Any, for_q: Tensor, for_k: Tensor, for_v: Tensor) -> tuple[Tensor | None, ...]:
    qkv, share, q_gain, k_gain = ctx.saved_tensors
    for_qkv, for_faded, *others = _read_heads_backward(
        qkv, ctx.heads, share, q_gain, k_gain, for_q.contiguous(), for_k.contiguous(), for_v.contiguous()
    )
    return for_qkv, for_faded, None, *(others if ctx.shifted else (None, None, None))


register_autograd("physlm::read_heads", _read_gradients, setup_context=_setup_read)


@custom_op("physlm::gated_heads", mutates_args=(), device_types="cuda",
           schema="(Tensor o, Tensor gate, Tensor gain) -> Tensor")
def _gated_heads(o: Tensor, gate: Tensor, gain: Tensor) -> Tensor:
    from physlm.models.kernels import faded_heads as kernels

    return kernels.gated(o, gate, gain)


@register_fake("physlm::gated_heads")
def _(o: Tensor, gate: Tensor, gain: Tensor) -> Tensor:
    return gate.new_empty(gate.shape)


@custom_op("physlm::gated_heads_backward", mutates_args=(), device_types="cuda",
           schema="(Tensor o, Tensor gate, Tensor gain, Tensor grad) -> (Tensor, Tensor, Tensor)")
def _gated_backward(o: Tensor, gate: Tensor, gain: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    from physlm.models.kernels import faded_heads as kernels

    return kernels.gated_backward(o, gate, gain, grad)


@register_fake("physlm::gated_heads_backward")
def _(o: Tensor, gate: Tensor, gain: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return o.new_empty(o.shape), gate.new_empty(gate.shape), gain.new_empty(gain.shape)


def _setup_gated(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gated_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    found: tuple[Tensor, Tensor, Tensor] = _gated_backward(*ctx.saved_tensors, grad.contiguous())
    return found


register_autograd("physlm::gated_heads", _gated_gradients, setup_context=_setup_gated)
