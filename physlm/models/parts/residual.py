"""The residual path: what a branch of a block reads of the stream, and how it adds to it.

    add                  x <- x + F(norm x)
    hyper-connections    n streams H, (n, d) a token:   H <- R H + b F(norm(a H))^T

with a (n) what is read, b (n) where it is added, and R (n, n) how the streams mix.  All begin as the embedding, and
their mean is read at the end.  The n streams of a token stand side by side as n d channels, in float32.

Shape letters: M members, B rows, T positions, n streams, d width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from physlm.errors import UserError
from physlm.models.parts.part import Residual
from physlm.models.parts.weight import GAIN, Constant, Given, Normal, Role, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights

CONNECTION = Role("connection", float32=True, multiplied=True)
ROUNDS = 20  # of Sinkhorn
_MOST_STREAMS = 64
_WHOLE = 8.0  # whose sigmoid is 1 for one stream, as far as its norm goes


class Coefficients(NamedTuple):
    """What a branch does with the streams: of all tokens alike, (M, 1, 1, ..), or of each, (M, B, T, ..).

    Attributes:
        read_n, add_n: a and b.
        mix_nn: R, how much of the second stream goes into the first.
    """

    read_n: Tensor
    add_n: Tensor
    mix_nn: Tensor


@dataclass(frozen=True)
class Add(Residual):
    """One stream, to which every branch adds: x <- x + F(norm x)."""

    kind: ClassVar[str] = "add"

    def weights_at(self, model: ModelConfig, branch: int) -> tuple[Weight, ...]:
        return ()

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        return 0.0


@dataclass(frozen=True)
class Hyper(Residual):
    """Static hyper-connections (arXiv 2409.19606): numbers a, b and R of each branch, the same for all tokens.

    They begin with b = 1, R = I and a one-hot at stream l mod n of the l-th branch, where the model is the plain
    residual network; one stream is that network with a factor on each of its paths.

    Attributes:
        streams: n.
    """

    kind: ClassVar[str] = "hyper"
    streams: int = 4

    def __post_init__(self) -> None:
        _check_streams(self.streams)

    def weights_at(self, model: ModelConfig, branch: int) -> tuple[Weight, ...]:
        n = self.streams
        one_hot = tuple(float(stream == branch % n) for stream in range(n))
        identity = tuple(float(i == j) for i in range(n) for j in range(n))
        return (Weight("read", (n,), Given(one_hot), GAIN), Weight("add", (n,), Constant(1.0), GAIN),
                Weight("mix", (n, n), Given(identity), GAIN))

    def coefficients(self, w: Weights, x: Tensor) -> Coefficients:
        found = (w.read, w.add, w.mix)
        if w.members == 1:  # no axes of one: see module.per_member
            return Coefficients(*(one[0] for one in found))
        return Coefficients(*(one[:, None, None] for one in found))


@dataclass(frozen=True)
class ManifoldHyper(Residual):
    """Manifold-constrained hyper-connections (mHC, arXiv 2512.24880): the coefficients are of each token, and R is
    doubly stochastic, so that the mean of the streams is passed on as it is, whatever the depth.

        z = [s_a z_a, s_b z_b, s_R z_R] + bias,   (z_a, z_b, z_R) = RMSNorm(H) W      W (n d, 2 n + n^2)
        a = sigmoid(z_a)      b = 2 sigmoid(z_b)      R = Sinkhorn(exp z_R)

    Sinkhorn divides rows and then columns by their sums, twenty times, here by logarithms: the sums of columns are 1
    after it, and those of rows to 1e-4 for ordinary z.  Biases begin where a = 1 / n and b = 1, and s at 0.01, so that
    the model begins near the plain residual network.  Of one stream b alone matters, a gate of each token.

    Attributes:
        streams: n.
        apart: first bias of what goes from one stream into another; 0 of what stays.
    """

    kind: ClassVar[str] = "mhc"
    streams: int = 2
    apart: float = -8.0

    def __post_init__(self) -> None:
        _check_streams(self.streams)

    def weights_at(self, model: ModelConfig, branch: int) -> tuple[Weight, ...]:
        n = self.streams
        mix = tuple(0.0 if i == j else self.apart for i in range(n) for j in range(n))
        all_of_it = -math.log(n - 1) if n > 1 else _WHOLE  # sigmoid(-log(n - 1)) = 1 / n
        bias = (*(all_of_it,) * n, *(0.0,) * n, *mix)
        return (Weight("project", (n * model.width, n * n + 2 * n), Normal(), CONNECTION),
                Weight("scale", (3,), Constant(0.01), GAIN), Weight("bias", (len(bias),), Given(bias), GAIN))

    def coefficients(self, w: Weights, x: Tensor) -> Coefficients:
        import torch
        import torch.nn.functional as F

        from physlm.models.module import per_member
        from physlm.models.parts.recurrent import widened
        from physlm.models.primitives import product

        n = self.streams
        normed = F.rms_norm(widened(x), x.shape[-1:], eps=1e-6)
        scale_Mz = torch.cat([w.scale[:, i : i + 1].expand(-1, size) for i, size in enumerate((n, n, n * n))], 1)
        z = product(normed, w.project) * per_member(scale_Mz) + per_member(w.bias)
        z_a, z_b, z_R = z.split((n, n, n * n), -1)
        return Coefficients(z_a.sigmoid(), 2 * z_b.sigmoid(), doubly_stochastic(z_R.unflatten(-1, (n, n))))

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        """What is read, added and mixed, and Sinkhorn's sums."""
        return super().flops(model, row_tokens) + 2.0 * ROUNDS * 2 * self.streams**2


def doubly_stochastic(logits_nn: Tensor) -> Tensor:
    """exp(logits), rows and then columns divided by their sums ``ROUNDS`` times (Sinkhorn and Knopp), (.., n, n)."""
    for _ in range(ROUNDS):
        logits_nn = logits_nn - logits_nn.logsumexp(-1, keepdim=True)
        logits_nn = logits_nn - logits_nn.logsumexp(-2, keepdim=True)
    return logits_nn.exp()


def _check_streams(streams: int) -> None:
    if not 1 <= streams <= _MOST_STREAMS:
        raise UserError(f"model.residual.streams: got {streams}, expected 1 to {_MOST_STREAMS}")
