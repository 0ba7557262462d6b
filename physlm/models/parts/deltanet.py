"""DeltaNet (arXiv 2406.06484): what is written for a key replaces what was there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.models.parts.recurrent import GATE
from physlm.models.parts.recurrent_mixer import CoreName, RecurrentMixer
from physlm.models.parts.weight import Normal, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights


@dataclass(frozen=True)
class DeltaNet(RecurrentMixer):
    """S_t = S_(t-1) + k_t u_t^T,  u_t = b_t (v_t - S_(t-1)^T k_t),  o_t = S_t^T q_t / sqrt(h),  b_t = sigmoid(x_t W_b).

    q, k and v are projections behind a short convolution with SiLU; q and k are then divided by their lengths in each
    head.  Then W_out RMSNorm(o), the norm over each head.  State: S of each head, keys values d^2 / H numbers in
    float32, and the last three inputs of the convolution, however long the row.

    Attributes:
        negative: b_t = 2 sigmoid(x_t W_b), so that the eigenvalue 1 - b_t reaches -1 (arXiv 2411.12537).
        steps: updates a token, each with a key, a value and a b of its own (DeltaProduct, arXiv 2502.10297).
        keys, values: channels of all heads together, as shares of the width.
        conv: the short convolution; without it SiLU alone.
        silu: q and k pass SiLU, as v does.  No channel behind it is below -0.28, so that keys lean to one side: off
            where states are tracked, which takes reflections along any direction.  Then v alone passes it, as with
            ``qk_activation="identity"`` of flash-linear-attention.
    """

    kind: ClassVar[str] = "deltanet"
    core: ClassVar[CoreName] = "delta"
    negative: bool = False
    steps: int = 1
    keys: float = 1.0
    values: float = 1.0
    conv: bool = True
    silu: bool = True

    def gates(self, model: ModelConfig) -> tuple[Weight, ...]:
        return (Weight("beta", (model.width, self.steps * model.heads), Normal(), GATE),)

    def given(self, w: Weights, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor | None, ...]:
        from physlm.models.primitives import product
        from physlm.models.recurrences.delta import heads_of_steps

        return *heads_of_steps(q, k, v, product(x, w.beta), w.model.heads, self.steps, self.negative), None
