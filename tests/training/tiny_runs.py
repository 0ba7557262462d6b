"""Runs of 15 steps, and training them with a log that may kill it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from killed import untimed
from torch import Tensor

from physlm.config import override
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.biography.config import BioDConfig
from physlm.training import loop
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.loop import train_population

CPU = torch.device("cpu")
TASK = BioDConfig(people=12, attributes=2, diversity=4, chunk_tokens=1, alphabet=4, name_pools=(3, 3, 3),
                  entries_per_row=2, row_tokens=36)  # fmt: skip
TRAIN = TrainConfig(exposures=10, batch_rows=4, learning_rate=1e-2, warmup_steps=2, precision="float32")
SPEC = RunSpec(TASK, ModelConfig(layers=1, heads=1, width=8), TRAIN)  # 15 steps
# one that shares its data with the first, one with another order of the same people, one with other people
MEMBERS = [
    SPEC,
    override(SPEC, ["train.learning_rate=3e-3", "train.weight_decay=0.3"]),
    override(SPEC, ["train.seed=1"]),
    override(SPEC, ["task.seed=1"]),
]


class Killed(BaseException):
    """Stands for the death of the process: nothing in the loop catches it."""


class Log:
    """The lines of a log, cut back when training resumes, and by themselves their times; dies at line ``die_at``."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.times: list[dict[str, float]] = []
        self.rewinds: list[int] = []
        self.die_at = -1

    def __call__(self, line: dict[str, Any]) -> None:
        if len(self.lines) == self.die_at:
            raise Killed
        self.lines.append(untimed(line))
        self.times.append({name: line[name] for name in loop.TIMES})

    def rewind(self, step: int) -> None:
        self.rewinds.append(step)
        self.lines = [line for line in self.lines if line["step"] <= step]


def train(
    specs: Sequence[RunSpec], checkpoint: Path, log: Log | None = None, seconds: float = 60.0
) -> list[dict[str, Tensor]]:
    log = log or Log()
    models = train_population(specs, CPU, checkpoint=checkpoint, log=log, rewind=log.rewind,
                              checkpoint_seconds=seconds, progress=False)  # fmt: skip
    assert all(isinstance(model, Decoder) and model.members == 1 for model in models)
    return [{name: value.clone() for name, value in model.state_dict().items()} for model in models]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(value.equal(b[name]) for name, value in a.items())


def spec_with(precision: str) -> list[RunSpec]:
    return [override(spec, [f"train.precision={precision}"]) for spec in MEMBERS]


def same_models(a: Sequence[dict[str, Tensor]], b: Sequence[dict[str, Tensor]]) -> bool:
    return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
