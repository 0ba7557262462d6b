"""Linear attention (arXiv 2006.16236): a sum over all earlier tokens, in a memory of a fixed size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from physlm.models.parts.recurrent_mixer import RecurrentMixer
from physlm.models.parts.weight import Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.module import Weights


@dataclass(frozen=True)
class LinearAttention(RecurrentMixer):
    """S_t = S_(t-1) + f(k_t) v_t^T,  z_t = z_(t-1) + f(k_t),  o_t = S_t^T f(q_t) / (z_t . f(q_t) + 1e-6),  f = elu + 1.

    State: S and z of each head, H h (e + 1) numbers in float32, d^2 / H + d by default, however long the row.

    Attributes:
        normaliser: ``sum``, as above; ``rms``, a norm of each head's S^T f(q) in place of the quotient, and no z.
        keys, values: channels of all heads together, as shares of the width.
        conv: a short convolution and SiLU of q, k and v.
    """

    kind: ClassVar[str] = "linear"
    silu_without_conv: ClassVar[bool] = False
    normaliser: Literal["sum", "rms"] = "sum"
    keys: float = 1.0
    values: float = 1.0
    conv: bool = False

    @property
    def counted(self) -> int:
        return int(self.normaliser == "sum")

    def gain(self, values: int) -> tuple[Weight, ...]:
        return super().gain(values) * (self.normaliser == "rms")

    def given(self, w: Weights, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor | None, ...]:
        import torch

        from physlm.models.parts.recurrent import in_heads

        q, k, v = (in_heads(part, w.model.heads) for part in (q, k, v))
        if self.counted:
            v = torch.cat((v, torch.ones_like(v[..., :1])), -1)  # its last column of S is z
        return _positive(q), _positive(k), v, None

    def head(self, w: Weights, x: Tensor, o_MBHTe: Tensor) -> Tensor:
        from physlm.models.parts.recurrent import out_of_heads

        return out_of_heads(quotient(o_MBHTe)) if self.counted else super().head(w, x, o_MBHTe)


_EPS = 1e-6


def quotient(o: Tensor) -> Tensor:
    """S^T f(q) / (z . f(q) + 1e-6), (.., e), of both beside each other, (.., e + 1)."""
    return o[..., :-1] / (o[..., -1:] + _EPS)


def _positive(x: Tensor) -> Tensor:
    """elu(x) + 1: x + 1 above 0, e^x below.  The gradient of F.elu has other strides than torch's compiler expects."""
    import torch

    return torch.where(x > 0, x + 1, x.clamp_max(0).exp())
