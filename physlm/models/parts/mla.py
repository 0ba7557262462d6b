"""Multi-head latent attention (MLA, arXiv 2405.04434): keys and values of all heads out of one short vector a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.errors import UserError, counted
from physlm.models.parts.part import Kept, Mixer, Next, Where, Whole
from physlm.models.parts.recurrent import channels
from physlm.models.parts.weight import GAIN, MATRIX, Constant, Normal, Weight

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State


@dataclass(frozen=True)
class MLA(Mixer):
    """softmax_j((q_i . k_j + q~_i . k~_j) / sqrt(k + r)) v_j in each head, with [k_j, v_j] = RMSNorm(x_j W_c) W_up.

    k~, r channels that are turned (RoPE), is the same for all heads; q~ is not.  W_c and the matrices of the queries
    and of k~ are one, ``inputs``, on whose outputs local mixing acts, before the norm.

    State: RMSNorm(x W_c) and k~ of each token, latent d + r numbers in place of 2 d.  A token more is read by the
    absorbed form: W_up is multiplied to the queries and to the output instead of to all that is kept.

    Attributes:
        latent: channels of x W_c, as a share of the width.
        rotated: r, as a share of a head's k channels; 0: no positions.
        rope_base: of the angles.
    """

    kind: ClassVar[str] = "mla"
    reads_beside: ClassVar[bool] = False  # type: ignore[misc]
    latent: float = 0.5
    rotated: float = 0.5
    rope_base: float = 10_000.0

    def __post_init__(self) -> None:
        if not 0 < self.latent <= 16:
            raise UserError(f"model.mixer.latent: got {self.latent}, expected a share of the width, at most 16")
        if not 0 <= self.rotated <= 16:
            raise UserError(f"model.mixer.rotated: got {self.rotated}, expected a share of a head's channels, 0 to 16")
        if not self.rope_base > 0:
            raise UserError(f"model.mixer.rope_base: got {self.rope_base}, expected a number above 0")

    def turned(self, model: ModelConfig) -> int:
        """r."""
        return int(model.head_width * self.rotated)

    def check(self, model: ModelConfig) -> None:
        if channels(self.latent, model) < 1:
            raise UserError(f"model.mixer.latent: got {self.latent} of {counted(model.width, 'channel')}, expected at "
                            "least one")
        if self.rotated and (self.turned(model) % 2 or not self.turned(model)):
            raise UserError(f"model.mixer.rotated: got {self.rotated} of {model.head_width} channels a head, expected "
                            "an even number of rotated channels, at least 2, or 0")

    @property
    def position(self) -> str:
        return "rope" if self.rotated else "none"

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        d, latent = model.width, channels(self.latent, model)
        turned = self.turned(model)
        parts = (d + model.heads * turned, latent, turned)  # q, c and k~
        return (Weight("inputs", (d, self.local_width(model)), Normal(), MATRIX, low_rank=(0,), parts=parts),
                Weight("gain", (latent,), Constant(1.0), GAIN),
                Weight("up", (latent, 2 * d), Normal(), MATRIX, parts=(d, d)),
                Weight("out", (d, d), Normal(small=True), MATRIX))

    def tables(self, model: ModelConfig, size: int, device: torch.device) -> tuple[Tensor, ...]:
        from physlm.models.parts.distances import angles

        return angles(self.turned(model), self.rope_base, size, device) if self.rotated else ()

    def shared(self, tables: tuple[Tensor, ...], weights: Sequence[Tensor], positions: int) -> tuple[Tensor, ...]:
        """cos and sin of each place, (T, r / 2)."""
        return tuple(x[:positions] for x in tables)

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        return (Kept("latent", (1, positions, channels(self.latent, model) + self.turned(model)), axis=1),)

    def local_width(self, model: ModelConfig) -> int:
        turned = self.turned(model)
        return model.width + model.heads * turned + channels(self.latent, model) + turned

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        return (4.0 * model.width + 2 * model.heads * self.turned(model)) * model.mean_reach(row_tokens)

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        """Keys with their turned channels once for each head, and values as wide."""
        return 3 * model.heads * self.turned(model) + 2 * channels(self.latent, model)

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        import torch.nn.functional as F

        from physlm.models.parts.distances import keep, seen

        q, latent = self._project(w, x, state, where)
        scale = q.shape[-1] ** -0.5
        if state is not None:
            keep(state["latent"], latent[:, :, None], where.place_1 if isinstance(where, Next) else None)
        if isinstance(where, Next):
            assert state is not None
            mask = seen(state["latent"].shape[3], where.place_1)[None, None, None]
            if not w.model.ternary:
                return w.out(self._absorbed(w, q, state["latent"], mask, scale))
            latent = state["latent"][:, :, 0]
        k, v = self._keys_and_values(w, latent)
        q, k, v = (y.flatten(0, 1) for y in (q, k, F.pad(v, (0, k.shape[-1] - v.shape[-1]))))
        if isinstance(where, Next):
            mixed = F.scaled_dot_product_attention(q, k, v, mask, scale=scale)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=w.model.causal, scale=scale)
        return w.out(mixed[..., : w.model.head_width].transpose(1, 2).reshape(x.shape))

    def _absorbed(self, w: Weights, q_MBH1k: Tensor, kept_MB1Lc: Tensor, mask: Tensor, scale: float) -> Tensor:
        """The same for one token, (M, B, 1, d): q W_up^T meets what is kept, which all heads share."""
        import torch
        import torch.nn.functional as F

        width = w.model.head_width
        keys, values = w.up.weight.unflatten(-1, (2, w.model.heads, width)).permute(2, 0, 3, 1, 4)  # (M, H, c, k) each
        content, turned = q_MBH1k.split((width, q_MBH1k.shape[-1] - width), -1)
        q = torch.cat((content @ keys.mT[:, None], turned), -1).transpose(2, 3)  # (M, B, 1, H, c + r)
        kept = kept_MB1Lc.flatten(0, 1)
        mixed = F.scaled_dot_product_attention(q.flatten(0, 1), kept, kept[..., : keys.shape[2]], mask, scale=scale)
        mixed = mixed.unflatten(0, q.shape[:2]).transpose(2, 3) @ values[:, None]  # (M, B, H, 1, k)
        return mixed.transpose(2, 3).flatten(-2)

    @property
    def shows_attention(self) -> bool:
        return True

    def attention(self, w: Weights, x: Tensor, where: Whole) -> Tensor:
        import torch

        from physlm.models.parts.distances import future
        from physlm.models.parts.recurrent import widened

        q, latent = self._project(w, x, None, where)
        k, _ = self._keys_and_values(w, latent)
        scores = widened(q @ k.mT) * q.shape[-1] ** -0.5
        if w.model.causal:
            scores = scores.masked_fill(future(x.shape[2], x.device), -torch.inf)
        return scores.softmax(-1)

    def _project(self, w: Weights, x: Tensor, state: State | None, where: Where) -> tuple[Tensor, Tensor]:
        """q with its turned channels, (M, B, H, T, k + r), and what is kept, (M, B, T, latent + r)."""
        import torch

        from physlm.models.module import per_member
        from physlm.models.parts.distances import turn
        from physlm.models.parts.recurrent import NORM_EPS, widened

        r, latent = self.turned(w.model), channels(self.latent, w.model)
        mixed = w.mix_local(w.inputs(x), state, where)
        q, c, key = mixed.split((mixed.shape[-1] - latent - r, latent, r), -1)
        q = q.unflatten(-1, (w.model.heads, -1)).transpose(2, 3)
        wide = widened(c)
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + NORM_EPS)
        kept = (wide * scale * per_member(w.gain)).to(x.dtype)
        if not r:
            return q, kept
        cos, sin = where.shared
        if isinstance(where, Next):
            cos, sin = (y.index_select(0, where.place_1) for y in (cos, sin))
        content, turned = q.split((w.model.head_width, r), -1)
        return torch.cat((content, turn(turned, cos, sin)), -1), torch.cat((kept, turn(key, cos, sin)), -1)

    def _keys_and_values(self, w: Weights, latent_MBTc: Tensor) -> tuple[Tensor, Tensor]:
        """(M, B, H, T, k + r) and (M, B, H, T, k), of what is kept."""
        import torch

        size = channels(self.latent, w.model)
        both = w.up(latent_MBTc[..., :size]).unflatten(-1, (2, w.model.heads, -1))
        k, v = both.permute(3, 0, 1, 4, 2, 5)
        key = latent_MBTc[:, :, None, :, size:].expand(-1, -1, w.model.heads, -1, -1)
        return torch.cat((k, key), -1), v
