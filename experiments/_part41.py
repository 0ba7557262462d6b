"""What the claims of Part 4.1 share: models by positions and Canon layers, and each task with its training, by tier.

The published setting (arXiv 2512.17351, section 4 and appendix A): Llama with gated MLPs, 8 or 12 layers of 512 or 768
dimensions, RMSNorm, heads of 64; the same seeds and data for all, the best of three or four rates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention
from physlm.models.parts.canon import Canon
from physlm.models.parts.gated import Gated
from physlm.models.parts.norms import RMSNorm
from physlm.models.parts.part import Local, Mixer
from physlm.tasks.config import TaskConfig
from physlm.tasks.playground.copying import CopyConfig
from physlm.tasks.playground.mano import ManoConfig
from physlm.training.config import RunSpec, TrainConfig

ROPES = (1.0, 0.0, 0.25)  # all, nothing and a quarter of each head rotary
LOCALS: tuple[tuple[Local, ...], ...] = ((), (Canon(),))
NAMES: dict[Any, str] = {
    "rope": "RoPE", "rope0.25": "a quarter RoPE", ("position", "none"): "no positions", ("local", "none"): "without Canon",
    ("local", "canon"): "with Canon",
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One task at one tier.

    Attributes:
        shape: layers, heads and width.
        seeds: of the rate of ``train``.
        rates: more rates, of the seed of ``train``.
    """

    task: TaskConfig
    shape: tuple[int, int, int]
    train: TrainConfig
    seeds: tuple[int, ...] = (1,)
    rates: tuple[float, ...] = ()

    def model(self, rope: float = 1.0, local: Sequence[Local] = (), mixer: Sequence[Mixer] = ()) -> ModelConfig:
        """A Llama of this shape; ``mixer`` in the place of attention with ``rope`` of each head rotary."""
        return ModelConfig(*self.shape, tuple(mixer) or (Attention(rope),), (Gated(),), RMSNorm(), tuple(local))

    @property
    def trains(self) -> list[TrainConfig]:
        """All seeds at the rate that was fixed before, and more rates with one seed."""
        return [*(replace(self.train, seed=seed) for seed in self.seeds),
                *(replace(self.train, learning_rate=rate) for rate in self.rates)]

    def runs(self, models: Iterable[ModelConfig]) -> list[RunSpec]:
        """Each model with each training."""
        return [RunSpec(self.task, model, train) for model in models for train in self.trains]

    def grid(self, ropes: Sequence[float] = ROPES, locals_: Sequence[Sequence[Local]] = LOCALS) -> list[RunSpec]:
        """The published comparison: positions, each without and with Canon layers."""
        return self.runs(self.model(rope, local) for rope in ropes for local in locals_)

    def changed(self, **settings: Any) -> Setting:
        """The same with other settings."""
        return dataclasses.replace(self, **settings)


# ---- Mental arithmetic

_MANO = TrainConfig(steps=20_000, batch_rows=64, learning_rate=5e-4, weight_decay=0.1, seed=1)
_SMALL = replace(_MANO, steps=4_000, batch_rows=16, learning_rate=1e-2, warmup_steps=100, precision="float32")
MANO = {
    "smoke": Setting(ManoConfig(2, 5, 32), (1, 1, 8), replace(_SMALL, steps=4, batch_rows=4)),
    "demo": Setting(ManoConfig(2, 3, 64), (1, 2, 64), _SMALL),
    "gpu": Setting(ManoConfig(10, 23, 512), (6, 8, 256), _MANO, (1, 2, 3), (2e-4, 1e-3)),
    "paper": Setting(ManoConfig(10, 23, 1024), (8, 8, 512), replace(_MANO, steps=80_000), (1, 2), (1e-4, 2e-4, 3e-4)),
}  # fmt: skip

# ---- Full copy: the published training is that of tier gpu

_COPY = TrainConfig(steps=50_000, batch_rows=32, learning_rate=2e-3, weight_decay=0.03, seed=1)
_COPY_SMALL = replace(_COPY, learning_rate=1e-2, warmup_steps=100, precision="float32")
COPY = {
    "smoke": Setting(CopyConfig(length=6, words=6, row_tokens=16), (1, 1, 8),
                     replace(_COPY_SMALL, steps=4, batch_rows=4), (1,), (2e-2,)),
    "demo": Setting(CopyConfig(length=64, words=64, row_tokens=132), (1, 1, 16),
                    replace(_COPY_SMALL, steps=600), (1,)),
    "gpu": Setting(CopyConfig(), (1, 1, 16), _COPY, (1, 2), (5e-4, 1e-3, 5e-3)),
    "paper": Setting(CopyConfig(), (1, 1, 16), _COPY, (1, 2), (5e-4, 1e-3, 5e-3)),
}  # fmt: skip

SMALL_TIERS = "Smoke and demo: small tasks and models, in float32."
