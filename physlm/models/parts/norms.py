"""Norms: layer norm and root-mean-square norm, in float32, with a gain and no bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from physlm.errors import UserError
from physlm.models.parts.part import GAIN, Constant, NormPart, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights

EPS = 1e-5


def _check_eps(eps: float) -> None:
    if not 0.0 < eps < 1.0:
        raise UserError(f"model.norm.eps: got {eps}, expected a number above 0 and below 1")


@dataclass(frozen=True)
class LayerNorm(NormPart):
    """Zero mean and unit variance: y = g (x - mean x) / sqrt(var x + eps)."""

    kind: ClassVar[str] = "layernorm"
    eps: float = EPS

    def __post_init__(self) -> None:
        _check_eps(self.eps)

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        return (Weight("weight", (model.width,), Constant(1.0), GAIN),)

    def read(self, w: Weights, x: Tensor, state: Any, where: Any) -> Tensor:
        import torch.nn.functional as F

        from physlm.models.module import per_member

        return (F.layer_norm(x.float(), (x.shape[-1],), eps=self.eps) * per_member(w.weight)).to(where)


@dataclass(frozen=True)
class RMSNorm(NormPart):
    """Unit mean square: y = g x / sqrt(mean x^2 + eps) (arXiv 1910.07467)."""

    kind: ClassVar[str] = "rmsnorm"
    eps: float = EPS

    def __post_init__(self) -> None:
        _check_eps(self.eps)

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        return (Weight("weight", (model.width,), Constant(1.0), GAIN),)

    def read(self, w: Weights, x: Tensor, state: Any, where: Any) -> Tensor:
        import torch.nn.functional as F

        from physlm.models.module import per_member

        return (F.rms_norm(x.float(), (x.shape[-1],), eps=self.eps) * per_member(w.weight)).to(where)
