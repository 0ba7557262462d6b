"""What bench igsm measures is what it says it measures."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from physlm.lab import bench_igsm as bench
from physlm.models.config import ModelConfig
from physlm.tasks.igsm.config import FAMILIES
from physlm.training import batches
from physlm.training.step import Population

CPU = torch.device("cpu")
TINY = FAMILIES["tiny"]
SMALL = bench.Case(ModelConfig(layers=1, heads=1, width=8, vocab_size=bench.VOCABULARY), rows=2)
BIOGRAPHIES = replace(bench.BIOGRAPHIES, people=50, row_tokens=TINY.row_tokens)


def test_problems_and_tokens_are_counted_together() -> None:
    problems, tokens = bench.time_problems(TINY, 2, 0.01)
    lengths_N = [len(text.ids) for text in TINY.build().texts(torch.arange(200), "train")]
    assert tokens / problems == pytest.approx(sum(lengths_N) / 200, rel=0.1)
    assert bench.time_checker(TINY, 20) > 0


def test_training_is_timed_in_whole_blocks_of_both_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes a second of the fake clock on problems, half of one on biographies."""
    monkeypatch.setattr(batches, "AHEAD_STEPS", 3)
    clock, steps = [0.0], {TINY: 0, BIOGRAPHIES: 0}
    advance = Population.advance

    def counted(population: Population) -> None:
        task = population.spec.task
        assert isinstance(task, type(TINY) | type(BIOGRAPHIES))
        steps[task] += 1
        clock[0] += 1.0 if task == TINY else 0.5
        advance(population)

    monkeypatch.setattr(Population, "advance", counted)
    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])
    ours, plain = bench.time_training((TINY, BIOGRAPHIES), SMALL, CPU, 4.0)
    assert ours == 2 * TINY.row_tokens and plain == 2 * ours
    assert steps == {TINY: 18, BIOGRAPHIES: 18}, "turns of 3 + 3 steps, 4 s of the latter at half a second a step"


def test_a_block_that_was_made_in_the_turn_of_the_other_task_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 3 steps take 6 s to be made ahead and 3 s to be trained on: training goes at half its speed."""
    monkeypatch.setattr(batches, "AHEAD_STEPS", 3)
    clock, made_at = [0.0], dict[int, float]()
    advance, prepare = Population.advance, batches.Batches.prepare

    def counted(population: Population) -> None:
        clock[0] += 1.0
        advance(population)

    def waits(rows: batches.Batches, step: int) -> None:
        """As for a thread that begins the next block when this one is taken."""
        if step % 3 == 0 and rows._sources[0][0].config == TINY:
            clock[0] = max(clock[0], made_at.get(step, 0.0))
            made_at[step + 3] = clock[0] + 6.0
        prepare(rows, step)

    monkeypatch.setattr(Population, "advance", counted)
    monkeypatch.setattr(batches.Batches, "prepare", waits)
    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])
    ours, plain = bench.time_training((TINY, BIOGRAPHIES), SMALL, CPU, 4.0)
    assert ours == pytest.approx(plain / 2)


def test_what_is_compared_differs_in_the_task_alone() -> None:
    assert bench.TRAINED.row_tokens == bench.BIOGRAPHIES.row_tokens
    case = bench.CASES["cuda"]
    assert (case.model.layers, case.model.width) == (4, 128) and case.rows * bench.TRAINED.row_tokens == 96 * 512
    for task in (bench.TRAINED, bench.BIOGRAPHIES):
        assert len(task.vocabulary()) <= bench.VOCABULARY


def test_the_table_has_a_line_for_every_family_and_one_for_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(batches, "AHEAD_STEPS", 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(bench.CASES, "cpu", SMALL)
    monkeypatch.setattr(bench, "TRAINED", TINY)
    monkeypatch.setattr(bench, "BIOGRAPHIES", BIOGRAPHIES)
    bench.bench_igsm(quick=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == [*bench.SHOWN, "training"]
    for line in lines[2:5]:
        one, tokens, every, _, checked = (float(number.replace(",", "")) for number in line.split()[1:])
        assert 20 * one < tokens * 1e6 < 1000 * one and every > 0 and checked > 0
    found = re.search(r"1 x 8, 2 x 128 tokens.*: (\S+) M tokens/s, on biographies (\S+); ratio (\S+), wanted", lines[5])
    assert found is not None
    assert float(found[3]) == pytest.approx(float(found[1]) / float(found[2]), rel=0.02)
