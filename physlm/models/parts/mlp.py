"""The plain MLP, and none."""

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
class Plain(MLP):
    """act(x W_up) W_down with ``ratio`` d hidden units.

    Attributes:
        act: ``gelu``, its tanh form as in GPT-2; ``relu2``, max(0, x)^2 (arXiv 2109.08668).
    """

    kind: ClassVar[str] = "plain"
    ratio: int = 4
    act: Literal["gelu", "relu2"] = "gelu"

    def __post_init__(self) -> None:
        if self.ratio < 1:
            raise UserError(f"model.mlp.ratio: got {self.ratio}, expected at least 1; the kind 'none' has no MLP")

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        d, hidden = model.width, self.ratio * model.width
        return Weight("up", (d, hidden), Normal(), MATRIX), Weight("down", (hidden, d), Normal(small=True), MATRIX)

    def local_width(self, model: ModelConfig) -> int:
        return self.ratio * model.width

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        return w.down(w.mix_local(w.up(x), state, where, then=self.act))


@dataclass(frozen=True)
class NoMLP(MLP):
    """A block without an MLP (GPT2_0 of arXiv 2404.05405)."""

    kind: ClassVar[str] = "none"

    @property
    def empty(self) -> bool:
        return True

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        return ()
