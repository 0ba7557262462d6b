"""Settings of the decoder; free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from physlm.errors import UserError


@dataclass(frozen=True)
class ModelConfig:
    """A GPT of ``layers`` blocks, ``width`` = d, ``heads`` heads of d / heads dimensions.

    ``GPT2-l-h`` of arXiv 2404.05405 is ``ModelConfig(layers=l, heads=h, width=64 * h)``.

    Attributes:
        vocab_size: rows of the tied embedding; 0 takes the task's vocabulary exactly, so that every row is used.
        mlp_ratio: hidden units of the MLP per dimension; 0 leaves the MLP out (GPT2_0).
    """

    layers: int = 2
    heads: int = 1
    width: int = 64
    mlp_ratio: int = 4
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    position: Literal["rope", "none"] = "rope"
    rope_fraction: float = 1.0
    rope_base: float = 10_000.0
    vocab_size: int = 0
    init_std: float = 0.02

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "width"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name}: got {getattr(self, name)}, expected at least 1")
        if self.width % self.heads:
            raise UserError(f"model.width: got {self.width} for {self.heads} heads, expected a multiple of the heads")
        if self.mlp_ratio < 0 or self.vocab_size < 0 or self.init_std <= 0:
            raise UserError(
                f"model: got mlp_ratio {self.mlp_ratio}, vocab_size {self.vocab_size}, init_std {self.init_std}; "
                "expected mlp_ratio >= 0, vocab_size >= 0, init_std > 0"
            )
        if self.rope_base <= 0:
            raise UserError(f"model.rope_base: got {self.rope_base}, expected a number above 0")
        if not 0.0 < self.rope_fraction <= 1.0 or self.rope_dims % 2 or self.rope_dims == 0:
            raise UserError(
                f"model.rope_fraction: got {self.rope_fraction} of {self.head_width} dimensions a head, "
                "expected an even number of rotated dimensions, at least 2"
            )

    @property
    def head_width(self) -> int:
        """Dimensions of one head, d / heads."""
        return self.width // self.heads

    @property
    def rope_dims(self) -> int:
        """Dimensions of a head that rotary embeddings turn."""
        return int(self.head_width * self.rope_fraction)

    def embedding_rows(self, vocabulary: int) -> int:
        """Rows of the embedding for a task of ``vocabulary`` tokens.

        Raises:
            UserError: fewer rows than tokens.
        """
        rows = self.vocab_size or vocabulary
        if rows < vocabulary:
            raise UserError(f"model.vocab_size: got {rows}, expected at least {vocabulary}, the task's vocabulary")
        return rows

    @property
    def label(self) -> str:
        """``l-h`` for the paper's 64-wide heads, else ``l-h×w`` with w the head's width."""
        plain = f"{self.layers}-{self.heads}"
        return plain if self.head_width == 64 else f"{plain}x{self.head_width}"
