"""Gated linear attention (arXiv 2312.06635): what is remembered fades at rates that the tokens choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from physlm.errors import UserError
from physlm.models.parts.part import GAIN, MATRIX, Constant, Kept, Mixer, Normal, Weight, Where
from physlm.models.parts.recurrent import (
    DECAY,
    GATE,
    channels,
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
class GLA(Mixer):
    """S_t = diag(a_t) S_(t-1) + k_t v_t^T,  o_t = S_t^T q_t / sqrt(h),  a_t = sigmoid(x_t W_down W_up + b)^(1/16).

    Then W_out (SiLU(x W_gate) * RMSNorm(o)), the norm over each head.  State: S of each head, keys values d^2 / H
    numbers in float32, d^2 / 2 H by default, however long the row.

    Attributes:
        gate: ``vector``, a number for each channel of the keys; ``scalar``, one for each head, sigmoid(x W + b)^(1/16).
        rank: of W_down W_up; a scalar gate has none.
        exponent: the 1/16.
        keys, values: channels of all heads together, as shares of the width.
        conv: a short convolution and SiLU of q, k and v, which the paper has not.
    """

    kind: ClassVar[str] = "gla"
    reads_beside: ClassVar[bool] = False  # type: ignore[misc]
    gate: Literal["vector", "scalar"] = "vector"
    rank: int = 16
    exponent: float = 1 / 16
    keys: float = 0.5
    values: float = 1.0
    conv: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f"model.mixer.rank: got {self.rank}, expected at least 1")
        if not self.exponent > 0:
            raise UserError(f"model.mixer.exponent: got {self.exponent}, expected a number above 0")

    def check(self, model: ModelConfig) -> None:
        check_recurrent(self, model, keys=self.keys, values=self.values)

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        d, keys, values = model.width, channels(self.keys, model), channels(self.values, model)
        inputs, rates = (self.rank, keys) if self.gate == "vector" else (d, model.heads)
        gate = (*(Weight("down", (d, self.rank), Normal(), GATE),) * (self.gate == "vector"),
                Weight("up", (inputs, rates), Normal(), GATE), Weight("bias", (rates,), Constant(0.0), DECAY))
        return (Weight("qkv", (d, 2 * keys + values), Normal(), MATRIX, low_rank=(0,)),
                *conv_weights(self.conv, 2 * keys + values), *gate,
                Weight("gate", (d, values), Normal(), MATRIX), Weight("gain", (values,), Constant(1.0), GAIN),
                Weight("out", (values, d), Normal(small=True), MATRIX))

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        return (memory_kept(model, channels(self.keys, model), channels(self.values, model)),
                *conv_kept(self.conv, self.local_width(model)))

    def local_width(self, model: ModelConfig) -> int:
        return 2 * channels(self.keys, model) + channels(self.values, model)

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        return chunk_flops(model, channels(self.keys, model), channels(self.values, model), row_tokens)

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        keys = channels(self.keys, model)
        pieces = 4 * 16 * keys if self.gate == "vector" else 0  # scores of channels within a piece, two factors
        return pieces + chunk_numbers(model, keys, channels(self.values, model), row_tokens)

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        import torch.nn.functional as F

        from physlm.models.module import per_member
        from physlm.models.parts.recurrent import convolved, gated, in_heads, normed_heads, remembered
        from physlm.models.primitives import product
        from physlm.models.recurrences.decayed import decayed, decayed_step

        heads, keys = w.model.heads, channels(self.keys, w.model)
        qkv = w.mix_local(w.qkv(x), state, where)
        if self.conv:
            qkv = convolved(w, qkv, state, where, True)
        q, k, v = (in_heads(part, heads) for part in qkv.split((keys, keys, qkv.shape[-1] - 2 * keys), -1))
        low = product(x, w.down) if self.gate == "vector" else x
        fade = in_heads(F.logsigmoid(product(low, w.up) + per_member(w.bias)) * self.exponent, heads)
        read = remembered(decayed, decayed_step, state, where, q * q.shape[-1] ** -0.5, k, v, fade)
        return w.out(gated(normed_heads(read, w.gain), w.gate(x)))
