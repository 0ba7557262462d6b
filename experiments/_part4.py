"""What the claims on length share: tasks, shapes, training, and how far beyond its length is asked, by tier."""

from __future__ import annotations

from dataclasses import dataclass, replace

from physlm.lab.experiment import nearest_tier
from physlm.models.config import ModelConfig
from physlm.models.parts.canon import Canon
from physlm.models.parts.gated import Gated
from physlm.models.parts.norms import RMSNorm
from physlm.models.parts.part import Mixer
from physlm.tasks.config import TaskConfig
from physlm.tasks.playground.copying import CopyConfig
from physlm.tasks.playground.depo import DepoConfig
from physlm.tasks.playground.mqar import MqarConfig
from physlm.tasks.playground.needle import NeedleConfig
from physlm.training.config import RunSpec, TrainConfig

SMALL_TIERS = ("smoke", "demo")  # which have few ways to know positions


@dataclass(frozen=True)
class Setting:
    """One tier: rows of T ``tokens``, each task in them, and how far beyond T is asked.

    The longest text of each task fills a row, and one of n T tokens is asked at the same place in its chunk: after
    n T - 2 tokens (needle), n T / 2 (copy) or 3/4 n T + 3 (Depo; n T / 2 + 3 at tier paper, where there are as many
    nodes as a cycle can have at 16 T); that of MQAR anywhere.

    Attributes:
        shape: layers, heads and width.
        times: lengths that are asked, in T.
        questions: of each kind and length; 0: as many as the device allows.
    """

    tokens: int
    tasks: tuple[TaskConfig, ...]
    shape: tuple[int, int, int]
    train: TrainConfig
    times: tuple[int, ...] = (1, 2, 4, 8, 16)
    questions: int = 0
    seeds: tuple[int, ...] = (1,)

    def run(self, task: TaskConfig, mixers: tuple[Mixer, ...], seed: int) -> RunSpec:
        """These mixers with Canon layers at all places."""
        model = ModelConfig(*self.shape, mixers, (Gated(),), RMSNorm(), (Canon(),))
        return RunSpec(task, model, replace(self.train, seed=seed))


TRAIN = TrainConfig(steps=3_000, batch_rows=256, learning_rate=1e-3, weight_decay=0.1, warmup_steps=300, seed=1)
SMALL = replace(TRAIN, steps=1_000, batch_rows=32, learning_rate=3e-3, warmup_steps=100, precision="float32")
SETTINGS = {
    "smoke": Setting(32, (CopyConfig(4, 80, 1, 32), NeedleConfig(28, 8, 1, fillers=4, keys=8, values=8, row_tokens=32)),
                     (2, 2, 16), replace(SMALL, steps=4, batch_rows=4), questions=8),
    "demo": Setting(32, (CopyConfig(15, 128, 1, 32),
                         NeedleConfig(28, 8, 2, fillers=16, keys=16, values=16, row_tokens=32)),
                    (2, 2, 64), SMALL, (1, 2, 4, 8), 50),
    "gpu": Setting(128, (CopyConfig(63, 1024, 1, 128), MqarConfig(8, 1024, row_tokens=128),
                         DepoConfig(48, 4, 1, 1, 1024, 7, 128),
                         NeedleConfig(124, 16, 3, row_tokens=128)),
                   (4, 4, 128), TRAIN, questions=300, seeds=(2, 3, 4)),
    "paper": Setting(1024, (CopyConfig(511, 8192, 1, 1024), MqarConfig(32, 8192, row_tokens=1024),
                            DepoConfig(256, 8, 1, 1, 8192, 127, 1024),
                            NeedleConfig(1020, 32, 7, row_tokens=1024)),
                     (12, 12, 768), replace(TRAIN, steps=20_000)),
}  # fmt: skip


def tier_of(spec: RunSpec) -> str:
    """The tier that a run comes from."""
    return nearest_tier({tier: one.tasks for tier, one in SETTINGS.items()},
                        {tier: one.shape for tier, one in SETTINGS.items()}, spec)  # fmt: skip
