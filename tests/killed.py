"""A sweep that is killed in the middle of training, with the real trainer, in this process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.measures.measure import AnyMeasure
from physlm.training import loop
from physlm.training.config import RunSpec

CPU = torch.device("cpu")
# where and how fast: what a repetition cannot repeat
VARYING = {"env.json", "timing.json", "measuring.json", ".lock"}


class Killed(BaseException):
    """Stands for kill -9: no ``except Exception`` sees it, and ``storage`` leaves its temporary files."""


def sweep_killed(specs: Sequence[RunSpec], measures: tuple[AnyMeasure, ...], root: Path) -> int:
    """Sweep until the first population has done more than half of its steps; the step of its last checkpoint."""
    saved, save = [], loop._save

    def save_and_die(population: Any, checkpoint: Path) -> None:
        save(population, checkpoint)
        saved.append(population.step)
        if population.step > population.steps // 2:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_save", save_and_die)
        patch.setattr(loop.train_population, "__kwdefaults__",
                      {**(loop.train_population.__kwdefaults__ or {}), "checkpoint_seconds": 0.0})
        with pytest.raises(Killed):
            sweep(list(specs), measures, Store(root), CPU, progress=False)
    assert 0 < saved[-1] < specs[0].steps and not list(root.glob("*/DONE"))
    return int(saved[-1])


def contents(root: Path) -> dict[str, bytes]:
    """Every file of the run folders that a repetition must repeat, bit for bit."""
    return {str(path.relative_to(root)): repeated(path) for path in sorted(root.rglob("*"))
            if path.is_file() and path.name not in VARYING and path.parent.parent == root}


def repeated(path: Path) -> bytes:
    """What a file holds, but for the times of a log."""
    if path.name != "metrics.jsonl":
        return path.read_bytes()
    lines = path.read_bytes().splitlines(keepends=True)
    assert all(line.endswith(b"\n") for line in lines)
    return b"".join(json.dumps(untimed(json.loads(line))).encode() + b"\n" for line in lines)


def untimed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of a log without what a repetition cannot repeat."""
    return {name: value for name, value in record.items() if name not in loop.TIMES}
