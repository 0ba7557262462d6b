"""How often the layers read each row at once: once, or in streams that are merged (ParScale, arXiv 2505.10475).

Shape letters: M members, B rows, P streams, T positions, d width, n positions of a prefix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.errors import UserError, counted
from physlm.models.parts.part import Parallel, Where
from physlm.models.parts.weight import GATE_MATRIX, MATRIX, Normal, Role, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State

PREFIX = Role("prefix", decays=False)
_MOST_STREAMS = 64


@dataclass(frozen=True)
class OneStream(Parallel):
    """The layers read each row once."""

    kind: ClassVar[str] = "one"

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        return ()


@dataclass(frozen=True)
class ParScale(Parallel):
    """Parallel scaling (arXiv 2505.10475): P streams through the same layers, told apart by learnt prefixes, merged by
    learnt weights of each token.

        h_p = final norm of the layers, where n learnt keys and values of layer and stream stand before the row
        a   = (1 - e) softmax(silu([h_1, .., h_P] W_1) W_2) + e / P         W_1 (P d, d), W_2 (d, P), a in float32
        h   = Sum_p a_p h_p

    Prefix keys are not rotated, and positions begin with the row, as released; so are the merge behind the final norm
    and e = 0.01 (0.1 in an ablation of the paper).  Ours have no biases.  The prefix has 48 positions there; in a
    narrow model these are more than the model, so that the default is 8.

    Parameters: 2 P n of a key's channels in each layer, P d^2 + d P once.  FLOPs and the state of generation are P
    times those of the layers.  With one stream nothing is merged, and without a prefix besides it is the plain model,
    bit for bit.  Taps hold the streams of a token side by side, P d channels, before they are merged.

    Attributes:
        streams: P.
        prefix: n.
        smooth: e.
    """

    kind: ClassVar[str] = "parscale"
    reads_beside: ClassVar[bool] = False  # type: ignore[misc]
    streams: int = 4
    prefix: int = 8
    smooth: float = 0.01

    def __post_init__(self) -> None:
        if not 1 <= self.streams <= _MOST_STREAMS:
            raise UserError(f"model.parallel.streams: got {self.streams}, expected 1 to {_MOST_STREAMS}")
        if self.prefix < (self.streams > 1):
            raise UserError(f"model.parallel.prefix: got {self.prefix} with {counted(self.streams, 'stream')}, "
                            f"expected at least {int(self.streams > 1)}: the prefix alone tells streams apart")
        if not 0 <= self.smooth < 1:
            raise UserError(f"model.parallel.smooth: got {self.smooth}, expected 0 or more, and less than 1")

    def check(self, model: ModelConfig) -> None:
        for mixer in model.mixer:
            if self.prefix and not mixer.reads_prefix:
                raise UserError(f"model.mixer: got {mixer.label} with model.parallel=parscale, expected attention "
                                "without a bias, window, chunk and log_n, which sees a prefix before all tokens")

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        if self.streams == 1:
            return ()
        return (Weight("merge_up", (self.streams * model.width, model.width), Normal(), MATRIX),
                Weight("merge_out", (model.width, self.streams), Normal(), GATE_MATRIX))

    def prefix_weights(self, channels: int) -> tuple[Weight, ...]:
        return (Weight("prefix", (self.streams, 2, self.prefix, channels), Normal(), PREFIX),) * (self.prefix > 0)

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        import torch.nn.functional as F

        from physlm.models.parts.recurrent import widened

        h_MBTPd = x.unflatten(1, (-1, self.streams)).transpose(2, 3)
        share = widened(w.merge_out(F.silu(w.merge_up(h_MBTPd.flatten(-2))))).softmax(-1)
        share = (1 - self.smooth) * share + self.smooth / self.streams
        return (share[..., None] * h_MBTPd).sum(-2).to(x.dtype)


def for_streams(x: Tensor, streams: int) -> Tensor:
    """Each row once for each of P streams, which stand beside each other: (M, B, T, ..) to (M, B P, T, ..)."""
    return x if streams == 1 else x[:, :, None].expand(-1, -1, streams, *x.shape[2:]).flatten(1, 2)


def side_by_side(x: Tensor, streams: int) -> Tensor:
    """The streams of a token as its channels: (M, B P, T, d) to (M, B, T, P d)."""
    return x if streams == 1 else x.unflatten(1, (-1, streams)).transpose(2, 3).flatten(-2)


def edit_of_streams(edit: Callable[[Tensor], Tensor], streams: int) -> Callable[[Tensor], Tensor]:
    """An edit of these channels as one of streams that are rows."""
    if streams == 1:
        return edit
    return lambda x: edit(side_by_side(x, streams)).unflatten(-1, (streams, -1)).transpose(2, 3).flatten(1, 2)
