"""Attention whose weights depend on positions alone, out = A v, without queries and keys (arXiv 2305.13673)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.errors import UserError
from physlm.models.parts.part import Beside, Kept, Mixer, Next, Where, Whole
from physlm.models.parts.weight import MATRIX, TABLE, Normal, Weight

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State

    Weigh = Callable[[Weights, int, Where], Tensor]


@dataclass(frozen=True)
class PositionOnly(Mixer):
    """GPT_pos: A_ij = softmax_j b_h[i - j], a learnt function of head and distance; ``logits`` (M, P, H).

    Attributes:
        reach: distances that the table tells apart; farther ones count as the farthest.
    """

    kind: ClassVar[str] = "position_only"
    reads_beside: ClassVar[bool] = False  # type: ignore[misc]
    reach: int = 512

    def __post_init__(self) -> None:
        if self.reach < 1:
            raise UserError(f"model.mixer.reach: got {self.reach}, expected at least 1")

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        return (*_matrices(model), Weight("logits", (model.distances(self.reach), model.heads), Normal(), TABLE))

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        return _values(model, positions)

    def local_width(self, model: ModelConfig) -> int:
        return model.width

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        return 2.0 * model.width * model.mean_reach(row_tokens)

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        return _read(w, x, state, where, self._weights)

    @property
    def shows_attention(self) -> bool:
        return True

    def attention(self, w: Weights, x: Tensor, where: Whole) -> Tensor:
        return self._weights(w, x.shape[2], where)[:, None].expand(-1, x.shape[1], -1, -1, -1)

    def _weights(self, w: Weights, positions: int, where: Where) -> Tensor:
        import torch

        from physlm.models.parts.distances import clipped, clipped_row, future, seen, skew

        if isinstance(where, Next):
            which = clipped_row(w.logits.shape[1], where.place_1, positions)
            scores = w.logits.index_select(1, which).mT[:, :, None].float()
            return scores.masked_fill(~seen(positions, where.place_1), -torch.inf).softmax(-1)
        b_MHW = clipped(w.logits, positions, w.model.causal).flip(1).mT.float()
        scores = skew(b_MHW[:, :, None].expand(-1, -1, positions, -1), positions - 1)
        if w.model.causal:
            scores = scores.masked_fill(future(positions, scores.device), -torch.inf)
        return scores.softmax(-1)


@dataclass(frozen=True)
class Uniform(Mixer):
    """GPT_uni: head h = 1, 2, ... averages over the last 2^h - 1 tokens.

    The windows are those of ``distances.windows``.
    """

    kind: ClassVar[str] = "uniform"
    reads_beside: ClassVar[bool] = False  # type: ignore[misc]

    def check(self, model: ModelConfig) -> None:
        if not model.causal:
            raise UserError("model.causal: got false with the mixer uniform, which averages over earlier tokens; "
                            "expected true")

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        return _matrices(model)

    def tables(self, model: ModelConfig, size: int, device: torch.device) -> tuple[Tensor, ...]:
        from physlm.models.parts.distances import windows

        return (windows(model.heads, size, device),)

    def shared(self, tables: tuple[Tensor, ...], weights: Sequence[Tensor], positions: int) -> tuple[Tensor, ...]:
        return tuple(x[:, :positions, :positions] for x in tables)

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        return _values(model, positions)

    def local_width(self, model: ModelConfig) -> int:
        return model.width

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        return 2.0 * model.width * model.mean_reach(row_tokens)

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        return _read(w, x, state, where, self._weights)

    @property
    def shows_attention(self) -> bool:
        return True

    def attention(self, w: Weights, x: Tensor, where: Whole) -> Tensor:
        return self._weights(w, x.shape[2], where)[:, None].expand(-1, x.shape[1], -1, -1, -1)

    def _weights(self, w: Weights, positions: int, where: Where) -> Tensor:
        (windows_HTT,) = where.shared
        if isinstance(where, Next):
            return windows_HTT.index_select(1, where.place_1)[None, ..., :positions]  # (1, H, 1, L)
        return windows_HTT.expand(w.members, -1, -1, -1)


def _matrices(model: ModelConfig) -> tuple[Weight, ...]:
    square = (model.width, model.width)
    return Weight("value", square, Normal(), MATRIX), Weight("out", square, Normal(small=True), MATRIX)


def _values(model: ModelConfig, positions: int) -> tuple[Kept, ...]:
    return (Kept("values", (model.heads, positions, model.head_width), axis=1),)


def _read(w: Weights, x: Tensor, state: State | None, where: Where, weights: Weigh) -> Tensor:
    """out = A v; ``weights`` gives A: (M, H, T, T), or (M, H, 1, L) of the next token, float32."""
    from physlm.models.parts.distances import keep

    assert not isinstance(where, Beside), "refused by reads_beside"
    members, rows, positions, _ = x.shape
    v = w.mix_local(w.value(x), state, where).unflatten(-1, (w.model.heads, -1))  # (M, B, T, H, k)
    if state is not None:
        keep(state["values"], v.transpose(2, 3), where.place_1 if isinstance(where, Next) else None)
    if isinstance(where, Next):
        assert state is not None
        mixed = weights(w, state["values"].shape[3], where)[:, None].to(v.dtype) @ state["values"]
        return w.out(mixed.transpose(2, 3).reshape(x.shape))
    # one product a head over all rows: (H, T, T) x (H, T, B k)
    v = v.permute(0, 3, 2, 1, 4).reshape(members, w.model.heads, positions, -1)
    mixed = weights(w, positions, where).to(v.dtype) @ v
    mixed = mixed.view(members, w.model.heads, positions, rows, -1).permute(0, 3, 2, 1, 4)
    return w.out(mixed.reshape(x.shape))
