"""What bench tasks measures is what it says it measures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from task_examples import example, kinds

from physlm.errors import UserError
from physlm.lab import bench_tasks as bench
from physlm.lab import bench_training
from physlm.models.config import ModelConfig
from physlm.tasks.config import TaskConfig
from physlm.tasks.playground.copying import Copy, CopyConfig
from physlm.tasks.playground.depo import DepoConfig
from physlm.training import batches
from physlm.training.step import Population

SMALL = CopyConfig(6, 9, 0, 64)
CASE = bench_training.Case(ModelConfig(layers=1, heads=1, width=8, vocab_size=bench.VOCABULARY), rows=2)


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A processor's time that only tests move on."""
    clock = [0.0]
    monkeypatch.setattr(bench.time, "process_time", lambda: clock[0])
    return clock


def test_the_sampler_is_timed_in_whole_blocks_but_the_first(
    monkeypatch: pytest.MonkeyPatch, seconds: list[float]
) -> None:
    monkeypatch.setitem(batches.AHEAD_TOKENS, "cpu", 1000)
    asked: list[list[int]] = []

    def rows(task: Copy, index_R: torch.Tensor) -> None:
        asked.append(index_R.tolist())
        seconds[0] += 0.5 if len(asked) > 1 else 100.0  # compiled in the first
        assert torch.get_num_threads() == 1

    monkeypatch.setattr(Copy, "rows", rows)
    assert bench.time_sampler(SMALL, 2.0) == 15 * 64 / 0.5
    assert asked == [list(range(15 * i, 15 * i + 15)) for i in range(5)]


def test_the_verifier_is_timed_on_whole_texts_without_their_making(
    monkeypatch: pytest.MonkeyPatch, seconds: list[float]
) -> None:
    fault = Copy.fault

    def slow(task: Copy, ids: list[int]) -> str:
        seconds[0] += 0.25
        return fault(task, ids)

    monkeypatch.setattr(Copy, "fault", slow)
    assert bench.time_verifier(SMALL, 50) == 4.0
    monkeypatch.setattr(Copy, "fault", lambda task, ids: "got nonsense")
    with pytest.raises(AssertionError, match="right texts"):
        bench.time_verifier(SMALL, 50)
    assert bench.time_verifier(TaskConfig.of_kind("grammar")(), 50) is None


