"""2-simplicial attention: each query weighs pairs of tokens (arXiv 1909.00668, 2507.02754)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.errors import UserError
from physlm.models.parts.part import Beside, Kept, Mixer, Next, Where
from physlm.models.parts.weight import MATRIX, Normal, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State

_MOST_PAIRS = 1 << 14


@dataclass(frozen=True)
class Simplicial(Mixer):
    """o_i = Sum over pairs (j, k) of softmax_jk(Sum_l q_il k_jl k'_kl / sqrt(k)) v_j * v'_k in each head: attention to
    two tokens at once.

    The softmax is over all pairs of the last ``window`` tokens j and the last ``second`` tokens k, the token itself
    among both.  The product of three is not invariant under rotation, so that there are no positions but those windows.
    With k' = v' = 1 it is attention within ``window``.  q, k, v, k' and v' are one matrix, on whose outputs local
    mixing acts.

    State: the last ``window`` k and v and the last ``second`` k' and v'.

    Attributes:
        window, second: w1 and w2, published 512 and 32; time and memory of training grow with their product.
    """

    kind: ClassVar[str] = "simplicial"
    reads_beside: ClassVar[bool] = False  # type: ignore[misc]
    window: int = 16
    second: int = 4

    def __post_init__(self) -> None:
        for name in ("window", "second"):
            if getattr(self, name) < 1:
                raise UserError(f"model.mixer.{name}: got {getattr(self, name)}, expected at least 1 token")
        if self.window * self.second > _MOST_PAIRS:
            raise UserError(f"model.mixer.window, model.mixer.second: got {self.window} and {self.second}, expected at "
                            f"most {_MOST_PAIRS} pairs of tokens")

    def check(self, model: ModelConfig) -> None:
        if not model.causal:
            raise UserError("model.causal: got false with the mixer simplicial, which sees earlier tokens alone; "
                            "expected true")

    @property
    def position(self) -> str:
        return f"window{self.window}x{self.second}"

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        d = model.width
        return (Weight("qkv", (d, 5 * d), Normal(), MATRIX, low_rank=(0, 2), blocks=5),
                Weight("out", (d, d), Normal(small=True), MATRIX))

    def local_width(self, model: ModelConfig) -> int:
        return 5 * model.width

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        sizes = {"keys": self.window, "values": self.window, "second_keys": self.second, "second_values": self.second}
        return tuple(Kept(name, (model.heads, size, model.head_width)) for name, size in sizes.items())

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        """4 d for each pair, 2 d for the score and 2 d for the mixture, and 2 d for each k, twice."""
        longest = min(row_tokens, max(self.window, self.second))
        rest = row_tokens - longest  # tokens that have both windows full
        seconds = sum(min(t, self.second) for t in range(1, longest + 1)) + rest * self.second
        pairs = sum(min(t, self.window) * min(t, self.second) for t in range(1, longest + 1))
        pairs += rest * self.window * self.second
        return 4.0 * model.width * (pairs + seconds) / max(row_tokens, 1)

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        """Scores and weights of all pairs, and what each token sees, written out."""
        return 3 * model.heads * self.window * self.second + 2 * model.width * (self.window + 2 * self.second)

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        import torch
        import torch.nn.functional as F

        from physlm.models.parts.recurrent import widened

        assert not isinstance(where, Beside), "refused by reads_beside"
        q, *seen = w.mix_local(w.qkv(x), state, where).unflatten(-1, (5, w.model.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        windows = []
        for name, new in zip(("keys", "values", "second_keys", "second_values"), seen, strict=True):
            size = self.window if name in ("keys", "values") else self.second
            if isinstance(where, Next):
                assert state is not None
                last = torch.cat((state[name][:, :, :, 1:], new), 3)
                windows.append(last[:, :, :, None])
            else:
                padded = F.pad(new, (0, 0, size - 1, 0))
                last = F.pad(new, (0, 0, size, 0))[:, :, :, -size:]
                windows.append(padded.unfold(3, size, 1).mT)  # (M, B, H, T, size, k)
            if state is not None:
                state[name].copy_(last)
        keys, values, second_keys, second_values = windows
        scores = widened((q[..., None, :] * second_keys) @ keys.mT) * q.shape[-1] ** -0.5  # (M, B, H, T, w2, w1)
        place = where.place_1 if isinstance(where, Next) else torch.arange(x.shape[2], device=x.device)
        first, second = (self._reached(place, size) for size in (self.window, self.second))
        scores = scores.masked_fill(~(first[:, None] & second[..., None]), -torch.inf)
        weights = scores.flatten(-2).softmax(-1).view_as(scores).to(values.dtype)
        mixed = ((weights @ values) * second_values).sum(-2)
        return w.out(mixed.transpose(2, 3).reshape(x.shape))

    def _reached(self, place_T: Tensor, size: int) -> Tensor:
        """Which of the last ``size`` tokens, the oldest first, a row has at each place, (T, size)."""
        import torch

        return torch.arange(size - 1, -1, -1, device=place_T.device) <= place_T[:, None]
