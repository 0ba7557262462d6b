"""Parts defined here: one with a buffer that training moves, one with a loss of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from killed import CPU, contents, sweep_killed
from torch import Tensor

from physlm.config import override
from physlm.lab.loading import load_model
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.measures.generation import generate
from physlm.models.config import ModelConfig
from physlm.models.module import per_member
from physlm.models.parts.mlp import Plain
from physlm.models.parts.part import NormPart
from physlm.models.parts.weight import GAIN, Constant, Weight
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.step import Population

TASK = BioDConfig(people=12, attributes=1, diversity=4, chunk_tokens=1, alphabet=4, name_pools=(3, 3, 3),
                  entries_per_row=2, row_tokens=24)  # fmt: skip
TRAIN = TrainConfig(steps=8, batch_rows=4, learning_rate=1e-2, warmup_steps=1, precision="float32")


@dataclass(frozen=True)
class RunningNorm(NormPart):
    """g x / sqrt(s), s the running mean of x^2 in training: a persistent buffer."""

    kind: ClassVar[str] = "test_running"

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        return (Weight("gain", (model.width,), Constant(1.0), GAIN),
                Weight("square", (1,), Constant(1.0), GAIN, trained=False))

    def read(self, w: Any, x: Tensor, state: Any, where: Any) -> Tensor:
        if torch.is_grad_enabled():
            with torch.no_grad():
                w.square.lerp_(x.float().square().mean((1, 2, 3))[:, None], 0.2)
        return (x * per_member(w.gain * w.square.rsqrt())).to(where)


@dataclass(frozen=True)
class Pulled(Plain):
    """An MLP with numbers p that only its loss (p - 2)^2 moves."""

    kind: ClassVar[str] = "test_pulled"
    losses: ClassVar[tuple[str, ...]] = ("pull",)

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        return (*super().weights(model), Weight("p", (3,), Constant(0.0), GAIN))

    def read(self, w: Any, x: Tensor, state: Any, where: Any) -> Any:
        return super().read(w, x, state, where), ((w.p - 2).square().mean(-1),)


def members(model: ModelConfig, precision: str) -> list[RunSpec]:
    spec = RunSpec(TASK, model, replace(TRAIN, precision=precision))  # type: ignore[arg-type]
    return [spec, override(spec, ["train.seed=1", "train.learning_rate=0.003"])]


def test_a_buffer_is_trained_with_resumed_and_cut_out_with_its_member(tmp_path: Path) -> None:
    for precision in ("float32", "bf16"):
        specs = members(ModelConfig(layers=2, heads=1, width=8, norm=RunningNorm()), precision)
        whole, root = Store(tmp_path / f"whole-{precision}"), tmp_path / f"killed-{precision}"
        finished = sweep(specs, ("capacity",), whole, CPU, progress=False)
        sweep_killed(specs, ("capacity",), root)
        sweep(specs, ("capacity",), Store(root), CPU, progress=False)
        assert contents(root) == contents(whole.root), "the buffers were in the checkpoint"
        population = Population(specs, CPU)
        while population.step < population.steps:
            population.advance()
        found = []
        for m, (spec, run) in enumerate(zip(specs, finished, strict=True)):
            stored, cut = (dict(model.named_buffers()) for model in (
                load_model(spec, run.path / "model.safetensors", CPU), population.model_of(m)))
            assert len(stored) == 5 and stored.keys() == cut.keys(), "two a block, and that of the final norm"
            assert all(stored[name].equal(cut[name]) and not bool((cut[name] == 1).any()) for name in cut)
            found.append(torch.cat([buffer.flatten() for buffer in cut.values()]))
        assert not (found[0] == found[1]).any(), "each member has its own"
        alone = Population(specs[1:], CPU)
        while alone.step < alone.steps:
            alone.advance()
        torch.testing.assert_close(torch.cat([b.flatten() for _, b in alone.model_of(0).named_buffers()]), found[1],
                                   rtol=1e-2, atol=1e-2)  # fmt: skip


def test_a_loss_of_a_part_is_trained_with_and_logged_under_its_name(tmp_path: Path) -> None:
    specs = members(ModelConfig(layers=2, heads=1, width=8, mlp=(Pulled(),)), "float32")
    finished = sweep(specs, ("capacity",), Store(tmp_path), CPU, progress=False)
    plain = sweep(members(ModelConfig(layers=2, heads=1, width=8), "float32"), (), Store(tmp_path), CPU, progress=False)
    for spec, run, other in zip(specs, finished, plain, strict=True):
        lines, others = ([json.loads(line) for line in (one.path / "metrics.jsonl").read_text().splitlines()]
                         for one in (run, other))
        assert lines[0]["pull"] == 8.0, "(0 - 2)^2 in each of two blocks"
        assert all(a["pull"] > b["pull"] for a, b in pairwise(lines))
        assert [line["loss"] for line in lines] == [line["loss"] for line in others], "the cross-entropy alone"
        assert "pull" not in others[0]
        model = load_model(spec, run.path / "model.safetensors", CPU)
        assert all(bool((p > 0).all()) for name, p in model.named_parameters() if name.endswith(".p"))
        assert generate(model, torch.zeros(3, 2, dtype=torch.long), 3).ids.shape == (3, 5)
