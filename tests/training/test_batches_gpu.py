"""Rows that the host makes, on a GPU: what the CPU reads, however far the host is ahead of the device."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from host_rows import Noise, makers, spec

from physlm.training import ahead, batches
from physlm.training.config import RunSpec
from physlm.training.loop import train_population
from physlm.training.step import Population

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
MEMBERS = [spec(60), spec(60, seed=1), spec(60), spec(60, task_seed=1)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "AHEAD_STEPS", 4)
    monkeypatch.setattr(ahead, "CHUNK_TOKENS", 3 * 13)
    monkeypatch.setattr(Noise, "hook", staticmethod(lambda first: None))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("words", [50, 40_000])
def test_the_gpu_reads_what_the_cpu_reads_while_the_host_runs_ahead(words: int, causal: bool) -> None:
    """The device is held back before each step, so that copies are still to come when the next block is made; no
    buffer is written to before the copy out of it is done."""
    members = [spec(60, words=words, causal=causal), spec(60, words=words, seed=1, causal=causal)]
    population = Population(members, torch.device("cuda"))
    blocks, device_is_behind = population.batches._blocks, []
    assert blocks is not None and all(buffer.held.is_pinned() for buffer in blocks._buffers)

    def check(first: int) -> None:
        buffer = blocks._buffers[first // 16 % 2]
        assert buffer._read is not None and buffer._read.query(), "the device has yet to read this buffer"
        device_is_behind.append(not torch.cuda.current_stream().query())

    Noise.hook = staticmethod(check)
    load, seen = torch.ones(4096, 4096, device="cuda"), []
    for step in (*range(40), 3, 57, 4, 0):
        for _ in range(8):
            load @ load
        population.batches.prepare(step)
        seen.append((step, [x.clone() for x in population.batches.at(torch.tensor(step, device="cuda"))[:2]]))
    population.close()
    Noise.hook = staticmethod(lambda first: None)
    assert any(device_is_behind), "the control: the host was ahead"
    wanted = Population(members, torch.device("cpu")).sample(0, 60)
    for step, found in seen:
        assert all(mine.cpu().equal(theirs[step]) for mine, theirs in zip(found, wanted, strict=True)), step


def train(specs: list[RunSpec], checkpoint: Path, **more: Any) -> list[torch.Tensor]:
    arguments: dict[str, Any] = {"log": lambda line: None, "checkpoint_seconds": 0.0, "progress": False, **more}
    models = train_population(specs, torch.device("cuda"), checkpoint=checkpoint, **arguments)
    return [value for model in models for value in model.state_dict().values()]


def test_rows_are_made_while_the_step_is_recorded_and_training_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made beside or not, stopped or not."""
    made_by: set[str] = set()

    def slow(first: int) -> None:  # so slow that block 1 is in the making while the graph is recorded
        made_by.add(threading.current_thread().name)
        if 16 <= first < 32 and makers():
            time.sleep(0.5)

    Noise.hook = staticmethod(slow)
    whole = train(MEMBERS, tmp_path / "whole")
    assert any(name.startswith("rows-ahead") for name in made_by) and not makers()

    def die(line: dict[str, Any]) -> None:
        if line["step"] == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(MEMBERS, tmp_path / "cut", log=die)
    assert not makers()
    resumed = train(MEMBERS, tmp_path / "cut")
    monkeypatch.setitem(ahead.BESIDE, "cuda", False)
    alone = train(MEMBERS, tmp_path / "alone")
    for other in (resumed, alone):
        assert len(other) == len(whole) and all(a.equal(b) for a, b in zip(whole, other, strict=True))
