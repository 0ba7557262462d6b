"""Rows that the host makes: the same bits made ahead or not, errors where they belong, no thread stays."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from host_rows import Noise, makers, spec, wait_until

from physlm.errors import UserError
from physlm.tasks.igsm.config import FAMILIES, Chain, Retry
from physlm.tasks.igsm.config import Noise as Sentences
from physlm.tasks.rows import IGNORE, unpacked
from physlm.training import ahead, batches
from physlm.training.config import RunSpec
from physlm.training.loop import train_population
from physlm.training.step import Population

CPU = torch.device("cpu")
MEMBERS = [spec(), spec(seed=1), spec(), spec(task_seed=1)]  # three sources
MAIN = threading.current_thread().name


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Made ahead on the CPU too, in blocks of 4 steps (a member), 3 rows a call; no test leaves a thread."""
    monkeypatch.setitem(ahead.BESIDE, "cpu", True)
    monkeypatch.setattr(batches, "AHEAD_STEPS", 4)
    monkeypatch.setattr(ahead, "CHUNK_TOKENS", 3 * 13)
    monkeypatch.setattr(Noise, "calls", [])
    monkeypatch.setattr(Noise, "hook", staticmethod(lambda first: None))
    yield
    assert not makers()


def read(population: Population, step: int) -> list[torch.Tensor]:
    population.batches.prepare(step)
    return [x.clone() for x in population.batches.at(torch.tensor(step))]


def train(specs: list[RunSpec], checkpoint: Path, **more: Any) -> list[torch.Tensor]:
    arguments: dict[str, Any] = {"log": lambda line: None, "checkpoint_seconds": 0.0, "progress": False, **more}
    models = train_population(specs, CPU, checkpoint=checkpoint, **arguments)
    return [value for model in models for value in model.state_dict().values()]


