"""Native sparse attention: blocks in brief, the best of them in full, and the last tokens (arXiv 2502.11089)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.errors import UserError
from physlm.models.parts.part import Beside, Kept, Mixer, Next, Where
from physlm.models.parts.weight import GATE_MATRIX, MATRIX, Normal, Weight

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State


@dataclass(frozen=True)
class NSA(Mixer):
    """g_c A_c + g_s A_s + g_w A_w in each head, three attentions of one q, k and v, g = sigmoid(x W_gate):

        A_c  compressed   over the means of k and of v in each block of ``block`` tokens that is wholly past
        A_s  selected     over the tokens of ``select`` blocks: the query's own, and others of highest weight in A_c
        A_w  window       over the last ``window`` tokens

    Where no block is past, A_c is 0.  What is selected has no gradient: A_c alone trains the weights that select.  The
    published form compresses overlapping blocks by an MLP and has keys and values for each of the three; here they are
    shared, and blocks are means.  There the heads that share keys and values select the same blocks; here each head
    selects its own.  There the first block and the two last ones are always selected; here the query's own alone is.
    Time and memory are those of full attention: what is measured here is what such a model learns, not how fast it is.

    Attributes:
        block, select, window: see above, in tokens, blocks and tokens; published 64, 16 and 512 for rows of thousands.
        rope: q and k are turned, all dimensions.
        rope_base: of the angles.
    """

    kind: ClassVar[str] = "nsa"
    reads_beside: ClassVar[bool] = False  # type: ignore[misc]
    block: int = 4
    select: int = 4
    window: int = 8
    rope: bool = True
    rope_base: float = 10_000.0

    def __post_init__(self) -> None:
        for name, unit in (("block", "token"), ("select", "block"), ("window", "token")):
            if getattr(self, name) < 1:
                raise UserError(f"model.mixer.{name}: got {getattr(self, name)}, expected at least 1 {unit}")
        if not self.rope_base > 0:
            raise UserError(f"model.mixer.rope_base: got {self.rope_base}, expected a number above 0")

    def check(self, model: ModelConfig) -> None:
        if not model.causal:
            raise UserError("model.causal: got false with the mixer nsa, which sees earlier tokens alone; "
                            "expected true")
        if self.rope and model.head_width % 2:
            raise UserError(f"model.mixer.rope: got true with heads of {model.head_width} dimensions, expected an "
                            "even number")

    @property
    def position(self) -> str:
        return "rope" if self.rope else "none"

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        d = model.width
        return (Weight("qkv", (d, 3 * d), Normal(), MATRIX, low_rank=(0, 2), blocks=3),
                Weight("gate", (d, 3 * model.heads), Normal(), GATE_MATRIX),
                Weight("out", (d, d), Normal(small=True), MATRIX))

    def tables(self, model: ModelConfig, size: int, device: torch.device) -> tuple[Tensor, ...]:
        from physlm.models.parts.distances import angles

        return angles(model.head_width, self.rope_base, size, device) if self.rope else ()

    def shared(self, tables: tuple[Tensor, ...], weights: Sequence[Tensor], positions: int) -> tuple[Tensor, ...]:
        return tuple(table[:positions] for table in tables)

    def local_width(self, model: ModelConfig) -> int:
        return 3 * model.width

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        shape = (model.heads, positions, model.head_width)
        return Kept("keys", shape, axis=1), Kept("values", shape, axis=1)

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        """4 d for each block in brief, each token that is selected and each of the window, as a kernel would compute
        them; on average over the row."""
        half = row_tokens / 2
        reach = min(self.window, row_tokens)
        last = reach * (1 - reach / (2 * row_tokens)) if row_tokens else 0.0
        return 4.0 * model.width * (half / self.block + min(half, self.select * self.block) + last)

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        """Weights of all tokens that could be selected, and of blocks."""
        return model.heads * (row_tokens + 2 * (row_tokens // self.block + 1)) + 6 * model.width

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        import torch

        from physlm.models.parts.distances import keep, turn
        from physlm.models.parts.recurrent import widened

        assert not isinstance(where, Beside), "refused by reads_beside"
        qkv = w.mix_local(w.qkv(x), state, where).flatten(0, 1)
        q, k, v = qkv.unflatten(-1, (3, w.model.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.rope:
            cos, sin = where.shared
            if isinstance(where, Next):
                cos, sin = (table.index_select(0, where.place_1) for table in (cos, sin))
            q, k = turn(q, cos, sin), turn(k, cos, sin)
        place = where.place_1 if isinstance(where, Next) else torch.arange(x.shape[2], device=x.device)
        if state is not None:
            for name, new in (("keys", k), ("values", v)):
                keep(state[name], new.unflatten(0, x.shape[:2]), where.place_1 if isinstance(where, Next) else None)
        if isinstance(where, Next):
            assert state is not None
            k, v = state["keys"].flatten(0, 1), state["values"].flatten(0, 1)
        gates = widened(w.gate(x)).sigmoid().flatten(0, 1).unflatten(-1, (3, -1)).permute(2, 0, 3, 1)[..., None]
        parts = self.attentions(q, k, v, place)
        mixed = sum((gate * part for gate, part in zip(gates, parts, strict=True)), start=torch.zeros_like(parts[0]))
        return w.out(mixed.to(x.dtype).transpose(1, 2).reshape(x.shape))

    def attentions(self, q: Tensor, k: Tensor, v: Tensor, place_Q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A_c, A_s and A_w of queries (N, H, Q, k) at their places, of keys and values (N, H, L, k)."""
        import torch
        import torch.nn.functional as F

        positions = k.shape[2]
        at, place_Q1 = torch.arange(positions, device=q.device), place_Q[:, None]
        weights, chosen = self._blocks(q, k, place_Q1)
        means = F.pad(v, (0, 0, 0, -positions % self.block)).unflatten(2, (-1, self.block)).mean(3)
        seen = at <= place_Q1
        selected = chosen.repeat_interleave(self.block, -1)[..., :positions] & seen
        window = (seen & (place_Q1 - at < self.window))[None, None]
        return (weights.to(v.dtype) @ means, F.scaled_dot_product_attention(q, k, v, selected),
                F.scaled_dot_product_attention(q, k, v, window))

    def _blocks(self, q: Tensor, k: Tensor, place_Q1: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of A_c, and which blocks are selected, (N, H, Q, blocks)."""
        import torch
        import torch.nn.functional as F

        from physlm.models.parts.recurrent import widened

        means = F.pad(k, (0, 0, 0, -k.shape[2] % self.block)).unflatten(2, (-1, self.block)).mean(3)
        number = torch.arange(means.shape[2], device=q.device)
        past, own = (number + 1) * self.block <= place_Q1 + 1, number == place_Q1 // self.block
        scores = (widened(q) @ widened(means).mT) * q.shape[-1] ** -0.5
        weights = scores.masked_fill(~past, torch.finfo(scores.dtype).min).softmax(-1) * past
        others = weights.detach().masked_fill(~past | own, -1.0)
        order = others.argsort(dim=-1, descending=True, stable=True)[..., : self.select - 1]
        chosen = torch.zeros_like(others, dtype=torch.bool).scatter(-1, order, True)
        return weights, (chosen & (others >= 0)) | own
