"""Mamba2 (arXiv 2405.21060): a selective state space with one decay a head, read as decayed linear attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.errors import UserError
from physlm.models.parts.part import Where
from physlm.models.parts.recurrent import DECAY, GATE, STEP, TAPS, LogUniform, check_recurrent, conv_weights
from physlm.models.parts.recurrent_mixer import RecurrentMixer
from physlm.models.parts.weight import GAIN, MATRIX, Constant, Normal, Uniform, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State


@dataclass(frozen=True)
class Mamba2(RecurrentMixer):
    """S_t = a_t S_(t-1) + B_t (D_t u_t)^T,  y_t = S_t^T C_t + s u_t,  a_t = e^(-e^A D_t),  D_t = softplus(x_t W + b).

    u, B and C are projections behind a short convolution with SiLU; B and C are shared by all heads, u is cut into
    them.  A, b and s are a number for each head: e^A is uniform in (1, 16) at first, softplus(b) log-uniform in (0.001,
    0.1), s = 1.  Then W_out RMSNorm(y SiLU(x W_z)), the norm over all channels.  Local mixing acts on z, u, B and
    C, 4 d + 128 channels by default, and not on x_t W, the way to D.  It differs there from the published Canon layers
    on Mamba2 (arXiv 2512.17351), which have 4 d + 144 channels with 16 heads.

    State: S of each head, expand d N numbers in float32, and the last three inputs of the convolution, however long the
    row.

    Attributes:
        expand: channels of u, as a multiple of the width.
        size: N, the rows of S: channels of B and C.
        conv: the short convolution; without it SiLU alone.
        levels: L > 0: log-linear (arXiv 2506.04761), a memory of each scale of time, L - 1 times the state; log2 T + 1
            of them tell all scales of a row of T tokens apart.  0: one memory.
    """

    kind: ClassVar[str] = "mamba2"
    expand: int = 2
    size: int = 64
    conv: bool = True
    levels: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("expand", "size"):
            if getattr(self, name) < 1:
                raise UserError(f"model.mixer.{name}: got {getattr(self, name)}, expected at least 1")

    def check(self, model: ModelConfig) -> None:
        check_recurrent(self, model, expand=self.expand)

    def sizes(self, model: ModelConfig) -> tuple[int, int]:
        """Keys and queries are the same for all heads, but each head has a memory, and scores, of its own."""
        return self.size * model.heads, self.expand * model.width

    def conv_width(self, model: ModelConfig) -> int:
        return self.expand * model.width + 2 * self.size

    def local_width(self, model: ModelConfig) -> int:
        return self.expand * model.width + self.conv_width(model)

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        d, inner, heads = model.width, self.expand * model.width, model.heads
        mixed, bound = self.conv_width(model), TAPS**-0.5
        bias = Weight("conv_bias", (mixed,), Uniform(-bound, bound), DECAY)
        parts = (inner, inner, self.size, self.size)  # z, u, b and c
        return (Weight("inputs", (d, inner + mixed), Normal(), MATRIX, low_rank=(0,), parts=parts),
                *conv_weights(self.conv, mixed), *(bias,) * self.conv,
                Weight("step", (d, heads), Normal(), GATE), Weight("step_bias", (heads,), STEP, DECAY),
                Weight("decay", (heads,), LogUniform(1.0, 16.0), DECAY), *self.level_weights(model),
                Weight("skip", (heads,), Constant(1.0), DECAY), Weight("gain", (inner,), Constant(1.0), GAIN),
                Weight("out", (inner, d), Normal(small=True), MATRIX))

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        return 2 * self.expand * model.width + super().kept_numbers(model, row_tokens)

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        import torch
        import torch.nn.functional as F

        from physlm.models.module import per_member
        from physlm.models.parts.recurrent import NORM_EPS, convolved, in_heads, log_decay, out_of_heads, widened

        inner, heads = self.expand * w.model.width, w.model.heads
        z, mixed = w.mix_local(w.inputs(x), state, where).split((inner, inner + 2 * self.size), -1)
        mixed = convolved(w, mixed.contiguous(), state, where, self.conv, w.conv_bias if self.conv else None)
        u, b, c = mixed.split((inner, self.size, self.size), -1)
        u, b, c = in_heads(u, heads), in_heads(b, 1), in_heads(c, 1)
        step, fade = log_decay(w, x, heads)
        read = self.remembered(w, x, state, where, c, b, u * step, fade)
        y = out_of_heads(read + in_heads(per_member(w.skip).expand(*x.shape[:3], heads), heads) * u)
        y = y * F.silu(widened(z))
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + NORM_EPS) * per_member(w.gain)
        return w.out(y.to(x.dtype))
