"""Softmax attention over contents: rotary, partly rotary, or without positions (RoPE, NoPE)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from physlm.errors import UserError
from physlm.models.parts.part import GAIN, MATRIX, Beside, Constant, Kept, Mixer, Next, Normal, Weight, Where, Whole

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State


@dataclass(frozen=True)
class Attention(Mixer):
    """softmax(q k^T / sqrt(k)) v in each head; causal unless the model is an encoder.

    Attributes:
        rope: share of a head's dimensions that are turned (arXiv 2104.09864): 1 all of them (GPT_rot of arXiv
            2305.13673), 0.25 a quarter (RoPE-quarter of arXiv 2512.17351), 0 none (NoPE).
        rope_base: of the angles, see ``distances.angles``.
        qk_norm: q and k are divided by their root mean square, in float32 with eps 1e-6, and multiplied by learnt
            gains, over each ``head`` or over the ``full`` width; ``none`` leaves them.
    """

    kind: ClassVar[str] = "attention"
    rope: float = 1.0
    rope_base: float = 10_000.0
    qk_norm: Literal["none", "head", "full"] = "none"

    def __post_init__(self) -> None:
        if not 0.0 <= self.rope <= 1.0:
            raise UserError(f"model.mixer.rope: got {self.rope}, expected a share from 0 to 1 of a head's dimensions")
        if not self.rope_base > 0:
            raise UserError(f"model.mixer.rope_base: got {self.rope_base}, expected a number above 0")

    def dims(self, model: ModelConfig) -> int:
        """Dimensions of a head that are turned."""
        return int(model.head_width * self.rope)

    def check(self, model: ModelConfig) -> None:
        if self.rope and (self.dims(model) % 2 or not self.dims(model)):
            raise UserError(f"model.mixer.rope: got {self.rope} of {model.head_width} dimensions a head, expected an "
                            "even number of rotated dimensions, at least 2, or 0")

    @property
    def label(self) -> str:
        rope = "nope" if not self.rope else "rope" if self.rope == 1 else f"rope{self.rope:g}"
        base = f"_base{self.rope_base:g}" if self.rope_base != type(self).rope_base else ""
        return rope + base + (f"_qk{self.qk_norm}" if self.qk_norm != "none" else "")

    @property
    def position(self) -> str:
        return "none" if not self.rope else "rope" if self.rope == 1 else f"rope{self.rope:g}"

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        d = model.width
        gains = ("q_gain", "k_gain") if self.qk_norm != "none" else ()
        return (Weight("qkv", (d, 3 * d), Normal(), MATRIX, low_rank=(0, 2), blocks=3),
                *(Weight(name, (d,), Constant(1.0), GAIN) for name in gains),
                Weight("out", (d, d), Normal(small=True), MATRIX))

    def tables(self, model: ModelConfig, size: int, device: torch.device) -> tuple[Tensor, ...]:
        from physlm.models.parts.distances import angles

        return angles(self.dims(model), self.rope_base, size, device) if self.rope else ()

    def shared(self, tables: tuple[Tensor, ...], weights: Any, positions: int) -> tuple[Tensor, ...]:
        return tuple(x[:positions] for x in tables)

    def shared_at(self, shared: tuple[Tensor, ...], places_BQ: Tensor, members: int) -> tuple[Tensor, ...]:
        return tuple(x[places_BQ][:, None].repeat(members, 1, 1, 1) for x in shared)

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        shape = (model.heads, positions, model.head_width)
        return Kept("keys", shape, axis=1), Kept("values", shape, axis=1)

    def local_width(self, model: ModelConfig) -> int:
        return 3 * model.width

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        """2 d for the score and 2 d for the mixture at each of the T / 2 positions read on average, or T."""
        return 4.0 * model.width * model.mean_reach(row_tokens)

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        import torch
        import torch.nn.functional as F

        from physlm.models.parts.distances import keep, seen

        q, k, v = self._project(w, x, state, where)
        if state is not None and not isinstance(where, Beside):
            for name, new in (("keys", k), ("values", v)):
                keep(state[name], new.unflatten(0, x.shape[:2]), where.place_1 if isinstance(where, Next) else None)
        if isinstance(where, Whole):
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=w.model.causal)
        else:
            assert state is not None
            keys, values = state["keys"].flatten(0, 1), state["values"].flatten(0, 1)
            if isinstance(where, Next):
                mask = seen(keys.shape[2], where.place_1)[None]
            else:
                keys, values, mask = torch.cat((keys, k), 2), torch.cat((values, v), 2), where.seen
            mixed = F.scaled_dot_product_attention(q, keys, values, mask)
        return w.out(mixed.transpose(1, 2).reshape(x.shape))

    @property
    def shows_attention(self) -> bool:
        return True

    def attention(self, w: Weights, x: Tensor, where: Whole) -> Tensor:
        import torch

        from physlm.models.parts.distances import future

        q, k, _ = self._project(w, x, None, where)
        scores = (q @ k.mT).float() / q.shape[-1] ** 0.5
        if w.model.causal:
            scores = scores.masked_fill(future(scores.shape[-1], scores.device), -torch.inf)
        return scores.softmax(-1).unflatten(0, x.shape[:2])

    def _project(
        self, w: Weights, x_MBTd: Tensor, state: State | None, where: Where
    ) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v, each (M B, H, T, k), in the order of the released code: norm, local mixing, rotation."""
        from physlm.models.parts.distances import turn

        members, rows, positions, _ = x_MBTd.shape
        qkv = w.qkv(x_MBTd)
        if self.qk_norm != "none":
            qkv = self._normed(w, qkv)
        qkv = w.mix_local(qkv, state, where).view(members * rows, positions, 3, w.model.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if self.rope:
            shared = where.shared
            if isinstance(where, Next):
                shared = tuple(table.index_select(0, where.place_1) for table in shared)
            q, k = turn(q, *shared), turn(k, *shared)
        return q, k, v

    def _normed(self, w: Weights, qkv: Tensor) -> Tensor:
        import torch

        from physlm.models.module import per_member

        q, k, v = qkv.chunk(3, -1)
        found = []
        for x, gain in ((q, w.q_gain), (k, w.k_gain)):
            wide = x.float()
            if self.qk_norm == "head":
                wide = wide.unflatten(-1, (w.model.heads, -1))
            wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)
            if self.qk_norm == "head":
                wide = wide.flatten(-2)
            found.append((wide * per_member(gain)).to(x.dtype))
        return torch.cat((*found, v), -1)
