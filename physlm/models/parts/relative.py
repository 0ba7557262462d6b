"""GPT_rel: attention with learnt terms of content and distance, as in DeBERTa (arXiv 2006.03654)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.errors import UserError
from physlm.models.parts.part import Beside, Kept, Mixer, Next, Where, Whole
from physlm.models.parts.weight import MATRIX, STEP_MATRIX, TABLE, Normal, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State


@dataclass(frozen=True)
class Relative(Mixer):
    """Content to content, content to position and position to content (GPT_rel of arXiv 2305.13673).

    a_ij = (q_i . k_j + q_i . K_ij + k_j . Q_ij) / sqrt(3 k),  K_ij = (P W_K)[i - j],  Q_ij = (P W_Q)[i - j]

    P is a table of distances shared by all blocks; each block has its own W_K and W_Q, both in ``distance``.
    DeBERTa reads Q at j - i; with one row for each distance and a W_Q of its own that is a matter of naming.

    Of the tensors of T x T a head, only the weights are kept for the backward pass.

    Attributes:
        reach: distances that the table tells apart; farther ones count as the farthest.
    """

    kind: ClassVar[str] = "relative"
    reads_beside: ClassVar[bool] = False  # type: ignore[misc]
    reach: int = 512

    def __post_init__(self) -> None:
        if self.reach < 1:
            raise UserError(f"model.mixer.reach: got {self.reach}, expected at least 1")

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        d = model.width
        return (Weight("qkv", (d, 3 * d), Normal(), MATRIX, low_rank=(0, 2), blocks=3),
                Weight("distance", (d, 2 * d), Normal(), STEP_MATRIX),
                Weight("out", (d, d), Normal(small=True), MATRIX))

    def shared_weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        return (Weight("distances.weight", (model.distances(self.reach), model.width), Normal(), TABLE),)

    def shared(self, tables: tuple[Tensor, ...], weights: Sequence[Tensor], positions: int) -> tuple[Tensor, ...]:
        return tuple(weights)

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        shape = (model.heads, positions, model.head_width)
        return Kept("keys", shape, axis=1), Kept("values", shape, axis=1)

    def local_width(self, model: ModelConfig) -> int:
        return 3 * model.width

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        """Three scores and a mixture; the tables, computed once for all rows of a step, are left out."""
        return 8.0 * model.width * model.mean_reach(row_tokens)

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        """Logits and weights of each key and head."""
        return 2 * model.heads * row_tokens

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        from physlm.models.parts.distances import keep

        assert not isinstance(where, Beside), "refused by reads_beside"
        q, k, v = self._project(w, x, state, where)
        (table,) = where.shared
        if state is not None:
            place = where.place_1 if isinstance(where, Next) else None
            keep(state["keys"], k, place)
            keep(state["values"], v, place)
        if isinstance(where, Next):
            assert state is not None
            mixed = self._weights_of_one(w, q, state["keys"], table, where.place_1).to(v.dtype) @ state["values"]
        else:
            mixed = self._mix(w, q, k, table) @ v
        return w.out(mixed.transpose(2, 3).reshape(x.shape))

    def _weights_of_one(self, w: Weights, q: Tensor, keys_MBHLk: Tensor, table: Tensor, place_1: Tensor) -> Tensor:
        """Softmax weights of the query at ``place``, (M, B, H, 1, L) float32."""
        import torch

        from physlm.models.parts.distances import clipped_row, over_rows, seen

        positions = keys_MBHLk.shape[3]
        which = clipped_row(table.shape[1], place_1, positions)
        keys, queries = (x.index_select(2, which) for x in self._distances(w, table))  # (M, H, L, k)
        content = q @ keys_MBHLk.mT
        to_position = over_rows(q, keys)
        from_position = (keys_MBHLk * queries[:, None]).sum(-1, dtype=torch.float32)[..., None, :]
        scores = (content.float() + to_position.float() + from_position) / (3 * q.shape[-1]) ** 0.5
        return scores.masked_fill(~seen(positions, place_1), -torch.inf).softmax(-1)

    @property
    def shows_attention(self) -> bool:
        return True

    def attention(self, w: Weights, x: Tensor, where: Whole) -> Tensor:
        q, k, _ = self._project(w, x, None, where)
        return self._mix(w, q, k, where.shared[0]).float()

    def _project(
        self, w: Weights, x_MBTd: Tensor, state: State | None, where: Where
    ) -> tuple[Tensor, Tensor, Tensor]:
        qkv = w.mix_local(w.qkv(x_MBTd), state, where)
        q, k, v = qkv.unflatten(-1, (3, w.model.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        return q, k, v  # each (M, B, H, T, k)

    def _distances(self, w: Weights, rows_MWd: Tensor) -> tuple[Tensor, Tensor]:
        """W_K and W_Q applied to rows of P: keys and queries, (M, H, W, k)."""
        both = w.distance(rows_MWd[:, None])[:, 0].unflatten(-1, (2, w.model.heads, -1))
        keys, queries = both.permute(2, 0, 3, 1, 4)
        return keys, queries

    def _mix(self, w: Weights, q_MBHTk: Tensor, k_MBHTk: Tensor, table_MPd: Tensor) -> Tensor:
        """Softmax weights (M, B, H, T, T) in the dtype of q."""
        from physlm.models.parts.distances import clipped, over_rows, skew, softmax_of_sum

        causal, (positions, width) = w.model.causal, q_MBHTk.shape[-2:]
        keys, queries = self._distances(w, clipped(table_MPd, positions, causal))
        # column c of q . K^T is distance T - 1 - c, so that j = i - distance moves right with c
        to_position = skew(over_rows(q_MBHTk, keys.flip(2)), positions - 1)
        # column c of k . Q^T is distance c, or c - T where the future is seen; here the rows are the keys j
        from_position = skew(over_rows(k_MBHTk, queries), 0 if causal else positions).mT
        content = q_MBHTk @ k_MBHTk.mT
        return softmax_of_sum(content, to_position, from_position, 1 / (3 * width) ** 0.5, causal)
