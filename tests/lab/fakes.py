"""A trainer, a model and a measure that take milliseconds and keep the contract of the real ones.

A member's weights depend on who trains beside it (their mean is mixed in), more strongly than in any real population:
so a sweep that regroups an interrupted population cannot end with the same bits.  With a learning rate far above 1 they
become infinite in a few steps; a member so large is not mixed in.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from physlm import storage
from physlm.config import content_hash
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig

CPU = torch.device("cpu")
LOG_EVERY, CHECKPOINT_EVERY = 2, 3


def make_spec(rate: float = 1e-3, layers: int = 1, exposures: int = 8, seed: int = 0) -> RunSpec:
    """A run of ``exposures`` steps."""
    task = BioDConfig(people=100, attributes=2, diversity=10, alphabet=10, entries_per_row=5, row_tokens=64)
    train = TrainConfig(exposures=exposures, batch_rows=20, learning_rate=rate, seed=seed, precision="float32")
    return RunSpec(task, ModelConfig(layers=layers, heads=1, width=8), train)


def make_specs() -> list[RunSpec]:
    """Two shapes, five runs; with at most two members a population: {2, 1} of one shape and {2} of the other."""
    return [make_spec(rate, layers) for rate, layers in ((1e-3, 1), (2e-3, 2), (2e-3, 1), (4e-3, 1), (1e-3, 2))]


def make_family() -> list[RunSpec]:
    """Runs that begin with others: two with one start, one with another, one with one of these; and the first start."""
    first, second = make_spec(1e-3, seed=1), make_spec(2e-3, seed=2)
    tuned = [dataclasses.replace(make_spec(rate, exposures=4), start=start)
             for rate, start in ((1e-3, first), (2e-3, first), (1e-3, second))]
    return [*tuned, dataclasses.replace(make_spec(5e-3, exposures=3), start=tuned[2]), first]


class FakeModel:
    """Weights and nothing else."""

    def __init__(self, weight: torch.Tensor):
        self.weight = weight

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"weight": self.weight}


class FakeTrainer:
    """Trains by a chaotic map; remembers which populations it was given, and how many steps it took.

    A run that begins with another needs its weights, and another sum is seen in everything that follows.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.steps = 0
        self.interrupt: Callable[[int], None] = lambda step: None

    def __call__(
        self, specs: Sequence[RunSpec], device: torch.device, *, checkpoint: Path,
        log: Callable[[dict[str, Any]], None], rewind: Callable[[int], None],
        snapshot: Callable[[int, list[FakeModel]], None], initial: Sequence[Mapping[str, torch.Tensor] | None],
        progress: bool,
    ) -> list[FakeModel]:
        self.calls.append(tuple(content_hash(spec) for spec in specs))
        rates = torch.tensor([spec.train.learning_rate for spec in specs], dtype=torch.float64)[:, None]
        weight, done = torch.linspace(0.1, 0.9, 4, dtype=torch.float64).expand(len(specs), 4) + rates, 0
        for member, (spec, state) in enumerate(zip(specs, initial, strict=True)):
            assert (state is None) == (spec.start is None)
            if state is not None:
                weight[member] = state["weight"].clone()
        if checkpoint.exists():
            tensors, metadata = storage.load_tensors(checkpoint)
            weight, done = tensors["weight"], int(metadata["step"])
            rewind(done)
        for step in range(done + 1, specs[0].steps + 1):
            self.interrupt(step)
            self.steps += 1
            weight = 3.7 * weight * (1.0 - weight) * (1.0 - rates) + 0.01 * weight[weight.abs() < 9.0].mean()
            if step in specs[0].snapshot_steps:
                snapshot(step, [FakeModel(row) for row in weight])
            if step % LOG_EVERY == 0:
                for member, loss in enumerate(weight.mean(1).tolist()):
                    finite = loss if math.isfinite(loss) else None
                    log({"step": step, "member": member, "loss": finite, "tokens": 10 * step})
            if step % CHECKPOINT_EVERY == 0:
                storage.save_tensors(checkpoint, {"weight": weight}, {"step": str(step)})
        return [FakeModel(row) for row in weight]


def load(spec: RunSpec, path: Path, device: torch.device) -> FakeModel:
    """The fake model of a run folder."""
    tensors, _ = storage.load_tensors(path)
    return FakeModel(tensors["weight"])


class FakeMeasure:
    """Two rows from the weights; remembers what it measured."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(self, name: str, run: Trained) -> list[Row]:
        self.calls.append((name, content_hash(run.spec)))
        model: Any = run.model
        value = model.weight.sum().item()
        return [Row(f"{name}_sum", value, "bits", 100, value - 0.1, value + 0.1),
                Row(f"{name}_third", value / 3, "1", 100, value / 3, value / 3)]
