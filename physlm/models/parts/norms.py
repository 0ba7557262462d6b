"""Norms in float32 or wider, with a gain and no bias: layer norm, root-mean-square norm, and dynamic tanh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from physlm.errors import UserError
from physlm.models.parts.part import NormPart
from physlm.models.parts.weight import GAIN, Constant, Weight

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
        from physlm.models.parts.recurrent import widened

        return (F.layer_norm(widened(x), (x.shape[-1],), eps=self.eps) * per_member(w.weight)).to(where)


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
        from physlm.models.parts.recurrent import widened

        return (F.rms_norm(widened(x), (x.shape[-1],), eps=self.eps) * per_member(w.weight)).to(where)


@dataclass(frozen=True)
class DyT(NormPart):
    """No norm, but a tanh in its place: y = g tanh(a x), one learnt number a (arXiv 2503.10622).

    Small a with g = 1 / a is the identity.  Nothing is computed over the channels of a token, so that activations keep
    their scale until they are squashed.

    Attributes:
        alpha: the first value of a.  Published: 0.5, and in models of text from 1 down as they grow wider.
    """

    kind: ClassVar[str] = "dyt"
    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise UserError(f"model.norm.alpha: got {self.alpha}, expected a number above 0")

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        return (Weight("weight", (model.width,), Constant(1.0), GAIN),
                Weight("alpha", (1,), Constant(self.alpha), GAIN))

    def read(self, w: Weights, x: Tensor, state: Any, where: Any) -> Tensor:
        from physlm.models.module import per_member
        from physlm.models.parts.recurrent import widened

        return ((widened(x) * per_member(w.alpha)).tanh() * per_member(w.weight)).to(where)
