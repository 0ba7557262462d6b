"""Several processes do what one would do, in an order that suits them; a failure ends with its error."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import pytest
import torch

from physlm.config import override
from physlm.errors import UserError
from physlm.lab.planner import Population, plan, with_starts
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.lab.workers import Job, finish_jobs
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioSConfig
from physlm.training.config import RunSpec, TrainConfig

CPU = torch.device("cpu")
BASE = RunSpec(
    BioSConfig(people=6, texts=1, pool_size=3, entries_per_row=1, row_tokens=70),
    ModelConfig(layers=1, heads=1, width=8),
    TrainConfig(exposures=2, batch_rows=3, learning_rate=1e-2, warmup_steps=1, precision="float32"),
)
OTHER = override(BASE, ["model.width=16"])
TUNED = [dataclasses.replace(one, train=dataclasses.replace(one.train, seed=3), start=one) for one in (BASE, OTHER)]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*"))
            if path.is_file() and path.name not in ("env.json", "timing.json", ".lock")}


def test_two_processes_leave_what_one_leaves(tmp_path: Path) -> None:
    specs = [*TUNED, OTHER]
    for name, processes in (("one", 1), ("two", 2)):
        runs = sweep(specs, (), Store(tmp_path / name), CPU, processes=processes, progress=False)
        assert all(run.finished() for run in runs)
        # measured afterwards, as several claims are
        sweep(specs[2:], ("recall",), Store(tmp_path / name), CPU, processes=processes, progress=False)
    found = contents(tmp_path / "one")
    assert found == contents(tmp_path / "two") and len([name for name in found if name.endswith("DONE")]) == 4


def note(folder: Path, work: Population | RunSpec) -> None:
    """Stands for a job: leaves a file, and looks whether what it begins with has left one."""
    assert isinstance(work, Population)
    if work.members[0].train.seed == 99:
        raise UserError("this one fails")
    missing = [one for spec in work.members for one in spec.starts if not (folder / Population((one,)).name).exists()]
    (folder / work.name).write_text(f"{len(missing)}")


def test_no_job_starts_before_what_it_begins_with(tmp_path: Path) -> None:
    specs = with_starts([TUNED[0], dataclasses.replace(TUNED[0], start=TUNED[0]), TUNED[1]])
    jobs = [Job(population) for population in plan(specs, [], 1)]
    assert sorted(len(job.needs) for job in jobs) == [0, 0, 1, 1, 1]
    done = list(finish_jobs(jobs, partial(note, tmp_path), CPU, 2))
    assert sorted(map(hash, done)) == sorted(map(hash, jobs))
    assert {path.read_text() for path in tmp_path.iterdir()} == {"0"} and len(list(tmp_path.iterdir())) == 5


def test_an_error_is_raised_and_nothing_more_is_begun(tmp_path: Path) -> None:
    bad = override(BASE, ["train.seed=99"])
    jobs = [Job(Population((spec,))) for spec in (BASE, bad, dataclasses.replace(TUNED[0], start=bad))]
    with pytest.raises(UserError, match="this one fails"):
        list(finish_jobs(jobs, partial(note, tmp_path), CPU, 2))
    assert [path.name for path in tmp_path.iterdir()] == [jobs[0].work.name]  # type: ignore[union-attr]
