"""Gated DeltaNet (arXiv 2412.06464): the delta rule in a memory that fades."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.errors import UserError
from physlm.models.parts.part import GAIN, MATRIX, Constant, Kept, Mixer, Normal, Weight, Where
from physlm.models.parts.recurrent import (
    DECAY,
    GATE,
    STEP,
    LogUniform,
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
class GatedDeltaNet(Mixer):
    """S' = a_t S_(t-1),  S_t = S' + k_t u_t^T,  u_t = b_t (v_t - S'^T k_t),  o_t = S_t^T q_t / sqrt(h).

    b_t = sigmoid(x_t W_b), a_t = e^(-e^A D_t), D_t = softplus(x_t W_step + b) in each head; e^A is uniform in (0, 16)
    at first and softplus(b) log-uniform in (0.001, 0.1).  q, k and v as in DeltaNet.  Then W_out (SiLU(x W_gate) *
    RMSNorm(o)), the norm over each head.

    State: S of each head, keys values d^2 / H numbers in float32, 9 d^2 / 8 H by default, and the last three inputs of
    the convolution, however long the row.

    Attributes:
        negative: b_t = 2 sigmoid(x_t W_b), so that the eigenvalue a_t (1 - b_t) reaches -1 (arXiv 2411.12537).
        steps: updates a token, each with a key, a value and a b of its own; the memory fades before the first (gated
            DeltaProduct, arXiv 2502.10297).
        keys, values: channels of all heads together, as shares of the width.
        conv: the short convolution; without it SiLU alone.
    """

    kind: ClassVar[str] = "gated_deltanet"
    reads_beside: ClassVar[bool] = False  # type: ignore[misc]
    negative: bool = False
    steps: int = 1
    keys: float = 0.75
    values: float = 1.5
    conv: bool = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"model.mixer.steps: got {self.steps}, expected at least 1")

    def check(self, model: ModelConfig) -> None:
        check_recurrent(self, model, keys=self.keys, values=self.values)

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        d, heads, values = model.width, model.heads, channels(self.values, model)
        mixed = self.local_width(model)
        return (Weight("qkv", (d, mixed), Normal(), MATRIX, low_rank=(0,)), *conv_weights(self.conv, mixed),
                Weight("beta", (d, self.steps * heads), Normal(), GATE),
                Weight("step", (d, heads), Normal(), GATE), Weight("step_bias", (heads,), STEP, DECAY),
                Weight("decay", (heads,), LogUniform(0.0, 16.0), DECAY),
                Weight("gate", (d, values), Normal(), MATRIX), Weight("gain", (values,), Constant(1.0), GAIN),
                Weight("out", (values, d), Normal(small=True), MATRIX))

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        return (memory_kept(model, channels(self.keys, model), channels(self.values, model)),
                *conv_kept(self.conv, self.local_width(model)))

    def local_width(self, model: ModelConfig) -> int:
        keys, values = channels(self.keys, model), channels(self.values, model)
        return keys + self.steps * (keys + values)

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        keys, values = channels(self.keys, model), channels(self.values, model)
        return self.steps * chunk_flops(model, keys, values, row_tokens, solved=True)

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        keys, values = channels(self.keys, model), channels(self.values, model)
        return 2 * self.steps * chunk_numbers(model, keys, values, row_tokens)

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        from physlm.models.parts.recurrent import convolved, gated, log_decay, normed_heads, remembered
        from physlm.models.primitives import product
        from physlm.models.recurrences.delta import decay_of_steps, delta, delta_step, heads_of_steps

        heads, n = w.model.heads, self.steps
        keys, values = n * channels(self.keys, w.model), n * channels(self.values, w.model)
        qkv = convolved(w, w.mix_local(w.qkv(x), state, where), state, where, self.conv)
        q, k, v = qkv.split((keys // n, keys, values), -1)
        inputs = heads_of_steps(q, k, v, product(x, w.beta), heads, n, self.negative)
        fade = decay_of_steps(log_decay(w, x, heads)[1], n)
        read = remembered(delta, delta_step, state, where, *inputs, fade)
        return w.out(gated(normed_heads(read[..., n - 1 :: n, :], w.gain), w.gate(x)))
