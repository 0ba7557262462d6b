"""Training low-rank factors: only they move and are kept, members do not feel each other, a kill is not seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from physlm.config import override
from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.storage import load_tensors
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.loop import train_population
from physlm.training.schedule import schedule
from physlm.training.step import Population

CPU = torch.device("cpu")
TASK = BioDConfig(people=12, attributes=2, diversity=4, chunk_tokens=1, alphabet=4, name_pools=(3, 3, 3),
                  entries_per_row=2, row_tokens=36)  # fmt: skip
TRAIN = TrainConfig(exposures=4, batch_rows=4, learning_rate=1e-2, warmup_steps=2, precision="float32")
BASE = RunSpec(TASK, ModelConfig(layers=2, heads=1, width=8), TRAIN)  # 6 steps
LOW = dataclasses.replace(BASE, train=dataclasses.replace(TRAIN, lora_rank=2, lora_embedding_rank=3), start=BASE)
# two learning rates, and another seed that begins with another run
MEMBERS = [LOW, override(LOW, ["train.learning_rate=3e-2"]), override(LOW, ["train.seed=1", "start.train.seed=7"])]
State = Mapping[str, Tensor]


def states(specs: Sequence[RunSpec]) -> list[dict[str, Tensor]]:
    """For each the untrained weights of its start, three times as large: they stand for trained ones."""
    models = [Population(spec.starts, CPU).model_of(0) for spec in specs]
    return [{name: value * 3 for name, value in model.state_dict().items()} for model in models]


def with_precision(precision: str) -> list[RunSpec]:
    return [override(spec, [f"train.precision={precision}"]) for spec in MEMBERS]


def ignore(line: dict[str, Any]) -> None:
    """Nothing is logged."""


def train(specs: Sequence[RunSpec], checkpoint: Path, log: Any = ignore) -> list[dict[str, Tensor]]:
    models = train_population(specs, CPU, checkpoint=checkpoint, log=log, initial=states(specs),
                              checkpoint_seconds=0.0, progress=False)  # fmt: skip
    return [dict(model.state_dict()) for model in models]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_saved_model_is_merged_and_the_rest_as_it_was(tmp_path: Path, precision: str) -> None:
    specs = with_precision(precision)
    for before, after in zip(states(specs), train(specs, tmp_path / "c"), strict=True):
        assert before.keys() == after.keys(), "an ordinary model"
        for name, value in after.items():
            assert value.dtype == torch.float32
            assert value.equal(before[name]) != (name == "embedding.weight" or name.endswith("qkv.weight")), name
            if name.endswith("qkv.weight"):
                ranks = [int(torch.linalg.matrix_rank(part[0], rtol=1e-3))
                         for part in (value - before[name]).chunk(3, -1)]  # fmt: skip
                assert ranks == [2, 0, 2]
        update = (after["embedding.weight"] - before["embedding.weight"])[0]
        assert int(torch.linalg.matrix_rank(update, rtol=1e-3)) == 3


def test_only_the_factors_have_a_state(tmp_path: Path) -> None:
    train(MEMBERS, tmp_path / "c")
    population = Population(MEMBERS, CPU, initial=states(MEMBERS))
    words, width, layers = population.model.vocabulary, 8, 2
    numbers = len(MEMBERS) * (layers * 2 * (2 * width * 2) + 3 * (words + width))
    kept, _ = load_tensors(tmp_path / "c")
    assert set(kept) == {"master", "first", "second", "step"}
    for name in ("master", "first", "second"):
        assert numbers <= len(kept[name]) < numbers + 4 * 16, "padding apart"


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_killed_and_resumed(tmp_path: Path, precision: str) -> None:
    specs = with_precision(precision)
    whole = train(specs, tmp_path / "whole")
    for step in (1, 4):

        def die(line: dict[str, Any], step: int = step) -> None:
            if line["step"] == step:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(specs, tmp_path / f"{step}", die)
        for resumed, expected in zip(train(specs, tmp_path / f"{step}"), whole, strict=True):
            assert all(value.equal(expected[name]) for name, value in resumed.items()), f"killed at step {step}"


def test_members_equal_the_same_runs_alone(tmp_path: Path) -> None:
    together = train(MEMBERS, tmp_path / "together")
    for m, spec in enumerate(MEMBERS):
        (alone,) = train([spec], tmp_path / f"{m}")
        for name, value in alone.items():
            torch.testing.assert_close(together[m][name], value, atol=1e-4, rtol=1e-4)
    assert not together[0]["embedding.weight"].allclose(together[1]["embedding.weight"], atol=1e-3)


def test_it_is_adamw_on_the_factors(tmp_path: Path) -> None:
    """The obvious way: autograd through W_0 + (alpha / r) A B, and torch's own AdamW."""
    (spec,), (state,) = MEMBERS[:1], states(MEMBERS[:1])
    population = Population([spec], CPU, initial=[state])
    factors = {name: p.detach().clone().requires_grad_()
               for name, p in population.optimiser.factors.named_parameters()}  # type: ignore[union-attr]
    a, b, table_a, table_b = factors.values()
    theirs = torch.optim.AdamW(factors.values(), lr=spec.train.learning_rate, betas=spec.train.betas,
                               eps=spec.train.eps, weight_decay=spec.train.weight_decay)  # fmt: skip
    model, rates = population.model_of(0), schedule(spec.train, spec.steps)

    def weights() -> dict[str, Tensor]:
        moved = dict(state)
        moved["embedding.weight"] = state["embedding.weight"] + 4 / 3 * (table_a @ table_b)[:, 0]
        for i in range(2):
            name = f"blocks.{i}.attention.qkv.weight"
            q, v = (4 / 2 * a[:, k] @ b[:, k] for k in (2 * i, 2 * i + 1))
            moved[name] = state[name] + torch.cat([q, torch.zeros_like(q), v], -1)
        return moved

    for step in range(spec.steps):
        inputs, targets = (x[0] for x in population.sample(step))
        now = weights()
        logits = torch.func.functional_call(model, now, (inputs,)).logits
        scored = targets.flatten() >= 0
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 2)[scored], targets.flatten()[scored])
        theirs.zero_grad()
        loss.backward()
        for group in theirs.param_groups:
            group["lr"] = spec.train.learning_rate * rates[step].item()
        theirs.step()
    (ours,) = train([spec], tmp_path / "c")
    for name, value in weights().items():
        torch.testing.assert_close(ours[name], value.detach(), atol=1e-5, rtol=1e-4)


def test_losses_go_down_without_moving_the_frozen_weights(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    train([override(LOW, ["train.exposures=40", "train.learning_rate=3e-2"])], tmp_path / "c", lines.append)
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]


@pytest.mark.parametrize(("settings", "message"), [
    (["train.lora_rank=-1"], "train.lora_rank: got -1"), (["train.lora_alpha=-1"], "train.lora_alpha: got -1.0"),
    (["model.mixer=uniform", "start.model.mixer=uniform"], "the mixers uniform, which have no queries"),
])  # fmt: skip
def test_bad_settings_are_refused(settings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        override(LOW, settings)
    with pytest.raises(UserError, match="got 0 and 3 without a start"):
        RunSpec(TASK, BASE.model, dataclasses.replace(TRAIN, lora_embedding_rank=3))
