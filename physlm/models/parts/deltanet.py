"""DeltaNet (arXiv 2406.06484): what is written for a key replaces what was there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.errors import UserError
from physlm.models.parts.part import GAIN, MATRIX, Constant, Kept, Mixer, Normal, Weight, Where
from physlm.models.parts.recurrent import (
    GATE,
    check_recurrent,
    chunk_flops,
    chunk_numbers,
    conv_kept,
    conv_weights,
    memory_kept,
)

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State


@dataclass(frozen=True)
class DeltaNet(Mixer):
    """S_t = S_(t-1) + k_t u_t^T,  u_t = b_t (v_t - S_(t-1)^T k_t),  o_t = S_t^T q_t / sqrt(h),  b_t = sigmoid(x_t W_b).

    q, k and v are projections behind a short convolution with SiLU; q and k are then divided by their lengths in each
    head.  Then W_out RMSNorm(o), the norm over each head.  State: S of each head, d^2 / H numbers in float32, and the
    last three inputs of the convolution, however long the row.

    Attributes:
        negative: b_t = 2 sigmoid(x_t W_b), so that the eigenvalue 1 - b_t reaches -1 (arXiv 2411.12537).
        steps: updates a token, each with a key, a value and a b of its own (DeltaProduct, arXiv 2502.10297).
        conv: the short convolution; without it SiLU alone.
    """

    kind: ClassVar[str] = "deltanet"
    reads_beside: ClassVar[bool] = False  # type: ignore[misc]
    negative: bool = False
    steps: int = 1
    conv: bool = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"model.mixer.steps: got {self.steps}, expected at least 1")

    def check(self, model: ModelConfig) -> None:
        check_recurrent(self, model)

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        d, n = model.width, self.steps
        moved = (0, *range(n + 1, 2 * n + 1))  # q and v, as in attention
        return (Weight("qkv", (d, d + 2 * n * d), Normal(), MATRIX, low_rank=moved, blocks=1 + 2 * n),
                *conv_weights(self.conv, d + 2 * n * d), Weight("beta", (d, n * model.heads), Normal(), GATE),
                Weight("gain", (d,), Constant(1.0), GAIN), Weight("out", (d, d), Normal(small=True), MATRIX))

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        return memory_kept(model, model.width, model.width), *conv_kept(self.conv, self.local_width(model))

    def local_width(self, model: ModelConfig) -> int:
        return (1 + 2 * self.steps) * model.width

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        return self.steps * chunk_flops(model, model.width, model.width, row_tokens, solved=True)

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        return 2 * self.steps * chunk_numbers(model, model.width, model.width, row_tokens)

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        from physlm.models.parts.recurrent import convolved, normed_heads, remembered
        from physlm.models.primitives import product
        from physlm.models.recurrences.delta import delta, delta_step, heads_of_steps

        d, n = w.model.width, self.steps
        qkv = convolved(w, w.mix_local(w.qkv(x), state, where), state, where, self.conv)
        q, k, v = qkv.split((d, n * d, n * d), -1)
        inputs = heads_of_steps(q, k, v, product(x, w.beta), w.model.heads, n, self.negative)
        read = remembered(delta, delta_step, state, where, *inputs, None)
        return w.out(normed_heads(read[..., n - 1 :: n, :], w.gain))
