"""A training that begins with the weights of another: each member with its own, also when it is killed and resumed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import same
from torch import Tensor

from physlm.config import override
from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.loop import train_population
from physlm.training.step import Population, check_members

CPU = torch.device("cpu")
TASK = BioDConfig(people=12, attributes=2, diversity=4, chunk_tokens=1, alphabet=4, name_pools=(3, 3, 3),
                  entries_per_row=2, row_tokens=36)  # fmt: skip
TRAIN = TrainConfig(exposures=4, batch_rows=4, learning_rate=1e-2, warmup_steps=2, precision="float32")
BASE = RunSpec(TASK, ModelConfig(layers=1, heads=1, width=8), TRAIN)  # 6 steps
STARTS = [override(BASE, [f"train.seed={seed}"]) for seed in (5, 6)]
TUNED = [dataclasses.replace(BASE, start=start) for start in STARTS]
State = Mapping[str, Tensor]


def ignore(line: dict[str, Any]) -> None:
    """Nothing is logged."""


def train(specs: Sequence[RunSpec], checkpoint: Path, initial: Sequence[State | None] | None = None,
          log: Any = ignore) -> list[dict[str, Tensor]]:  # fmt: skip
    models = train_population(specs, CPU, checkpoint=checkpoint, log=log, initial=initial, checkpoint_seconds=0.0,
                              progress=False)  # fmt: skip
    return [dict(model.state_dict()) for model in models]


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    """The two starts, trained."""
    return train(STARTS, tmp_path_factory.mktemp("starts") / "c")


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_each_member_begins_with_its_own_start_exactly(states: list[dict[str, Tensor]], precision: str) -> None:
    specs = [override(spec, [f"train.precision={precision}"]) for spec in (*TUNED, BASE)]
    check_members(specs)
    population = Population(specs, CPU, initial=[*states, None])
    for m, state in enumerate(states):
        assert same(dict(population.model_of(m).state_dict()), state)
    assert same(dict(population.model_of(2).state_dict()), dict(Population(specs[2:], CPU).model_of(0).state_dict()))
    assert not same(states[0], states[1])


def test_training_goes_on_from_the_start(states: list[dict[str, Tensor]], tmp_path: Path) -> None:
    """With a learning rate of zero it ends with the weights of the start; the first loss is far below a random one."""
    frozen = [override(spec, ["train.learning_rate=0"]) for spec in TUNED]
    assert all(same(a, b) for a, b in zip(train(frozen, tmp_path / "frozen", states), states, strict=True))
    lines: list[dict[str, Any]] = []
    tuned = train([*TUNED, BASE], tmp_path / "tuned", [*states, None], lines.append)
    first = [line["loss"] for line in lines if line["step"] == 1]
    assert max(first[:2]) < first[2] - 0.1, "they know something of the same people"
    assert not any(same(a, b) for a, b in zip(tuned, states, strict=False))


def test_members_equal_the_same_runs_alone(states: list[dict[str, Tensor]], tmp_path: Path) -> None:
    together = train(TUNED, tmp_path / "together", states)
    for m, spec in enumerate(TUNED):
        (alone,) = train([spec], tmp_path / f"{m}", [states[m]])
        for name, value in alone.items():
            torch.testing.assert_close(together[m][name], value, atol=1e-4, rtol=1e-4)


def test_killed_and_resumed(states: list[dict[str, Tensor]], tmp_path: Path) -> None:
    whole = train(TUNED, tmp_path / "whole", states)
    for step in (1, 4):

        def die(line: dict[str, Any], step: int = step) -> None:
            if line["step"] == step:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(TUNED, tmp_path / f"{step}", states, die)
        resumed = train(TUNED, tmp_path / f"{step}", states)
        assert all(same(a, b) for a, b in zip(resumed, whole, strict=True))


def test_weights_to_begin_with_must_be_there_and_fit(states: list[dict[str, Tensor]], tmp_path: Path) -> None:
    wide = Decoder(ModelConfig(layers=1, heads=1, width=16), 5).state_dict()
    deep = Decoder(ModelConfig(layers=2, heads=1, width=8), len(states[0]["embedding.weight"][0])).state_dict()
    for initial, message in (
        (None, "got no weights"), ([states[0], None], "got no weights"), (states[:1], "got weights for 1 member"),
        ([states[0], wide], r"member 1: .*got the shape \(1, 16"),
        ([deep, states[0]], r"member 0: blocks\.1.*expected none"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            train(TUNED, tmp_path / "c", initial)
    assert not (tmp_path / "c").exists()
