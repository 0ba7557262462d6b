"""How P- and Q-probes are built and trained, and the published two.  Source: arXiv 2309.14316, section 5."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from physlm.errors import UserError


@dataclass(frozen=True)
class KnowledgeConfig:
    """How the probes are built and trained; the defaults are the published P-probe.

    Attributes:
        rank: r of the embedding update; 0 leaves it out.
        own: whether the tokens that are read have a row of the update of their own, whatever tokens they are: "no",
            "too", or "alone", which moves the token that is read and no other, by one vector for each target and place
            that begins at zero, whatever the rank.
        norm: over the dimensions of each activation, or of each dimension over the batch.
        steps: batches; the rate falls linearly to 0.
        weight_decay: of the maps and the update, not of the norms and biases.
        update_speed: the rate of the update is so many times that of the rest, its weight decay so many times smaller,
            so that both forget as much.
        epsilon: of AdamW.
        start: of the map: "zero", or "output", the model's own map to the token with which the answers of each class
            begin (``Target.tokens``), to which the trained map is added.
    """

    rank: int = 2
    own: Literal["no", "too", "alone"] = "no"
    norm: Literal["layer", "batch"] = "layer"
    steps: int = 30_000
    learning_rate: float = 1e-3
    weight_decay: float = 0.3
    epsilon: float = 1e-6
    start: Literal["zero", "output"] = "zero"
    update_speed: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("rank", 0), ("steps", 1)):
            if getattr(self, name) < least:
                raise UserError(f"knowledge probe: {name}: got {getattr(self, name)}, expected at least {least}")
        positive = (self.learning_rate, self.epsilon, self.update_speed)
        if not all(0 < value < math.inf for value in positive) or not 0 <= self.weight_decay < math.inf:
            raise UserError(f"knowledge probe: got learning_rate {self.learning_rate}, weight_decay "
                            f"{self.weight_decay}, epsilon {self.epsilon}, update_speed {self.update_speed}; expected "
                            "> 0, >= 0, > 0, > 0")
        kinds = {"norm": ("layer", "batch"), "own": ("no", "too", "alone"), "start": ("zero", "output")}
        for name, allowed in kinds.items():
            if getattr(self, name) not in allowed:
                raise UserError(f"knowledge probe: {name}: got {getattr(self, name)!r}, "
                                f"expected {' or '.join(allowed)}")


P_PROBE = KnowledgeConfig()
Q_PROBE = KnowledgeConfig(rank=16, own="too", norm="batch")
