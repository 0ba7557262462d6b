"""Low-rank training inside the compiled and captured step: the same as on the CPU, and the same bits when resumed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import pytest
import torch

from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioSConfig
from physlm.training.config import LowRankKind, RunSpec, TrainConfig
from physlm.training.loop import train_population
from physlm.training.step import Population

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
CPU, GPU = torch.device("cpu"), torch.device("cuda")


KINDS: tuple[LowRankKind, ...] = ("lora", "vera", "singlora")


def specs(precision: Literal["bf16", "float32"], rank: int, embedding_rank: int, kind: LowRankKind = "lora"
          ) -> list[RunSpec]:  # fmt: skip
    base = TrainConfig(exposures=8, batch_rows=16, precision=precision)
    start = RunSpec(BioSConfig(people=200, entries_per_row=1, row_tokens=60), ModelConfig(layers=2, heads=2, width=32),
                    base)  # fmt: skip
    low = dataclasses.replace(base, lora_rank=rank, lora_embedding_rank=embedding_rank, lora_kind=kind)
    return [dataclasses.replace(start, train=dataclasses.replace(low, learning_rate=rate, seed=seed), start=start)
            for rate, seed in ((4e-3, 0), (8e-3, 0), (8e-3, 1))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rank", "embedding_rank"), [(4, 0), (0, 8), (4, 8)])
def test_the_captured_step_does_what_the_cpu_does(rank: int, embedding_rank: int, kind: LowRankKind) -> None:
    members = specs("float32", rank, embedding_rank, kind)
    state = Population(members[0].starts, CPU).model_of(0).state_dict()
    losses, weights = [], []
    for device in (CPU, GPU):
        population = Population(members, device, window=20, initial=[state] * 3)
        while population.step < 40:
            population.advance()
        losses.append(population.recent_losses(20)["loss"])
        weights.append(population.model_of(1).state_dict())
    torch.testing.assert_close(losses[0], losses[1], rtol=2e-3, atol=2e-3)
    for name, value in weights[1].items():
        moved = (rank and name.endswith("qkv.weight")) or (embedding_rank and name == "embedding.weight")
        assert value.equal(state[name]) != bool(moved), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, kind: LowRankKind) -> None:
    members = specs("bf16", 4, 8, kind)
    initial = [Population(members[0].starts, CPU).model_of(0).state_dict()] * 3

    def interrupt(record: dict[str, object]) -> None:
        if record["step"] == 40:
            raise KeyboardInterrupt

    states = []
    for name in ("whole", "again", "resumed"):
        checkpoint = tmp_path / f"{name}.safetensors"
        if name == "resumed":
            with pytest.raises(KeyboardInterrupt):
                train_population(members, GPU, checkpoint=checkpoint, log=interrupt, initial=initial,
                                 checkpoint_seconds=0.0, progress=False)  # fmt: skip
        models = train_population(members, GPU, checkpoint=checkpoint, log=lambda record: None, initial=initial,
                                  progress=False)  # fmt: skip
        states.append([value for model in models for value in model.state_dict().values()])
    for other in states[1:]:
        assert all(a.equal(b) for a, b in zip(states[0], other, strict=True))
