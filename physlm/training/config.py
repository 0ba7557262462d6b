"""Settings of training, and the whole description of one run; free of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.tasks.config import TaskConfig

# Members of one population share every setting but these.
MEMBER_FIELDS = ("task.seed", "train.learning_rate", "train.weight_decay", "train.seed")


@dataclass(frozen=True)
class TrainConfig:
    """AdamW with linear warm-up and cosine decay to ``final_fraction`` of the peak learning rate.

    Attributes:
        exposures: how often each person (or sample) is seen; steps = exposures * N / entries per step, rounded up.
        batch_rows: rows of ``task.row_tokens`` tokens a step.
        warmup_steps: at most a tenth of all steps is used.
        betas, eps: AdamW's; (0.9, 0.98) and 1e-6 as in arXiv 2309.14316.
        precision: ``bf16`` computes in bfloat16 with float32 master weights; ``float32`` throughout.
        seed: initial weights and the order of the data.
    """

    exposures: int = 100
    batch_rows: int = 96
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 1000
    final_fraction: float = 0.1
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    precision: Literal["bf16", "float32"] = "bf16"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("exposures", "batch_rows"):
            if getattr(self, name) < 1:
                raise UserError(f"train.{name}: got {getattr(self, name)}, expected at least 1")
        for name, low, high in (("learning_rate", 0.0, math.inf), ("weight_decay", 0.0, math.inf),
                                ("final_fraction", 0.0, 1.0), ("eps", 0.0, math.inf)):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"train.{name}: got {getattr(self, name)}, expected between {low} and {high}")
        if self.warmup_steps < 0:
            raise UserError(f"train.warmup_steps: got {self.warmup_steps}, expected at least 0")
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise UserError(f"train.betas: got {list(self.betas)}, expected two numbers in [0, 1)")


@dataclass(frozen=True)
class RunSpec:
    """One run: one task, one model, one training.  Its content hash names its folder."""

    task: TaskConfig
    model: ModelConfig
    train: TrainConfig

    @property
    def steps(self) -> int:
        """Optimiser steps: ceil(exposures * N / (batch_rows * entries_per_row))."""
        return math.ceil(self.train.exposures * self.task.people / self.entries_per_step)

    @property
    def entries_per_step(self) -> int:
        """Biographies in one step."""
        return self.train.batch_rows * self.task.entries_per_row

    @property
    def tokens(self) -> int:
        """Token positions trained on, padding included."""
        return self.steps * self.train.batch_rows * self.task.row_tokens

    @property
    def slug(self) -> str:
        """A readable name: task, N, model, exposures, learning rate."""
        return (
            f"{self.task.kind}-{self.task.people}-{self.model.label}-{self.train.exposures}x"
            f"-lr{self.train.learning_rate:g}-s{self.train.seed}"
        )
