"""One weight of a part: its shape, how its first values are drawn, and its role.  Free of torch.

    Weight("out", (d, d), Normal(small=True), MATRIX)

The role, not the name, says what decays, what stays in float32, what is quantised, and what low-rank updates may move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig


class Draw(Protocol):
    """How first values are drawn."""

    def draw(self, key: int, count: int, model: ModelConfig) -> Tensor:
        """``count`` numbers, float32 or float64, a pure function of the key."""


@dataclass(frozen=True)
class Normal:
    """N(0, std^2), std = ``init_std`` of the model; ``small``: over sqrt(2 depth), as GPT-2 has it for the two
    projections of each of its layers into the residual stream; those that are looped count at each pass."""

    small: bool = False

    def draw(self, key: int, count: int, model: ModelConfig) -> Tensor:
        from physlm import rng

        std = model.init_std / math.sqrt(2 * model.depth) if self.small else model.init_std
        return std * rng.normal(key, count)


@dataclass(frozen=True)
class Uniform:
    """Uniform between two bounds."""

    low: float
    high: float

    def draw(self, key: int, count: int, model: ModelConfig) -> Tensor:
        import torch

        from physlm import rng

        return self.low + (self.high - self.low) * rng.uniform(key, torch.arange(count))


@dataclass(frozen=True)
class Constant:
    """The same number everywhere."""

    value: float

    def draw(self, key: int, count: int, model: ModelConfig) -> Tensor:
        import torch

        return torch.full((count,), self.value)


@dataclass(frozen=True)
class Given:
    """These numbers."""

    values: tuple[float, ...]

    def draw(self, key: int, count: int, model: ModelConfig) -> Tensor:
        import torch

        assert len(self.values) == count
        return torch.tensor(self.values)


@dataclass(frozen=True)
class Role:
    """What may be done with a weight.

    Attributes:
        name: for readers.
        decays: AdamW's weight decay moves it.
        float32: it stays in float32 where the model computes in bfloat16.
        multiplied: each of its numbers is multiplied once a token, 6 FLOPs forward and backward.
        matrix: it is the (inputs, outputs) of a linear map, which can be called, ``w.name(x)``, and quantised; or
            (experts, inputs, outputs), one for each.
        gate: of a matrix, its outputs are the logits of gates: Muon leaves it to AdamW.
        ternary: of a matrix, it is read as ``primitives.Ternary`` has it; what ``ModelConfig.ternary`` makes of one.
        apart: no activation has a gradient in it: an auxiliary loss alone trains it.
    """

    name: str
    decays: bool = True
    float32: bool = False
    multiplied: bool = False
    matrix: bool = False
    gate: bool = False
    ternary: bool = False
    apart: bool = False


MATRIX = Role("matrix", multiplied=True, matrix=True)
GATE_MATRIX = Role("matrix of gates", multiplied=True, matrix=True, gate=True)
STEP_MATRIX = Role("matrix of a table", matrix=True)  # applied once a step to a table, not to tokens
TABLE = Role("table")
# what tokens are hashed to: decay would shrink the rows that a batch does not read
LOOKED_UP = Role("table of tokens", decays=False)
EMBEDDING = Role("embedding", multiplied=True)  # looked up, and multiplied at the output
OUTPUT = Role("output", multiplied=True)  # of a model whose embedding is looked up alone, which is a TABLE
FILTER = Role("filter", float32=True, multiplied=True)
GAIN = Role("gain", decays=False, float32=True)
SINK = Role("sink", decays=False, float32=True)  # a logit that joins a softmax
TEMPERATURE = Role("temperature", decays=False, float32=True)  # a learnt scale of attention's logits


@dataclass(frozen=True)
class Weight:
    """One weight of a part, of one member.

    Attributes:
        name: within the part; ``w.name`` gives it, (M, *shape), or the linear map of a matrix.
        init: its first values.
        share: of its numbers that one token uses; below 1 for experts.
        trained: false holds it fixed at its first values; it is saved, but is no parameter.
        running: of what is not trained: the part itself moves it while the model trains (``w.training``); it is in no
            count.
        low_rank: which of ``blocks`` equal blocks of a matrix's columns low-rank updates may move.
        parts: columns of each of the matrices that are fused in this one, side by side, in order; a width of 0 is one
            that is not there.  Empty: ``blocks`` of one width.
    """

    name: str
    shape: tuple[int, ...]
    init: Draw
    role: Role
    share: float = 1.0
    trained: bool = True
    running: bool = False
    low_rank: tuple[int, ...] = ()
    blocks: int = 1
    parts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert not self.parts or sum(self.parts) == self.shape[-1], "parts are all columns"
        assert self.trained or self.role.float32, "no optimiser keeps a float32 copy of what is not trained"
        assert not (self.trained and self.running), "the optimiser moves what is trained"

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def fused(self) -> tuple[int, ...]:
        """Columns of each of the matrices that are fused in this one."""
        return tuple(filter(None, self.parts)) or (self.shape[-1] // self.blocks,) * self.blocks

    @property
    def path(self) -> str:
        """Its name among the tensors of the part."""
        return f"{self.name}.weight" if self.role.matrix else self.name
