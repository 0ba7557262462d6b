"""Several processes on the rows of one step train what one process trains."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from killed import untimed
from ranks import CPU, alone, resume, together, train
from task_examples import example, kinds

from physlm.config import override
from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.storage import load_tensors
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.optimiser import AdamW
from physlm.training.parallel import ALONE, Ranks
from physlm.training.step import Population

TASK = BioDConfig(people=24, attributes=2, diversity=4, chunk_tokens=1, alphabet=4, name_pools=(3, 3, 3),
                  entries_per_row=2, row_tokens=36)  # fmt: skip
TRAIN = TrainConfig(exposures=10, batch_rows=8, learning_rate=1e-2, warmup_steps=2, precision="float32")
SPEC = RunSpec(TASK, ModelConfig(layers=1, heads=1, width=8), TRAIN)  # 15 steps
MEMBERS = [SPEC, override(SPEC, ["train.learning_rate=3e-3", "train.seed=1"])]


def close(ours: Any, one: Any, tolerance: float = 1e-5) -> None:
    """Records and weights of several processes are those of one."""
    (records, _, states), (expected, _, whole) = ours, one
    assert len(records) == len(expected) and len(states) == len(whole) > 0
    for record, other in zip(map(untimed, records), map(untimed, expected), strict=True):
        assert record == pytest.approx(other, rel=10 * tolerance, abs=tolerance)
    for state, reference in zip(states, whole, strict=True):
        for name, value in reference.items():
            np.testing.assert_allclose(state[name], value, atol=10 * tolerance, rtol=tolerance, err_msg=name)


def same(ours: Any, one: Any) -> None:
    """Bit for bit."""
    (records, _, states), (expected, _, whole) = ours, one
    assert list(map(untimed, records)) == list(map(untimed, expected))
    for state, reference in zip(states, whole, strict=True):
        assert state.keys() == reference.keys()
        assert all(np.array_equal(state[name], value) for name, value in reference.items())


def low_rank() -> RunSpec:
    return dataclasses.replace(SPEC, train=dataclasses.replace(TRAIN, lora_rank=2, lora_embedding_rank=3), start=SPEC)


CASES: dict[str, list[RunSpec]] = {
    "plain": MEMBERS,
    "low rank": [low_rank()],
    **{change[0]: [override(spec, change) for spec in MEMBERS] for change in (
        ["train.precision=bf16"], ["train.z_loss=0.01"], ["model.causal=false", "train.mask_rate=0.3"],
        ["model.local=canon"], ["model.ternary=true"])},
}


@pytest.fixture(scope="module")
def initial() -> list[dict[str, torch.Tensor]]:
    return [dict(Population([SPEC], CPU).model_of(0).state_dict())]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, initial: Any) -> dict[str, Any]:
    """What one process says of all cases."""
    folder, said = tmp_path_factory.mktemp("one"), dict[str, Any]()
    train(ALONE, said.update, folder, CASES, {"low rank": initial})
    return said


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, initial: Any) -> list[dict[str, Any]]:
    """What each of two processes says, and of one case again, stopped after nine steps and gone on with."""
    folder = tmp_path_factory.mktemp("two")
    return together(2, folder, train, folder, CASES, {"low rank": initial}, {"plain": 9})


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_what_one_trains(one: dict[str, Any], two: list[dict[str, Any]], case: str) -> None:
    """The same records and weights but for the order of sums, and in both processes the same bits.

    Losses are means over the tokens of all processes, however many of them each has.
    """
    # in bfloat16 each process rounds its own gradients, and ternary weights turn over
    close(two[0][case], one[case], 1e-3 if case in ("train.precision=bf16", "model.ternary=true") else 1e-5)
    same(two[1][case], two[0][case])


def test_killed_and_resumed_on_as_many_ends_with_the_same_bits(two: list[dict[str, Any]]) -> None:
    first, then = two[0]["plain, stopped"], two[0]["plain, resumed"]
    assert first[2] == [] and then[1] == [9]
    same((first[0] + then[0], then[1], then[2]), two[0]["plain"])


def test_stopped_on_four_and_resumed_on_two_and_on_one(tmp_path: Path, one: dict[str, Any]) -> None:
    cases = {"plain": MEMBERS}
    four = together(4, tmp_path / "4", train, tmp_path, cases, {}, {"plain": 6})
    close(four[0]["plain"], one["plain"])
    assert all(said["plain, stopped"][2] == [] for said in four)
    first = [record for record in four[0]["plain, stopped"][0] if record["step"] <= 6]
    two = together(2, tmp_path / "2", resume, MEMBERS, tmp_path / "stopped-copy")
    for records, rewinds, states in (*two, alone(MEMBERS, tmp_path / "stopped-copy2")):
        assert rewinds == [6]
        close((first + records, rewinds, states), one["plain"])
    here, there = (load_tensors(tmp_path / name) for name in ("stopped-copy", "stopped-copy2"))
    assert here[1] == there[1] and {name: (x.shape, x.dtype) for name, x in here[0].items()} == {
        name: (x.shape, x.dtype) for name, x in there[0].items()}, "a checkpoint does not tell how many wrote it"


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("count", [2, 3])
def test_the_rows_of_all_processes_are_those_of_the_step(tmp_path: Path, kind: str, count: int) -> None:
    """Of every task, also where rows are made by CPU cores in blocks."""
    task = example(kind, tmp_path)
    spec = RunSpec(task, ModelConfig(layers=1, heads=1, width=8),
                   TrainConfig(steps=20, exposures=1, batch_rows=6, precision="float32"))
    whole = Population([spec], CPU)
    parts = [Population([spec], CPU, ranks=_Silent(rank, count)) for rank in range(count)]
    for step in (0, 7):
        for found, expected in zip(zip(*(part.sample(step, 2) for part in parts), strict=True), whole.sample(step, 2),
                                   strict=True):
            assert torch.cat(found, 2).equal(expected)
    for population in (whole, *parts):
        population.batches.prepare(5)
    rows = [population.batches.at(torch.tensor(5))[0] for population in (whole, *parts)]
    assert torch.cat(rows[1:], 1).equal(rows[0])
    for population in (whole, *parts):
        population.close()


class _Silent(Ranks):
    """Speaks to nobody."""

    def sum(self, tensor: torch.Tensor) -> None:
        pass


def test_the_gradients_that_are_summed_are_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    summed: list[torch.Tensor] = []
    monkeypatch.setattr(Ranks, "sum", lambda self, tensor: summed.append(tensor))
    population = Population([override(SPEC, ["train.precision=bf16"])], CPU, ranks=Ranks(0, 2))
    population.advance()
    gradients = [tensor for tensor in summed if isinstance(population.optimiser, AdamW)
                 and tensor is population.optimiser.gradient]
    assert [tensor.dtype for tensor in gradients] == [torch.float32]
    assert next(population.model.parameters()).dtype == torch.bfloat16


def refused(specs: Sequence[RunSpec], count: int, words: str) -> None:
    for rank in range(count):
        with pytest.raises(UserError, match=words):
            Population(specs, CPU, ranks=Ranks(rank, count))
    Population(specs, CPU)


def test_rows_that_do_not_divide_are_refused_with_the_numbers_that_do() -> None:
    refused([override(SPEC, ["train.batch_rows=12"])], 5, r"5 processes for the 12 rows .*: 1, 2, 3, 4, 6, 12$")
    refused([override(SPEC, ["train.batch_rows=7"])], 2, r": 1, 7$")


def test_experts_that_share_out_all_tokens_of_a_step_are_refused() -> None:
    spec = override(SPEC, ["model.mlp=moe"])
    refused([spec], 2, "whose moe looks at all rows of a step together; expected parts .* or one process")


AFTER = """
import sys, time
from pathlib import Path

import torch

from physlm.training.parallel import joined

def threads():
    return " ".join(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))

with joined(torch.device("cpu"), 0, 1, f"file://{sys.argv[1]}"):
    ends = time.monotonic() + 30
    while "gloo" not in threads() and time.monotonic() < ends:  # a thread names itself, on a busy machine later
        time.sleep(0.01)
    print(threads())
    import torch._dynamo  # as a step that is compiled does
print(threads())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="lists threads as Linux does")
def test_no_thread_of_the_group_outlives_it(tmp_path: Path) -> None:
    process = subprocess.run([sys.executable, "-c", AFTER, tmp_path / "meeting"], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    inside, after = process.stdout.splitlines()
    assert "gloo" in inside and "gloo" not in after
