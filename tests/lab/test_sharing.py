"""Several processes share out training and measuring: in which order, on which GPU, and killed at any moment."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fakes import CPU, FakeMeasure, FakeTrainer, load, make_family, make_spec, make_specs
from killed import Killed
from sweeps import contents, done_times, operations  # noqa: F401 (a fixture)

from physlm.commands.options import choose_device
from physlm.config import content_hash
from physlm.errors import NotFiniteError, UserError
from physlm.lab import cost
from physlm.lab.executors import local
from physlm.lab.executors.contract import MOST_ON_A_GPU, Job, next_job
from physlm.lab.executors.local import Local, gpus_of, processes_a_gpu
from physlm.lab.planner import Population, plan, with_starts
from physlm.lab.remaining import populations_of
from physlm.lab.run import Run
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.training.config import RunSpec

MEASURES = ("first", "second")
FAMILY = make_family()


class HereProcess:
    """Stands for a process: does its job at once and here, where a test can see it and kill it."""

    begun: list[Population | RunSpec]  # by all of them, in order

    def __init__(self, context: object, place: tuple[object, ...]):
        self.job: Job | None = None
        self.connection, self._theirs = Pipe()

    def begin(self, do: Callable[[Any], None], job: Job) -> None:
        self.job = job
        self.begun.append(job.work)
        self._theirs.send(local.error_of(do, job.work))

    def answer(self) -> tuple[Job, Exception | None]:
        assert self.job is not None
        job, self.job = self.job, None
        return job, self.connection.recv()

    def nothing(self) -> None:
        """It was never started."""

    start = dismiss = kill = join = nothing


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Population | RunSpec]:
    """All jobs in the order in which they are begun; their processes are this one."""
    found: list[Population | RunSpec] = []
    monkeypatch.setattr(HereProcess, "begun", found, raising=False)
    monkeypatch.setattr(local, "_Process", HereProcess)
    return found


def shared_sweep(root: Path, specs: Sequence[RunSpec] = (), measures: Any = MEASURES, trainer: Any = None,
                 measure: Any = None, members: int = 2, processes: int = 2) -> list[Run]:  # fmt: skip
    return sweep(specs or make_specs(), measures, Store(root), CPU, members=members, processes=processes,
                 progress=False, train=trainer or FakeTrainer(), load=load, measure=measure or FakeMeasure())


# ---- the order


def test_what_others_wait_for_comes_first_then_measuring_then_training() -> None:
    plain, other, first = (Job(Population((make_spec(seed=seed),))) for seed in (7, 8, 1))
    tuned = Job(Population(tuple(FAMILY[:2])))  # begin with FAMILY[4], which is the run of ``first``
    assert first.gives == tuned.needs == frozenset(Job(FAMILY[4]).gives)
    measuring, needed = Job(make_spec(seed=9)), Job(FAMILY[4])
    order, waiting = [], [plain, measuring, other, tuned, needed]
    while (job := next_job(waiting, [])) is not None:
        waiting.remove(job)
        order.append(job)
    assert order == [needed, measuring, plain, other, tuned] and not waiting
    assert next_job([plain, measuring, first, tuned], []) == first, "a population that another waits for"
    assert next_job([tuned], [first]) is None and next_job([tuned], [needed]) is None, "not trained, not measured yet"
    assert next_job([tuned], [plain]) == tuned


def test_each_member_is_measured_by_a_job_of_its_own(tmp_path: Path, begun: list[Population | RunSpec]) -> None:
    trainer, measure = FakeTrainer(), FakeMeasure()
    runs = shared_sweep(tmp_path, FAMILY, trainer=trainer, measure=measure, members=16)
    assert all(run.has(MEASURES) for run in runs) and not list((tmp_path / "populations").iterdir())
    assert sorted(run.hash for run in runs) == sorted(
        h for work in begun if isinstance(work, RunSpec) for h in Job(work).gives), "not the start that none asked for"
    assert sum(isinstance(work, Population) for work in begun) == len(trainer.calls)
    trained: set[str] = set()
    for work in begun:
        if isinstance(work, RunSpec):
            assert Job(work).gives <= trained
        else:
            trained |= Job(work).gives
    for place, work in enumerate(begun):
        measured = {one for one in begun[:place] if isinstance(one, RunSpec)}
        starts = {spec.start for spec in work.members} if isinstance(work, Population) else set()
        assert starts & set(FAMILY) <= measured, "a start that is measured itself is so before others begin with it"
    assert len(measure.calls) == len(MEASURES) * len(runs) == len(set(measure.calls))


def test_runs_without_measures_lead_to_no_job(tmp_path: Path, begun: list[Population | RunSpec]) -> None:
    specs = make_specs()
    runs = shared_sweep(tmp_path, specs, {spec: MEASURES[: i % 2] for i, spec in enumerate(specs)})
    assert all(run.finished() for run in runs)
    assert {work for work in begun if isinstance(work, RunSpec)} == set(specs[1::2])


def test_a_run_waits_until_its_start_is_measured_and_diverges_with_it(
    tmp_path: Path, begun: list[Population | RunSpec]
) -> None:
    """As with one process: that what a measure reads is not finite is an end of the run, and of those after it."""

    def measure(name: str, run: Trained) -> list[Row]:
        if run.spec == FAMILY[4]:
            raise NotFiniteError("of the measure")
        return FakeMeasure()(name, run)

    left = []
    for processes in (1, 2):
        root, trainer = tmp_path / str(processes), FakeTrainer()
        runs = shared_sweep(root, FAMILY, trainer=trainer, measure=measure, members=1, processes=processes)
        assert [run.diverged() is not None for run in runs] == [True, True, False, False, True]
        left.append((contents(root), sorted(trainer.calls)))
    assert left[0] == left[1] and begun


# ---- one process and several


def test_two_processes_leave_what_one_leaves(tmp_path: Path, begun: list[Population | RunSpec]) -> None:
    """Of populations of one, which two processes do not group otherwise."""
    specs = [*make_specs(), *FAMILY]
    shared_sweep(tmp_path / "one", specs, members=1, processes=1)
    assert not begun
    shared_sweep(tmp_path / "two", specs, members=1, processes=2)
    assert begun and contents(tmp_path / "one") == contents(tmp_path / "two")


def test_one_process_measures_after_each_population_in_order(tmp_path: Path) -> None:
    events: list[str] = []

    class Trainer(FakeTrainer):
        def __call__(self, specs: Sequence[RunSpec], *args: Any, **kwargs: Any) -> Any:
            events.append(f"train {len(specs)}")
            return super().__call__(specs, *args, **kwargs)

    def measure(name: str, run: Trained) -> list[Row]:
        events.append(name)
        return FakeMeasure()(name, run)

    shared_sweep(tmp_path, trainer=Trainer(), measure=measure, processes=1)
    assert events == [*["train 2", *MEASURES * 2], *["train 1", *MEASURES], *["train 2", *MEASURES * 2]]


# ---- killed


@pytest.mark.parametrize(("specs", "asked"), [
    (make_specs()[:3], {spec: MEASURES for spec in make_specs()}),
    ([FAMILY[2], FAMILY[0], FAMILY[4]], {spec: MEASURES[: i % 2] for i, spec in enumerate(FAMILY, start=1)}),
])  # fmt: skip
def test_kill_at_every_moment(
    specs: list[RunSpec], asked: dict[RunSpec, tuple[str, ...]], tmp_path: Path, begun: list[Population | RunSpec],
    operations: list[int],  # noqa: F811
) -> None:
    """In populations of two that are noted down before, or what is left may be grouped otherwise."""
    def begin(root: Path) -> None:
        operations[:] = [-1, 0]
        for population in plan(with_starts(specs), [], 2):
            Store(root).open_population(population)

    begin(tmp_path / "whole")
    operations[:] = [-1, 0]
    shared_sweep(tmp_path / "whole", specs, asked)
    total, expected = operations[1], contents(tmp_path / "whole")
    assert total > 100 and any(isinstance(work, RunSpec) for work in begun)
    for moment in range(total):
        begin(root := tmp_path / str(moment))
        operations[:] = [moment, 0]
        with pytest.raises(Killed):
            shared_sweep(root, specs, asked)
        operations[:] = [-1, 0]
        before, trainer, measure = done_times(root), FakeTrainer(), FakeMeasure()
        had_models = {run.hash for run in map(Store(root).run, with_starts(specs)) if run.trained()}
        shared_sweep(root, specs, asked, trainer=trainer, measure=measure)
        assert contents(root) == expected, f"killed before operation {moment}"
        after = done_times(root)
        assert all(after[name] == at for name, at in before.items()), "a finished run was written again"
        assert all(not set(call) <= had_models for call in trainer.calls), "trained again for nothing"
        assert not {Path(name).name[-12:] for name in before} & {name for _, name in measure.calls}, "measured again"
        assert not list(root.rglob("*.tmp")) and not list((root / "populations").iterdir())


def test_an_error_while_measuring_is_raised_and_the_same_command_goes_on(
    tmp_path: Path, begun: list[Population | RunSpec]
) -> None:
    def measure(name: str, run: Trained) -> list[Row]:
        if run.spec == make_specs()[2]:
            raise UserError("no room")
        return FakeMeasure()(name, run)

    with pytest.raises(UserError, match="no room"):
        shared_sweep(tmp_path, measure=measure)
    assert not Store(tmp_path).run(make_specs()[2]).finished() and Store(tmp_path).run(make_specs()[2]).trained()
    trainer, again = FakeTrainer(), FakeMeasure()
    assert all(run.has(MEASURES) for run in shared_sweep(tmp_path, trainer=trainer, measure=again))
    assert {one for _, one in again.calls[: len(MEASURES)]} == {content_hash(make_specs()[2])}, "as it is, first"
    assert len(again.calls) < len(MEASURES) * len(make_specs()), "what was measured before is not measured again"
    assert not list((tmp_path / "populations").iterdir())


class Meeting:
    """A measure that two processes have to take at the same time: each leaves a file and waits for that of another."""

    def __init__(self, folder: Path, patience: float):
        self.folder, self.patience = folder, patience

    def __call__(self, name: str, run: Trained) -> list[Row]:
        (self.folder / str(os.getpid())).touch()
        end = time.monotonic() + self.patience
        while (met := len(list(self.folder.iterdir()))) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        return [Row(name, float(met), "1", 1, float(met), float(met))]


class Trainer:
    """A ``FakeTrainer`` that can be sent to a process."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return FakeTrainer()(*args, **kwargs)