def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(x.equal(y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("steps_at_once", [1, 4, 7])
def test_a_batch_is_a_pure_function_of_its_step(
    steps_at_once: int, causal: bool, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whichever order steps are asked for, and whatever is being made meanwhile."""
    monkeypatch.setattr(batches, "AHEAD_STEPS", steps_at_once)
    monkeypatch.setitem(ahead.BESIDE, "cpu", beside)
    members = [spec(causal=causal), spec(seed=1, causal=causal), spec(causal=causal), spec(task_seed=1, causal=causal)]
    population = Population(members, CPU)
    inputs, targets = population.sample(0, 30)
    assert inputs.shape == targets.shape == (30, 4, 4, 12) and not inputs[0].equal(inputs[1])
    assert (targets == IGNORE).any() and inputs.min() >= 0
    for step in (*range(20), 29, 3, 4, 28, 0, 0, 1):
        mine, wanted, scored = read(population, step)
        assert mine.equal(inputs[step]) and wanted.equal(targets[step])
        assert scored.equal((targets[step] != IGNORE).sum((1, 2)).float())
    population.close()
    assert equal(read(population, 5)[:2], [inputs[5], targets[5]]), "what is asked for later is made anew"
    population.close()


def test_the_next_block_is_made_while_this_one_is_read() -> None:
    population = Population(MEMBERS[:1], CPU)
    asked, gate = threading.Event(), threading.Event()

    def slow(first: int) -> None:
        if threading.current_thread().name != MAIN:
            asked.set()
            assert gate.wait(60.0)

    Noise.hook = staticmethod(slow)
    for step in range(4):
        population.advance()  # block 1 is not there yet: these do not wait for it
        assert step == 0 or asked.wait(60.0)
    gate.set()
    while population.step < 20:
        population.advance()
    names = {first // 16: name for name, first, _ in Noise.calls}
    assert names[0] == MAIN and all(names[block].startswith("rows-ahead") for block in range(1, 6))
    rows = [number for _, first, last in Noise.calls for number in range(first, last + 1)]
    assert sorted(rows) == sorted(set(rows)), "nothing is made twice"
    population.close()


def test_a_cpu_trains_without_a_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(batches, "AHEAD_STEPS", 4)
    monkeypatch.setattr(Noise, "calls", [])
    train(MEMBERS, tmp_path / "c")
    assert {name for name, _, _ in Noise.calls} == {MAIN}


@pytest.mark.parametrize("steps", [3, 4, 5, 30])
def test_nothing_is_made_beyond_the_last_block(steps: int, tmp_path: Path) -> None:
    train([spec(steps)], tmp_path / "c")
    assert max(last for _, _, last in Noise.calls) == -(-steps // 4) * 16 - 1
    assert sum(last - first + 1 for _, first, last in Noise.calls) == -(-steps // 4) * 16


def test_training_ends_with_the_same_bits_made_ahead_or_not_killed_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(MEMBERS, tmp_path / "whole")

    def die(line: dict[str, Any]) -> None:
        if line["step"] == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(MEMBERS, tmp_path / "cut", log=die)
    assert not makers()
    assert equal(train(MEMBERS, tmp_path / "cut"), whole)
    monkeypatch.setitem(ahead.BESIDE, "cpu", False)
    assert equal(train(MEMBERS, tmp_path / "alone"), whole)
    assert not equal(train([*MEMBERS[:3], spec(task_seed=2)], tmp_path / "other"), whole)


@pytest.mark.parametrize("error", [UserError("task.words: got 7, expected 8"), ZeroDivisionError("a bug")])
def test_an_error_is_raised_at_the_step_that_it_belongs_to(error: Exception, tmp_path: Path) -> None:
    """The steps before it are done; whoever goes on from there meets it again."""

    def fail(first: int) -> None:
        if first >= 32:
            raise error

    Noise.hook = staticmethod(fail)
    steps: list[int] = []
    for _ in range(2):
        with pytest.raises(type(error), match=str(error)) as caught:
            train(MEMBERS[:2], tmp_path / "c", log=lambda line: steps.append(line["step"]))
        assert caught.value is error and not makers()
    assert steps == [step for step in range(1, 9) for _ in range(2)], "8 steps are 32 rows; then none is left to do"
    population = Population(MEMBERS[:2], CPU)
    population.batches.prepare(7)
    for _ in range(2):
        with pytest.raises(type(error), match=str(error)):
            population.batches.prepare(8)
    Noise.hook = staticmethod(lambda first: None)
    assert read(population, 8)[0].equal(population.sample(8)[0][0])
    population.close()


@pytest.mark.parametrize("beside", [True, False])
def test_anything_is_made_ahead_in_order(beside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ahead.BESIDE, "cpu", beside)
    made_by = []

    def make(block: int) -> Iterator[tuple[int, int]]:
        for place in range(block + 1):
            made_by.append(threading.current_thread().name)
            yield block, place

    found = list(ahead.each(make, 5, CPU))
    assert found == [(block, place) for block in range(5) for place in range(block + 1)] and not makers()
    assert len(made_by) == len(found) and all(name.startswith("rows-ahead") == beside for name in made_by)


def test_a_block_is_made_while_the_one_before_is_used() -> None:
    """And no more than one."""
    begun: list[int] = []

    def make(block: int) -> list[int]:
        begun.append(block)
        return [block]

    def reached(due: int) -> bool:
        return len(begun) >= due

    blocks = ahead.each(make, 4, CPU)
    for block in range(4):
        assert next(blocks) == block
        due = min(block + 2, 4)
        wait_until(partial(reached, due))
        assert len(begun) == due
    assert not list(blocks) and not makers()


@pytest.mark.parametrize("beside", [True, False])
def test_an_error_of_what_is_made_ahead_is_raised_where_its_block_is_due(
    beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ahead.BESIDE, "cpu", beside)

    def make(block: int) -> list[int]:
        if block == 2:
            raise ZeroDivisionError("a bug")
        return [2 * block, 2 * block + 1]

    made = ahead.each(make, 9, CPU)
    assert list(islice(made, 4)) == [0, 1, 2, 3]
    with pytest.raises(ZeroDivisionError, match="a bug"):
        next(made)
    assert not makers()


def test_whoever_leaves_early_waits_for_one_thing_at_most() -> None:
    gate, made = threading.Event(), []

    def make(block: int) -> Iterator[int]:
        for place in range(10):
            if block:
                gate.wait(60.0)
            made.append((block, place))
            yield place

    blocks = ahead.each(make, 3, CPU)
    assert next(blocks) == 0 and len(makers()) == 1
    (making,) = makers()
    closing = threading.Thread(target=blocks.close)
    closing.start()
    assert isinstance(making, ahead._Making) and making.stop.wait(60.0)
    gate.set()
    closing.join(60.0)
    assert not closing.is_alive() and not makers() and made[10:] == [(1, 0)]


def test_an_error_of_a_block_that_nobody_asks_for_is_nobodys() -> None:
    def fail(first: int) -> None:
        if first >= 16:
            raise UserError("too far")

    Noise.hook = staticmethod(fail)
    population = Population(MEMBERS[:1], CPU)
    seen = [read(population, step)[0] for step in range(4)]
    wait_until(lambda: any(first >= 16 for _, first, _ in Noise.calls))
    population.close()
    assert len(seen) == 4 and not makers(), "what was asked for was there, and closing raised nothing"


def test_who_closes_waits_for_one_call_at_most() -> None:
    gate = threading.Event()

    def slow(first: int) -> None:
        if threading.current_thread().name != MAIN:
            gate.wait(60.0)

    Noise.hook = staticmethod(slow)
    population = Population(MEMBERS, CPU)
    population.batches.prepare(0)
    wait_until(lambda: Noise.calls[-1][0] != MAIN)
    begun = population.batches._blocks._begun if population.batches._blocks else None
    assert begun is not None
    closing = threading.Thread(target=population.close)
    closing.start()
    assert begun.stop.wait(60.0)
    gate.set()
    closing.join(60.0)
    assert not closing.is_alive() and not makers()
    assert sum(name != MAIN for name, _, _ in Noise.calls) == 1, "of 18 calls of a block"


def test_ctrl_c_while_training_waits_for_rows(tmp_path: Path) -> None:
    """The signal comes from the thread that the main one waits for."""

    def interrupt(first: int) -> None:
        if first == 16:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)

    Noise.hook = staticmethod(interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(MEMBERS[:1], tmp_path / "c")
    assert not makers() and max(last for _, _, last in Noise.calls) < 31, "the block was given up"


@pytest.mark.parametrize(("words", "dtype"), [(50, torch.int16), (1 << 15, torch.int16), ((1 << 15) + 1, torch.int32)])
def test_blocks_are_as_narrow_as_the_vocabulary_allows(words: int, dtype: torch.dtype) -> None:
    population = Population([spec(words=words, seed=seed) for seed in (0, 1)], CPU)
    blocks = population.batches._blocks
    assert blocks is not None
    assert [b.held.dtype for b in blocks._buffers] == [dtype] * 2
    assert [tuple(b.held.shape) for b in blocks._buffers] == [(2, 16, 13)] * 2
    inputs, targets = population.sample(0, 8)
    assert inputs.max() > 0.9 * words
    for step in range(8):
        assert equal(read(population, step)[:2], [inputs[step], targets[step]])
    population.close()


def test_packed_tokens_are_widened_to_inputs_and_targets() -> None:
    packed_RW = torch.tensor([[5, ~7, 0, ~0, 32767, ~32767]], dtype=torch.int16)
    rows = unpacked(packed_RW)
    assert rows.inputs_RT.tolist() == [[5, 7, 0, 0, 32767]] and rows.inputs_RT.dtype == torch.long
    assert rows.targets_RT.tolist() == [[IGNORE, 0, IGNORE, 32767, IGNORE]] and rows.targets_RT.dtype == torch.long


@pytest.mark.parametrize("mask", ["none", "name", "start"])
def test_igsm_packs_the_kernels_rows(mask: Any) -> None:
    from physlm.tasks.igsm import kernel

    config = replace(FAMILIES["tiny"], retry=Retry(0.5, mask=mask))
    ids_RW, lost_RW = kernel.rows(config, np.arange(7, 12), "train", 3)
    rows = config.build().rows(torch.arange(7, 12), "train", 3)
    assert rows.inputs_RT.numpy().tolist() == ids_RW[:, :-1].tolist()
    lost_RT = lost_RW[:, 1:] > 0 if mask != "none" else np.zeros((5, 128), bool)
    assert rows.targets_RT.numpy().tolist() == np.where(lost_RT, IGNORE, ids_RW[:, 1:].astype(int)).tolist()
    assert lost_RT.any() == (mask != "none")
    packed_RW = config.build().host_rows(np.arange(7, 12), "train", 3)
    assert packed_RW.dtype == np.int16 and all(a.equal(b) for a, b in zip(
        unpacked(torch.from_numpy(packed_RW)), rows, strict=True))


def test_members_read_problems_of_their_own_kind() -> None:
    """What one member reads beside others is what it reads alone."""
    small = FAMILIES["small4"]
    tasks = (small, replace(small, op_mix="uniform"), replace(small, retry=Retry(0.5, mask="name")),
             replace(small, chain=Chain("sums")), replace(small, op=6, noise=Sentences("graph")))  # fmt: skip
    members = [replace(spec(20), task=task) for task in tasks]
    together, alone = Population(members, CPU), [Population([member], CPU) for member in members]
    seen = set()
    for step in (0, 7, 5):
        mine_, theirs_ = read(together, step), [read(one, step) for one in alone]
        for m, theirs in enumerate(theirs_):
            assert all(mine[m].equal(his[0]) for mine, his in zip(mine_, theirs, strict=True))
            seen.add(tuple(theirs[0].flatten().tolist()))
    assert len(seen) == 3 * len(members), "no two members read the same"
    for population in (together, *alone):
        population.close()
