"""Training with VeRA and SingLoRA: only the updates have a state, a kill is not seen, members are apart, u rises."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from test_lora_training import BASE, CPU, MEMBERS, states, train

from physlm.config import override
from physlm.errors import UserError
from physlm.storage import load_tensors
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.optimiser import LowRankAdamW
from physlm.training.schedule import ramp_steps
from physlm.training.step import Population

NEW = ("vera", "singlora")
WIDTH, LAYERS, ATTENTION_RANK, TABLE_RANK = 8, 2, 2, 3


def members(kind: str, precision: str = "float32") -> list[RunSpec]:
    """Of 30 steps, of which u of SingLoRA rises for three."""
    return [override(spec, [f"train.lora_kind={kind}", f"train.precision={precision}", "train.exposures=20"])
            for spec in MEMBERS]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("kind", NEW)
def test_killed_and_resumed(tmp_path: Path, kind: str, precision: str) -> None:
    specs = members(kind, precision)
    whole = train(specs, tmp_path / "whole")
    for before, after in zip(states(specs), whole, strict=True):
        changed = {name for name, value in after.items() if not value.equal(before[name])}
        assert changed == {"embedding.weight", *(f"blocks.{i}.attention.qkv.weight" for i in range(LAYERS))}
    for step in (2, 20):  # within the ramp, and after it

        def die(line: dict[str, Any], step: int = step) -> None:
            if line["step"] == step:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(specs, tmp_path / f"{step}", die)
        for resumed, expected in zip(train(specs, tmp_path / f"{step}"), whole, strict=True):
            assert all(value.equal(expected[name]) for name, value in resumed.items()), f"killed at step {step}"


@pytest.mark.parametrize("kind", NEW)
def test_only_what_is_trained_has_a_state(tmp_path: Path, kind: str) -> None:
    train(members(kind), tmp_path / "c")
    words = Population(MEMBERS, CPU, initial=states(MEMBERS)).model.vocabulary
    matrices = 2 * LAYERS
    numbers = {"vera": matrices * (ATTENTION_RANK + WIDTH) + TABLE_RANK + WIDTH,
               "singlora": matrices * ATTENTION_RANK * WIDTH + TABLE_RANK * max(words, WIDTH)}[kind]  # fmt: skip
    kept, _ = load_tensors(tmp_path / "c")
    assert set(kept) == {"master", "first", "second", "step", *(["ramp"] if kind == "singlora" else [])}
    for name in ("master", "first", "second"):
        assert len(MEMBERS) * numbers <= len(kept[name]) < len(MEMBERS) * numbers + 4 * 16, "padding apart"


@pytest.mark.parametrize("kind", NEW)
def test_members_equal_the_same_runs_alone(tmp_path: Path, kind: str) -> None:
    specs = members(kind)
    together = train(specs, tmp_path / "together")
    for m, spec in enumerate(specs):
        (alone,) = train([spec], tmp_path / f"{m}")
        for name, value in alone.items():
            torch.testing.assert_close(together[m][name], value, atol=1e-4, rtol=1e-4)
    assert not together[0]["embedding.weight"].equal(together[1]["embedding.weight"])


@pytest.mark.parametrize(("kind", "rate", "share"), [
    ("vera", 1e-1, 0.9), ("singlora", 3e-2, 0.85), ("lora", 3e-2, 0.85)])
def test_losses_go_down(tmp_path: Path, kind: str, rate: float, share: float) -> None:
    """Of VeRA's 51 numbers no more is expected."""
    lines: list[dict[str, Any]] = []
    spec = override(MEMBERS[0], [f"train.lora_kind={kind}", "train.exposures=60", f"train.learning_rate={rate}"])
    train([spec], tmp_path / "c", lines.append)
    assert lines[-1]["loss"] < share * lines[0]["loss"]


def test_the_update_rises_over_the_first_steps() -> None:
    """u = min(t / T, 1), and the weights that step t reads are those with u(t): of step 0 those of the start."""
    (spec,), (state,) = members("singlora")[:1], states(MEMBERS[:1])
    population = Population([spec], CPU, initial=[state])
    optimiser = population.optimiser
    assert isinstance(optimiser, LowRankAdamW) and spec.steps == 30 and ramp_steps(spec.train, 30) == 3
    found = []
    for step in range(5):
        found.append(float(optimiser.factors.ramp))
        moved = [name for name, value in population.model_of(0).state_dict().items() if not value.equal(state[name])]
        assert bool(moved) == (step > 0)
        population.advance()
    assert found == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])
    assert ramp_steps(TrainConfig(lora_ramp=0), 30) == ramp_steps(TrainConfig(), 5) == 1
    assert ramp_steps(TrainConfig(lora_ramp=7), 1000) == 7


@pytest.mark.parametrize(("kind", "setting", "message"), [
    ("vera", "train.lora_alpha=8", "got 8.0 with train.lora_kind=vera.*expected 4.0, or train.lora_kind=lora or sing"),
    ("vera", "train.lora_ratio=16", "train.lora_ratio: got 16.0.*or train.lora_kind=lora$"),
    ("singlora", "train.lora_ratio=16", "train.lora_ratio"), ("singlora", "train.lora_initial=1", "train.lora_initial"),
    ("lora", "train.lora_ramp=3", "train.lora_ramp: got 3 with train.lora_kind=lora"),
    ("dora", "train.lora_rank=2", "train.lora_kind: got 'dora', expected one of 'lora', 'vera', 'singlora'"),
])  # fmt: skip
def test_what_has_no_use_is_refused(kind: str, setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        override(MEMBERS[0], [f"train.lora_kind={kind}", setting])


def test_the_kind_is_left_out_of_older_names() -> None:
    assert dataclasses.replace(BASE.train, lora_kind="lora") == BASE.train
