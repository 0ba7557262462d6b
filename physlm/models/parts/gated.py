"""The gated MLP (SwiGLU, arXiv 2002.05202)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from physlm.errors import UserError
from physlm.models.parts.part import MLP, Where
from physlm.models.parts.weight import MATRIX, Normal, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State


@dataclass(frozen=True)
class Gated(MLP):
    """(act(x W_gate) * (x W_up)) W_down; W_gate and W_up are one matrix, ``up``, in this order.

    Attributes:
        ratio: hidden units per dimension, rounded to a multiple of 8; 8 / 3 has as many weights as a plain MLP of 4.
        act: ``silu`` (SwiGLU), or ``relu2``, max(0, x)^2.
    """

    kind: ClassVar[str] = "gated"
    ratio: float = 8 / 3
    act: Literal["silu", "relu2"] = "silu"

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1e3:
            raise UserError(f"model.mlp.ratio: got {self.ratio}, expected a number above 0 and below 1000")

    def hidden(self, model: ModelConfig) -> int:
        """Hidden units."""
        return max(8, 8 * round(self.ratio * model.width / 8))

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        d, hidden = model.width, self.hidden(model)
        return (Weight("up", (d, 2 * hidden), Normal(), MATRIX, parts=(hidden, hidden)),
                Weight("down", (hidden, d), Normal(small=True), MATRIX))

    def local_width(self, model: ModelConfig) -> int:
        return 2 * self.hidden(model)

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        return w.down(w.mix_local(w.up(x), state, where, then="swiglu" if self.act == "silu" else "relu2glu"))
