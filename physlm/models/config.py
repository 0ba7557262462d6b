"""Settings of the decoder; free of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from physlm.errors import UserError

# far beyond every model that fits into a machine: what is larger is a slip, and would take minutes to be counted
_MOST = {"layers": 1 << 12, "heads": 1 << 12, "width": 1 << 17, "max_positions": 1 << 20, "mlp_ratio": 1 << 12,
         "vocab_size": 1 << 26}


@dataclass(frozen=True)
class ModelConfig:
    """A GPT of ``layers`` blocks, ``width`` = d, ``heads`` heads of d / heads dimensions.

    ``GPT2-l-h`` of arXiv 2404.05405 is ``ModelConfig(layers=l, heads=h, width=64 * h)``.

    Attributes:
        vocab_size: rows of the tied embedding; 0 takes the task's vocabulary exactly, so that every row is used.
        mlp_ratio: hidden units of the MLP per dimension; 0 leaves the MLP out (GPT2_0).
        position: how attention knows positions.  ``rope`` turns queries and keys (GPT_rot), ``none`` nothing,
            ``absolute`` adds a learnt vector to each position's embedding (GPT), ``relative`` adds learnt terms of
            content and distance to the scores (GPT_rel), ``position_only`` has scores that are a learnt function of
            head and distance alone (GPT_pos), ``uniform`` averages over the last 2^h - 1 tokens in head h = 1, 2, ...
            (GPT_uni).  The names in brackets are those of arXiv 2305.13673.
        causal: false makes a bidirectional encoder; its embedding has one row more, the mask token.
        max_positions: positions of the table of ``absolute``; distances of the tables of ``relative`` and
            ``position_only``, where farther ones count as the farthest.
    """

    layers: int = 2
    heads: int = 1
    width: int = 64
    mlp_ratio: int = 4
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    position: Literal["rope", "none", "absolute", "relative", "position_only", "uniform"] = "rope"
    rope_fraction: float = 1.0
    rope_base: float = 10_000.0
    vocab_size: int = 0
    init_std: float = 0.02
    causal: bool = True
    max_positions: int = 512

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "width", "max_positions"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name}: got {getattr(self, name)}, expected at least 1")
        for name, most in _MOST.items():
            if getattr(self, name) > most:
                raise UserError(f"model.{name}: got {getattr(self, name)}, expected at most {most}")
        if self.width % self.heads:
            raise UserError(f"model.width: got {self.width} for {self.heads} heads, expected a multiple of the heads")
        if self.mlp_ratio < 0 or self.vocab_size < 0 or not 0 < self.init_std < math.inf:
            raise UserError(
                f"model: got mlp_ratio {self.mlp_ratio}, vocab_size {self.vocab_size}, init_std {self.init_std}; "
                "expected mlp_ratio >= 0, vocab_size >= 0, init_std > 0"
            )
        if not 0 < self.rope_base < math.inf:
            raise UserError(f"model.rope_base: got {self.rope_base}, expected a number above 0")
        if not 0.0 < self.rope_fraction <= 1.0 or self.rope_dims % 2 or self.rope_dims == 0:
            raise UserError(
                f"model.rope_fraction: got {self.rope_fraction} of {self.head_width} dimensions a head, "
                "expected an even number of rotated dimensions, at least 2"
            )

        if self.position == "uniform" and not self.causal:
            raise UserError("model.causal: got false with model.position uniform, which averages over earlier tokens; "
                            "expected true")

    @property
    def head_width(self) -> int:
        """Dimensions of one head, d / heads."""
        return self.width // self.heads

    @property
    def rope_dims(self) -> int:
        """Dimensions of a head that rotary embeddings turn."""
        return int(self.head_width * self.rope_fraction)

    @property
    def distances(self) -> int:
        """Rows of a table of distances i - j, of query position i and key position j: 0 .. max_positions - 1, and
        -max_positions .. max_positions - 1 where the future is seen."""
        return self.max_positions if self.causal else 2 * self.max_positions

    def used_rows(self, vocabulary: int) -> int:
        """Embedding rows that occur in the task: its tokens, and an encoder's mask token with id ``vocabulary``."""
        return vocabulary if self.causal else vocabulary + 1

    def embedding_rows(self, vocabulary: int) -> int:
        """Rows of the embedding for a task of ``vocabulary`` tokens.

        Raises:
            UserError: fewer rows than tokens.
        """
        used = self.used_rows(vocabulary)
        rows = self.vocab_size or used
        if rows < used:
            mask = "" if self.causal else " and the mask token"
            raise UserError(f"model.vocab_size: got {rows}, expected at least {used}, the task's vocabulary{mask}")
        return rows

    @property
    def label(self) -> str:
        """``l-h`` for the paper's 64-wide heads, else ``l-hxw`` with w the head's width; then what is not a rotary or
        position-free decoder, as ``6-4-uniform`` or ``6-4-encoder``."""
        parts = [f"{self.layers}-{self.heads}" + ("" if self.head_width == 64 else f"x{self.head_width}")]
        if self.position not in ("rope", "none"):
            parts.append(self.position)
        if not self.causal:
            parts.append("encoder")
        return "-".join(parts)