def test_a_step_on_a_cpu_bears_its_share_of_the_making(monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> None:
    """A block of 4 steps takes 2 s to be made on the task and none on biographies; a step takes 1 s on either."""
    monkeypatch.setattr(batches, "AHEAD_STEPS", 4)
    plain = bench.biographies(64)
    rows, advance = Copy.rows, Population.advance

    def slow(task: Copy, index_R: torch.Tensor, split: str, stream: int) -> object:
        seconds[0] += 2.0
        return rows(task, index_R, split, stream)

    def counted(population: Population) -> None:
        advance(population)
        seconds[0] += 1.0

    monkeypatch.setattr(Copy, "rows", slow)
    monkeypatch.setattr(Population, "advance", counted)
    ours, theirs = bench_training.time_few_steps((SMALL, dataclasses.replace(plain, people=50)), CASE, 3)
    assert ours == 2 * 64 / 1.5 and theirs == 2 * 64


def test_one_model_takes_turns_in_whole_blocks_of_every_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes a second of the fake clock on biographies, two on copies; every step reads rows of its task."""
    monkeypatch.setattr(batches, "AHEAD_STEPS", 3)
    plain, graph = dataclasses.replace(bench.biographies(64), people=50), DepoConfig(4, 2, 1, 1, 8, 2, 64)
    tasks: tuple[TaskConfig, ...] = (SMALL, graph, plain)
    built = {task: task.build() for task in tasks}
    clock, steps = [0.0], dict.fromkeys(tasks, 0)
    advance = Population.advance

    def counted(population: Population) -> None:
        step, task = population.step, population.batches._sources[0][0].config
        advance(population)
        inputs, targets, _ = population.batches.at(torch.tensor(step))
        rows = built[task].rows(torch.arange(2 * step, 2 * step + 2))
        assert inputs[0].equal(rows.inputs_RT) and targets[0].equal(rows.targets_RT), "in the memory of the first task"
        steps[task] += 1
        clock[0] += 2.0 if task == SMALL else 1.0

    monkeypatch.setattr(Population, "advance", counted)
    monkeypatch.setattr(bench_training.time, "perf_counter", lambda: clock[0])
    speeds = bench_training.time_one_model(tasks, CASE, torch.device("cpu"), 4.0)
    assert speeds == [64, 2 * 64, 2 * 64] and steps == dict.fromkeys(tasks, 12)


def test_on_a_gpu_tasks_with_such_rows_are_trained_on_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[TaskConfig, ...]] = []

    def timed(tasks: tuple[TaskConfig, ...], case: bench_training.Case, device: torch.device, seconds: float
              ) -> list[float]:  # fmt: skip
        asked.append(tasks)
        assert {case.rows} == {96 * 512 // task.row_tokens for task in tasks}
        assert max(len(task.vocabulary()) for task in tasks) <= case.model.vocab_size
        return [float(len(asked) + place) for place in range(len(tasks))]

    monkeypatch.setattr(bench, "time_one_model", timed)
    configs = [TaskConfig.of_kind(kind)() for kind in kinds() if not TaskConfig.of_kind(kind).file_fields]
    training = bench.Training(configs, torch.device("cuda"), 1.0)
    speeds = [training.of(config) for config in configs]
    assert sorted(map(repr, configs)) == sorted(repr(task) for tasks in asked for task in tasks[:-1])
    assert len(asked) < len(configs) / 2 and all(tasks[-1] == bench.biographies(tasks[0].row_tokens) for tasks in asked)
    for config, (ours, plain) in zip(configs, speeds, strict=True):
        number, tasks = next((n, tasks) for n, tasks in enumerate(asked, 1) if config in tasks[:-1])
        assert ours == number + tasks.index(config) and plain == number + len(tasks) - 1


@pytest.mark.parametrize("kind", [kind for kind in kinds() if not TaskConfig.of_kind(kind).file_fields])
def test_what_is_compared_differs_in_the_task_alone(kind: str) -> None:
    config = TaskConfig.of_kind(kind)()
    plain = bench.biographies(config.row_tokens)
    case = bench.case_for(config, "cuda")
    assert plain.row_tokens == config.row_tokens and (case.model.layers, case.model.width) == (2, 64)
    assert case.rows == 96 * 512 // config.row_tokens
    words = case.model.vocab_size
    assert words >= max(len(config.vocabulary()), len(plain.vocabulary())) and words % bench.VOCABULARY == 0


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_table_has_a_line_for_every_task_and_says_what_is_slow(
    device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(config: TaskConfig, seconds: float, texts: int, training: bench.Training) -> bench.Speeds:
        assert config.kind != "bioR", "it reads a file"
        slow = config.kind == "mano"
        return bench.Speeds(9e6 if slow else 11e6, 5e3 if slow else None, 1e6, 0.89 if slow else 0.91)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(bench, "measured", measured)
    bench.bench_tasks(quick=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + len(kinds())
    for line, kind in zip(lines[2:-1], kinds(), strict=True):
        assert line.lstrip().startswith(TaskConfig.of_kind(kind)().title)
    assert "not measured: by default there is no task.file" in lines[2 + kinds().index("bioR")]
    assert lines[2 + kinds().index("mano")].split()[-4:] == ["9.0", "5,000", "1", "0.890"]
    assert lines[2 + kinds().index("grammar")].split()[-4:] == ["11.0", "-", "1", "0.910"]
    below = "below: mano tokens, mano verified"  # a CPU's ratio is not judged
    assert lines[-1].endswith(below if device == "cpu" else f"{below}, mano ratio")
    with pytest.raises(UserError, match=r"unknown name 'mona'.*mano"):
        bench.bench_tasks(["mona"])


@pytest.mark.parametrize("kind", ["copy", "depo", "bioS"])
def test_a_line_is_measured(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Of a task on the device with a verifier, one on the host, and one without a verifier."""
    small, plain = example(kind, tmp_path), example("bioS", tmp_path)
    monkeypatch.setattr(batches, "AHEAD_STEPS", 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(bench, "case_for", lambda config, device: CASE)
    monkeypatch.setattr(bench, "biographies", lambda row_tokens: dataclasses.replace(plain, row_tokens=row_tokens))
    monkeypatch.setattr(TaskConfig, "of_kind", lambda kind: lambda: small)
    bench.bench_tasks([kind], quick=True)
    lines = capsys.readouterr().out.splitlines()
    numbers = lines[2].removeprefix(f"{small.title:>48}").replace(",", "").split()
    assert int(numbers[0]) == small.row_tokens and float(numbers[1]) > 0 and float(numbers[4]) > 0
    assert (numbers[2] == "-") == (kind == "bioS")
    assert lines[3].startswith("wanted at least: 10 M tokens/s, 10,000 verified/s, and on a GPU a ratio of 0.9; below")
