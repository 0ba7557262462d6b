"""Gated linear attention (arXiv 2312.06635): what is remembered fades at rates that the tokens choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from physlm.errors import UserError
from physlm.models.parts.recurrent import DECAY, GATE, channels
from physlm.models.parts.recurrent_mixer import RecurrentMixer
from physlm.models.parts.weight import Constant, Normal, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights


@dataclass(frozen=True)
class GLA(RecurrentMixer):
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
    silu_without_conv: ClassVar[bool] = False
    output_gate: ClassVar[bool] = True
    gate: Literal["vector", "scalar"] = "vector"
    rank: int = 16
    exponent: float = 1 / 16
    keys: float = 0.5
    values: float = 1.0
    conv: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank < 1:
            raise UserError(f"model.mixer.rank: got {self.rank}, expected at least 1")
        if not self.exponent > 0:
            raise UserError(f"model.mixer.exponent: got {self.exponent}, expected a number above 0")

    def gates(self, model: ModelConfig) -> tuple[Weight, ...]:
        d, keys = model.width, channels(self.keys, model)
        inputs, rates = (self.rank, keys) if self.gate == "vector" else (d, model.heads)
        return (*(Weight("down", (d, self.rank), Normal(), GATE),) * (self.gate == "vector"),
                Weight("up", (inputs, rates), Normal(), GATE), Weight("bias", (rates,), Constant(0.0), DECAY))

    @property
    def core_of_costs(self) -> str:
        return "channels" if self.gate == "vector" else self.core

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        """Of channels also the scores within a piece, and two factors."""
        pieces = 4 * 16 * channels(self.keys, model) if self.gate == "vector" else 0
        return pieces + super().kept_numbers(model, row_tokens)

    def given(self, w: Weights, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor | None, ...]:
        import torch.nn.functional as F

        from physlm.models.module import per_member
        from physlm.models.parts.recurrent import in_heads
        from physlm.models.primitives import product

        q, k, v = (in_heads(part, w.model.heads) for part in (q, k, v))
        low = product(x, w.down) if self.gate == "vector" else x
        fade = F.logsigmoid(product(low, w.up) + per_member(w.bias)) * self.exponent
        return q * q.shape[-1] ** -0.5, k, v, in_heads(fade, w.model.heads)
