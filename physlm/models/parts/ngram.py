"""A memory of n-grams: rows of tables that the last tokens are hashed to, beside an MLP (Engram, arXiv 2601.07372)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from physlm.errors import UserError
from physlm.models.parts.mlp import Plain
from physlm.models.parts.part import MLP, Beside, Kept, Next, Where
from physlm.models.parts.weight import LOOKED_UP, MATRIX, Normal, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State

MOST = 8  # n, and hashes
# [hash][how many tokens back]: odd, so that a product is a permutation of 64 bits
MULTIPLIERS = tuple(tuple(int.from_bytes(hashlib.sha256(f"{h} {back}".encode()).digest()[:8]) >> 2 | 1
                          for back in range(MOST)) for h in range(MOST))
_MLP = Plain()


@dataclass(frozen=True)
class NGram(MLP):
    """y_t = MLP(x_t) + sigmoid(rms(x_t) . rms(e_t W_key) / sqrt(d)) e_t W_value with rms(x) = x / sqrt(mean x^2) and
    e_t the rows, side by side, that the n tokens up to t have in tables, n = 2 .. ``longest``.

        row of table (n, h) = XOR over i < n of (token_(t-i) + 1) m_hi, modulo the rows of the table

    where 0 stands for what is before the row.  Tables have at least ``rows`` rows, all of them different primes, as
    remainders of a power of two would leave whole bits out.  All layers hash alike, with tables of the same sizes, so
    that n-grams that share a row do so in each of them; the paper uses no prime twice over layers.

    Two controls: one row, which has all but the memory; and rows by ``places``, which are as many, and looked up as
    often, and know nothing of tokens.

    The released code has besides a convolution over what is read, which adds little in its own ablation.  State: the
    last ``longest`` - 1 tokens.

    Attributes:
        mlp: beside the memory; any without losses.
        rows: of each table, at least; 1: one row.
        longest: n; 1: tables of single tokens.
        hashes: tables for each n.
        channels: of a row.
        hashed: rows are those of ``tokens``, or of their ``places``.
    """

    kind: ClassVar[str] = "ngram"
    reads_beside: ClassVar[bool] = False  # type: ignore[misc]
    mlp: MLP = _MLP
    rows: int = 4096
    longest: int = 3
    hashes: int = 2
    channels: int = 16
    hashed: Literal["tokens", "places"] = "tokens"

    def __post_init__(self) -> None:
        for name, most in (("rows", 1 << 20), ("longest", MOST), ("hashes", MOST), ("channels", 1 << 12)):
            if not 1 <= getattr(self, name) <= most:
                raise UserError(f"model.mlp.{name}: got {getattr(self, name)}, expected 1 to {most}")

    def check(self, model: ModelConfig) -> None:
        if self.mlp.losses or self.mlp.empty or self.mlp.reads_ids:
            raise UserError(f"model.mlp.mlp: got {self.mlp.kind}, expected an MLP without losses or a memory "
                            "of its own")
        self.mlp.check(model)

    @property
    def reads_ids(self) -> bool:  # type: ignore[override]
        """But for the control."""
        return self.hashed == "tokens"

    @property
    def most_tokens(self) -> int:
        """The state holds tokens from 1 on in float32, which is exact up to 2^24."""
        return (1 << 24) - 1 if self.reads_ids else super().most_tokens

    @property
    def orders(self) -> tuple[int, ...]:
        """n of each table."""
        return tuple(n for n in range(min(2, self.longest), self.longest + 1) for _ in range(self.hashes))

    def sizes(self) -> tuple[int, ...]:
        """Rows of each table."""
        return _sizes(self.rows, len(self.orders))

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        sizes, d = self.sizes(), model.width
        read = len(sizes) * self.channels
        return (*self.mlp.weights(model),
                Weight("table", (sum(sizes), self.channels), Normal(), LOOKED_UP, share=len(sizes) / sum(sizes)),
                Weight("key", (read, d), Normal(), MATRIX), Weight("value", (read, d), Normal(small=True), MATRIX))

    def local_width(self, model: ModelConfig) -> int:
        return self.mlp.local_width(model)

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        return (Kept("tokens", (self.longest - 1,), float32=True),) if self.longest > 1 else ()

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        return self.mlp.flops(model, row_tokens)

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        """Rows, key and value."""
        return self.mlp.kept_numbers(model, row_tokens) + len(self.orders) * self.channels + 6 * model.width

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        import torch.nn.functional as F

        from physlm.models.cross_entropy import embedding
        from physlm.models.parts.recurrent import widened

        rows = embedding(self.rows_of(x, state, where), w.table).flatten(-2)
        normed = (F.rms_norm(widened(y), y.shape[-1:], eps=1e-6) for y in (x, w.key(rows)))
        query, key = normed
        gate = ((query * key).sum(-1, keepdim=True) * x.shape[-1] ** -0.5).sigmoid()
        y = self.mlp.read(w, x, state, where)
        return y + (gate * w.value(rows)).to(y.dtype)

    def rows_of(self, x: Tensor, state: State | None, where: Where) -> Tensor:
        """Which row of ``table`` is read for each token and table, (M, B, T, tables)."""
        import torch

        assert not isinstance(where, Beside), "refused by reads_beside"
        here, back = self._tokens(x, where), self.longest - 1
        before = here.new_zeros(*here.shape[:2], back)
        if isinstance(where, Next) and state is not None and back:
            before = state["tokens"].long()
        tokens = torch.cat((before, here), -1)
        if state is not None and back:
            state["tokens"].copy_(tokens[..., -back:])
        count = here.shape[-1]
        found, first = [], 0
        for number, (n, size) in enumerate(zip(self.orders, self.sizes(), strict=True)):
            mixed = torch.zeros_like(here)
            for i in range(n):
                mixed = mixed ^ (tokens[..., back - i : back - i + count] * MULTIPLIERS[number % self.hashes][i])
            found.append(mixed % size + first)
            first += size
        return torch.stack(found, -1)

    def _tokens(self, x: Tensor, where: Where) -> Tensor:
        """What is hashed, from 1 on, (M, B, T) int64."""
        import torch

        assert not isinstance(where, Beside)
        if self.hashed == "tokens":
            assert where.ids_MBT is not None
            return where.ids_MBT.long() + 1
        place = where.place_1 if isinstance(where, Next) else torch.arange(x.shape[2], device=x.device)
        return (place + 1).expand(*x.shape[:2], -1)


def _sizes(rows: int, count: int) -> tuple[int, ...]:
    """The first ``count`` primes from ``rows`` on, or ones."""
    if rows == 1:
        return (1,) * count
    found: list[int] = []
    candidate = rows
    while len(found) < count:
        if all(candidate % divisor for divisor in range(2, int(candidate**0.5) + 1)):
            found.append(candidate)
        candidate += 1
    return tuple(found)
