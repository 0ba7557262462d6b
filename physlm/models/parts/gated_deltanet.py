"""Gated DeltaNet (arXiv 2412.06464): what is written for a key replaces what was there, and all of it fades."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.models.parts.recurrent import DECAY, GATE, STEP, LogUniform
from physlm.models.parts.recurrent_mixer import CoreName, RecurrentMixer
from physlm.models.parts.weight import Normal, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights


@dataclass(frozen=True)
class GatedDeltaNet(RecurrentMixer):
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
        levels: L > 0: log-linear (arXiv 2506.04761), a memory of each scale of time, L - 1 times the state; log2 T + 1
            of them tell all scales of a row of T tokens apart.  0: one memory.
        silu: q and k pass SiLU, as v does; else v alone does, see DeltaNet.
    """

    kind: ClassVar[str] = "gated_deltanet"
    core: ClassVar[CoreName] = "delta"
    output_gate: ClassVar[bool] = True
    negative: bool = False
    steps: int = 1
    keys: float = 0.75
    values: float = 1.5
    conv: bool = True
    levels: int = 0
    silu: bool = True

    def gates(self, model: ModelConfig) -> tuple[Weight, ...]:
        d, heads = model.width, model.heads
        return (Weight("beta", (d, self.steps * heads), Normal(), GATE), Weight("step", (d, heads), Normal(), GATE),
                Weight("step_bias", (heads,), STEP, DECAY), Weight("decay", (heads,), LogUniform(0.0, 16.0), DECAY))

    def given(self, w: Weights, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor | None, ...]:
        from physlm.models.parts.recurrent import log_decay
        from physlm.models.primitives import product
        from physlm.models.recurrences.delta import heads_of_steps

        heads = w.model.heads
        return (*heads_of_steps(q, k, v, product(x, w.beta), heads, self.steps, self.negative),
                log_decay(w, x, heads)[1])
