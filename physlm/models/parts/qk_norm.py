"""QK norm: queries and keys are divided by their root mean square before they meet.  Free of torch.

    head    g x / sqrt(mean x^2 + 1e-6) over each head, with learnt gains g of all channels
    full    the same over the full width
    unit    over each head, without gains (Llama 4)
    none    x
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from physlm.models.parts.weight import GAIN, Constant, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.module import Weights

QKNorm = Literal["none", "head", "full", "unit"]


def gain_weights(kind: QKNorm, queries: int, keys: int) -> tuple[Weight, ...]:
    """The gains of q and of k, which have so many channels."""
    if kind not in ("head", "full"):
        return ()
    return tuple(Weight(name, (width,), Constant(1.0), GAIN) for name, width in (("q_gain", queries), ("k_gain", keys)))


def normed(w: Weights, kind: QKNorm, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q and k normed in float32, and v, side by side in their dtype, (M, B, T, all channels); ``kind`` is not none."""
    import torch

    from physlm.models.module import per_member
    from physlm.models.parts.recurrent import widened

    gains = (w.q_gain, w.k_gain) if kind != "unit" else (None, None)
    found = []
    for x, gain in zip((q, k), gains, strict=True):
        wide = widened(x)
        if kind != "full":
            wide = wide.unflatten(-1, (-1, w.model.head_width))
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)
        if kind != "full":
            wide = wide.flatten(-2)
        found.append((wide if gain is None else wide * per_member(gain)).to(x.dtype))
    return torch.cat((*found, v), -1)