def test_two_processes_measure_the_members_of_one_population_together(tmp_path: Path) -> None:
    specs, store, folder = make_specs()[:4:2], Store(tmp_path / "runs"), tmp_path / "met"
    folder.mkdir()
    store.open_population(Population(tuple(specs)))
    runs = shared_sweep(store.root, specs, ("met",), Trainer(), Meeting(folder, 120.0))
    assert [run.measures()["met"][0].value for run in runs] == [2.0, 2.0]
    assert not list((store.root / "populations").iterdir())


def test_processes_killed_while_measuring(tmp_path: Path) -> None:
    specs, store, folder = make_specs()[:4:2], Store(tmp_path / "runs"), tmp_path / "met"
    folder.mkdir()
    (folder / "first").touch()
    code = f"""
import sys
from pathlib import Path
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}
import test_sharing as t
if __name__ == "__main__":
    store = t.Store(Path({str(store.root)!r}))
    specs = t.make_specs()[:4:2]
    store.open_population(t.Population(tuple(specs)))
    t.shared_sweep(store.root, specs, ("met",), t.Trainer(), t.Sleeping(Path({str(folder)!r})))
"""
    (tmp_path / "main.py").write_text(code)
    process = subprocess.Popen([sys.executable, str(tmp_path / "main.py")], cwd=Path(__file__).parents[2])
    end = time.monotonic() + 120.0
    while len(list(folder.iterdir())) < 3 and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    runs = [store.run(spec) for spec in specs]
    assert all(run.trained() and not run.finished() for run in runs) and len(store.open_populations()) == 1
    trainer, measure = FakeTrainer(), FakeMeasure()
    shared_sweep(store.root, specs, ("met",), trainer, measure, processes=1)
    assert not trainer.calls and len(measure.calls) == 2 and all(run.finished() for run in runs)
    assert not list((store.root / "populations").iterdir())


