"""Linear attention (arXiv 2006.16236): a sum over all earlier tokens, in a memory of a fixed size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from physlm.models.parts.part import GAIN, MATRIX, Constant, Kept, Mixer, Normal, Weight, Where
from physlm.models.parts.recurrent import check_recurrent, chunk_flops, chunk_numbers, conv_kept, conv_weights

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State

_EPS = 1e-6


@dataclass(frozen=True)
class LinearAttention(Mixer):
    """S_t = S_(t-1) + f(k_t) v_t^T,  z_t = z_(t-1) + f(k_t),  o_t = S_t^T f(q_t) / (z_t . f(q_t) + 1e-6),  f = elu + 1.

    State: S and z of each head, H h (h + 1) = d^2 / H + d numbers in float32, however long the row.

    Attributes:
        normaliser: ``sum``, as above; ``rms``, a norm of each head's S^T f(q) in place of the quotient, and no z.
        conv: a short convolution and SiLU of q, k and v.
    """

    kind: ClassVar[str] = "linear"
    reads_beside: ClassVar[bool] = False  # type: ignore[misc]
    normaliser: Literal["sum", "rms"] = "sum"
    conv: bool = False

    def check(self, model: ModelConfig) -> None:
        check_recurrent(self, model)

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        d = model.width
        return (Weight("qkv", (d, 3 * d), Normal(), MATRIX, low_rank=(0, 2), blocks=3),
                *conv_weights(self.conv, 3 * d),
                *(Weight("gain", (d,), Constant(1.0), GAIN),) * (self.normaliser == "rms"),
                Weight("out", (d, d), Normal(small=True), MATRIX))

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        shape = (model.heads, model.head_width, model.head_width + (self.normaliser == "sum"))
        return (Kept("memory", shape, float32=True), *conv_kept(self.conv, 3 * model.width))

    def local_width(self, model: ModelConfig) -> int:
        return 3 * model.width

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        return chunk_flops(model, model.width, model.width, row_tokens)

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        return chunk_numbers(model, model.width, model.width, row_tokens)

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        import torch

        from physlm.models.parts.recurrent import convolved, in_heads, normed_heads, out_of_heads, remembered
        from physlm.models.recurrences.decayed import decayed, decayed_step

        qkv = w.mix_local(w.qkv(x), state, where)
        if self.conv:
            qkv = convolved(w, qkv, state, where, True)
        q, k, v = (in_heads(part, w.model.heads) for part in qkv.chunk(3, -1))
        q, k = _positive(q), _positive(k)
        if self.normaliser == "rms":
            read = remembered(decayed, decayed_step, state, where, q, k, v, None)
            return w.out(normed_heads(read, w.gain))
        counted = torch.cat((v, torch.ones_like(v[..., :1])), -1)  # its last column of S is z
        read = remembered(decayed, decayed_step, state, where, q, k, counted, None)
        return w.out(out_of_heads(read[..., :-1] / (read[..., -1:] + _EPS)))


def _positive(x: Tensor) -> Tensor:
    """elu(x) + 1: x + 1 above 0, e^x below.  The gradient of F.elu has other strides than torch's compiler expects."""
    import torch

    return torch.where(x > 0, x + 1, x.clamp_max(0).exp())
