"""Sweeps of the fake trainer and measure, and what they leave."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import CPU, FakeMeasure, FakeTrainer, load, make_specs
from killed import VARYING, Killed, repeated

from physlm.lab.run import MetricsLog, Run
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.training.config import RunSpec

MEASURES = ("first", "second")


def run_sweep(root: Path, specs: list[RunSpec] | None = None, measures: tuple[str, ...] = MEASURES,
              trainer: FakeTrainer | None = None, measure: FakeMeasure | None = None, members: int = 2) -> list[Run]:
    return sweep(specs or make_specs(), measures, Store(root), CPU, members=members, progress=False,
                 train=trainer or FakeTrainer(), load=load, measure=measure or FakeMeasure())


def contents(root: Path) -> dict[str, bytes]:
    """Every file that a repetition must repeat, bit for bit."""
    return {str(path.relative_to(root)): repeated(path)
            for path in sorted(root.rglob("*")) if path.is_file() and path.name not in VARYING}


def done_times(root: Path) -> dict[str, int]:
    return {str(path.parent): path.stat().st_mtime_ns for path in root.glob("*/DONE")}


def interrupt_at(root: Path, specs: list[RunSpec], step: int = 5, members: int = 2) -> None:
    """A sweep that was killed after so many steps."""
    trainer = FakeTrainer()

    def kill(now: int) -> None:
        if now == step:
            raise Killed

    trainer.interrupt = kill
    with pytest.raises(Killed):
        run_sweep(root, specs, trainer=trainer, members=members)


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts everything that reaches the disk; dies before operation number ``operations[0]``."""
    state = [-1, 0]

    def guard(original: Callable[..., object], half: bool = False) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            state[1] += 1
            if state[1] - 1 == state[0]:
                if half and isinstance(args[0], MetricsLog):
                    original(*args, **kwargs)
                    file = args[0]._files.get(args[1]["member"])  # type: ignore[index]
                    if file is not None:
                        file.truncate(file.tell() - 5)  # the line was cut short
                raise Killed
            return original(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "fsync", guard(lambda handle: None))
    monkeypatch.setattr(os, "replace", guard(os.replace))
    monkeypatch.setattr(Path, "unlink", guard(Path.unlink))
    monkeypatch.setattr(MetricsLog, "log", guard(MetricsLog.log, half=True))
    return state
