"""How the weights of a trained model are quantised, and how many bits they then take to store.  Free of torch.

    what                                     stored as
    matrices (roles with ``matrix``)         ``bits`` each, and for each output row or group of it a scale of 16 bits,
                                             and with the asymmetric grid a zero point of ``bits``
    the embedding, with ``embedding``        the same; a row of it is a token, as in the output of a
                                             model that is not tied
    what training holds in float32 (gains of norms, local filters)    32 bits
    everything else, and all else at 16 bits                          bfloat16, 16 bits
    ternary matrices (``ModelConfig.ternary``), as they were trained  log2(3) = 1.58 bits each, and 32 for gamma
    what is fixed at its random first values                          nothing: a seed gives it again

Embedding rows that no token of the task uses are not counted, as they are no parameters either (arXiv 2404.05405).
Indices are counted as packed without gaps: 32 of 3 bits are 96 bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.listing import TOKEN_TABLES, model_weights
from physlm.models.parts.weight import Weight

SCALE_BITS = 16
GRID_BITS = range(2, 9)  # of indices on a grid
CAST = 16  # bits of bfloat16, to which weights are cast without a grid
METHODS = ("nearest", "gptq")
GRIDS = ("symmetric", "asymmetric")
ORDERS = ("given", "activation")
_MOST_GROUP = 1 << 20


@dataclass(frozen=True)
class Quantisation:
    """One setting.

    A symmetric grid of b bits has the 2^b levels s (q - 2^(b-1)), q = 0 .. 2^b - 1, with s = 2 max|w| / (2^b - 1): the
    range [-max|w|, max|w|] and every level is used.  An asymmetric one has s (q - z), with s = (max w - min w) / (2^b -
    1), the range stretched to hold 0, and z = round(-min w / s).  Both are those of AutoGPTQ, with which arXiv
    2404.05405 quantised; its default is symmetric, that of arXiv 2210.17323 asymmetric.  Scales are rounded up to
    bfloat16, so that no weight lies beyond the grid: none is moved by more than s / 2.

    Attributes:
        bits: 2 to 8 on a grid, or 16 for a cast to bfloat16, which the other settings do not change.
        method: ``nearest``, every weight to its nearest level; ``gptq`` (arXiv 2210.17323).
        embedding: whether the embedding, and the output of a model that is not tied, are quantised; the published
            models' were not.
        group: inputs that share a scale within an output row; 0 for whole rows, as in arXiv 2210.17323 and by default
            in AutoGPTQ.
        grid: see above.
        order: of the inputs in ``gptq``: as ``given`` (arXiv 2210.17323), or by falling mean square ``activation``,
            later added to its code; for whole rows alone.
    """

    bits: int = 8
    method: Literal["nearest", "gptq"] = "gptq"
    embedding: bool = False
    group: int = 0
    grid: Literal["symmetric", "asymmetric"] = "symmetric"
    order: Literal["given", "activation"] = "given"

    def __post_init__(self) -> None:
        if self.bits not in GRID_BITS and self.bits != CAST:
            raise UserError(f"quantisation: bits: got {self.bits}, expected {GRID_BITS[0]} to {GRID_BITS[-1]}, or "
                            f"{CAST}")
        for name, allowed in (("method", METHODS), ("grid", GRIDS), ("order", ORDERS)):
            if getattr(self, name) not in allowed:
                raise UserError(f"quantisation: {name}: got {getattr(self, name)!r}, expected {' or '.join(allowed)}")
        if not 0 <= self.group <= _MOST_GROUP:
            raise UserError(f"quantisation: group: got {self.group}, expected 0 for whole rows, or at most "
                            f"{_MOST_GROUP}")
        if self.order == "activation" and self.group:
            raise UserError(f"quantisation: order: got 'activation' with groups of {self.group}, expected group 0: "
                            "which inputs share a scale would depend on the order")

    def touches(self, name: str, weight: Weight) -> bool:
        """Whether the weight of this name is put on a grid; what is ternary stays so."""
        matrix = weight.role.matrix and not weight.role.ternary
        return self.bits != CAST and (matrix or (self.embedding and name in TOKEN_TABLES))


def check_model(config: ModelConfig, vocabulary: int) -> None:
    """Refuse a model with matrices that are no (inputs, outputs), which nothing here could quantise.

    Raises:
        UserError: see above; the first of them is named.
    """
    for name, weight in model_weights(config, vocabulary).items():
        if (weight.role.matrix or weight.role.multiplied) and len(weight.shape) > 2:
            raise UserError(f"quantisation: got {name} of the shape {weight.shape}, expected matrices of two axes")


def stored_bits(config: ModelConfig, vocabulary: int, setting: Quantisation | None) -> int:
    """Bits that one member's weights take, see the top of this page; None: in float32, as they were trained."""
    total = 0
    for name, weight in model_weights(config, vocabulary).items():
        if not weight.trained:
            continue
        numbers, outputs, inputs = weight.numbers, weight.shape[-1], weight.shape[0]
        if name in TOKEN_TABLES:
            outputs, inputs = config.used_rows(vocabulary), config.width
            numbers = outputs * inputs
        if weight.role.ternary:
            total += math.ceil(math.log2(3) * numbers) + 32
        elif setting is None or weight.role.float32:
            total += 32 * numbers
        elif not setting.touches(name, weight):
            total += CAST * numbers
        else:
            groups = outputs * math.ceil(inputs / (setting.group or inputs))
            zero = setting.bits if setting.grid == "asymmetric" else 0
            total += setting.bits * numbers + (SCALE_BITS + zero) * groups
    return total