class Sleeping(Meeting):
    """A measure that does not end."""

    def __init__(self, folder: Path):
        super().__init__(folder, 0.0)

    def __call__(self, name: str, run: Trained) -> list[Row]:
        super().__call__(name, run)
        time.sleep(600)
        raise AssertionError


# ---- GPUs


@pytest.mark.parametrize(("processes", "count", "seen", "names", "most"), [
    (2, 2, "", ["0", "1"], 1),
    (5, 2, "", ["0", "1", "0", "1", "0"], 3),
    (1, 4, "", ["0"], 1),
    (3, 1, "6", ["6", "6", "6"], 3),
    (4, 3, "GPU-a,GPU-b,GPU-c", ["GPU-a", "GPU-b", "GPU-c", "GPU-a"], 2),
])  # fmt: skip
def test_processes_share_gpus_and_their_memory(
    processes: int, count: int, seen: str, names: list[str], most: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = 80 * 2**30
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=memory))
    assert gpus_of(processes) == names and processes_a_gpu(processes) == most
    executor = Local(torch.device("cuda"), processes)
    assert executor.gpu_bytes() == memory // most and Local(CPU, processes).gpu_bytes() is None
    spec = RunSpec(make_spec().task, ModelConfig(layers=12, width=768), make_spec().train)
    fits = cost.members_in(memory // most, spec)
    assert fits > 1
    runs = [dataclasses.replace(spec, train=dataclasses.replace(spec.train, seed=seed)) for seed in range(2 * fits)]
    populations = populations_of(runs, Store(tmp_path), 10**6, 1, executor.gpu_bytes())
    assert [len(population.members) for population in populations] == [fits, fits]


@pytest.mark.parametrize(("processes", "gpus", "jobs", "line"), [
    (2, 4, 9, "using 2 of 4 GPUs seen; --processes 4 uses all"),
    (4, 4, 9, "using 4 of 4 GPUs seen"),
    (8, 4, 9, "using 4 of 4 GPUs seen, shared by 8 processes"),
    (8, 4, 3, "using 3 of 4 GPUs seen: there are 3 to be done at once"),
    (1, 1, 1, "using 1 of 1 GPU seen"),
    (8, 2, 5, "using 2 of 2 GPUs seen, shared by 5 processes"),
])  # fmt: skip
def test_a_line_says_how_many_gpus_of_those_seen_are_used(
    processes: int, gpus: int, jobs: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert Local(torch.device("cuda"), processes).using(jobs) == line


@pytest.mark.parametrize(("ranks", "line"), [
    (4, "using 4 of 4 GPUs seen, all for each run"),
    (2, "using 2 of 4 GPUs seen, all for each run; torchrun --nproc-per-node 4 uses all"),
    (1, "using 1 of 4 GPUs seen, all for each run; torchrun --nproc-per-node 4 uses all"),
])  # fmt: skip
def test_the_line_under_torchrun(ranks: int, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of runs is: they are trained one after another."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert Local(torch.device("cuda"), ranks=ranks).using(1) == line


def test_as_many_processes_as_gpus_can_serve_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for processes in (1, 2, 3, 2 * MOST_ON_A_GPU):
        assert choose_device("cuda", processes) == torch.device("cuda")
    with pytest.raises(UserError, match=r"--processes: got 33, but torch finds 2 GPUs here; expected at most 16 for"):
        choose_device(None, 33)
    assert choose_device("cpu", 33) == CPU
