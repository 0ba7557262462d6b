"""The contract of executors: what is lost is begun again, orders reach only those who see the same folders."""

from __future__ import annotations

import dataclasses
import importlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import apart
import pytest
import torch
from fakes import make_family, make_spec

from physlm.commands.executing import Where
from physlm.errors import LostProcessError, UserError
from physlm.lab.executors import remote
from physlm.lab.executors.contract import MOST_LOST, Job, finish_jobs
from physlm.lab.executors.ray import Ray, check_answers
from physlm.lab.executors.remote import Order, carry_out
from physlm.lab.planner import Population, plan, with_starts
from physlm.lab.store import Store
from physlm.training.config import RunSpec

ROOT = Path(__file__).parents[2]


class Losing:
    """A crew of two that loses each job as often as it is told to, and remembers what it began."""

    def __init__(self, losses: dict[Job, int]):
        self.losses, self.begun = losses, list[Job]()
        self.working: list[Job] = []

    @property
    def free(self) -> int:
        return 2 - len(self.working)

    def begin(self, job: Job) -> None:
        assert self.free
        self.begun.append(job)
        self.working.append(job)

    def ended(self) -> Iterator[tuple[Job, Exception | None]]:
        job = self.working.pop(0)
        self.losses[job] = left = self.losses.get(job, 0) - 1
        yield job, None if left < 0 else LostProcessError(f"lost, {left} to come")


def jobs_of_family() -> list[Job]:
    return [Job(population) for population in plan(with_starts(make_family()), [], 1)]


def test_a_lost_job_is_begun_again_before_what_begins_with_it() -> None:
    jobs = jobs_of_family()
    needed = next(job for job in jobs if any(job.gives & other.needs for other in jobs))
    crew, said = Losing({needed: MOST_LOST}), list[str]()
    done = list(finish_jobs(jobs, crew, lost=lambda job, why: said.append(why)))
    assert sorted(map(hash, done)) == sorted(map(hash, jobs)) and crew.begun.count(needed) == 1 + MOST_LOST
    assert said == [f"lost, {left} to come" for left in reversed(range(MOST_LOST))]
    waiting = [place for place, job in enumerate(crew.begun) if job.needs & needed.gives]
    assert min(waiting) > max(place for place, job in enumerate(crew.begun) if job == needed)


def test_what_is_lost_each_time_ends_the_sweep_with_its_error() -> None:
    jobs = jobs_of_family()
    crew = Losing({jobs[0]: 1 + MOST_LOST})
    with pytest.raises(LostProcessError, match="lost, 0 to come"):
        list(finish_jobs(jobs, crew))
    assert not crew.working and crew.begun.count(jobs[0]) == 1 + MOST_LOST


def test_a_job_that_fails_is_told_at_once_and_what_is_at_work_still_ends() -> None:
    jobs = jobs_of_family()
    crew, told, done = Losing({jobs[0]: 1 + MOST_LOST}), list[tuple[Job, str, int, int]](), list[Job]()

    def failing(job: Job, error: Exception, working: int) -> None:
        told.append((job, str(error), working, len(done)))

    with pytest.raises(LostProcessError):
        done.extend(finish_jobs(jobs, crew, failing=failing))
    ((job, error, working, before),) = told
    assert (job, error) == (jobs[0], "lost, 0 to come") and len(done) == before + working < len(jobs)


# ---- orders


def leave_a_file(folder: Path, work: Population | RunSpec) -> None:
    """Stands for a job."""
    if isinstance(work, Population):
        raise UserError("this one fails")
    (folder / "done").write_text(f"{Path.cwd()} {work.slug}")


def test_an_order_is_carried_out_where_the_sweep_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    store, do = Store(Path("runs")), partial(leave_a_file, tmp_path)
    with store.lock():
        order = Order.of(do, make_spec(), store.root, None, watch=True)
        failing = Order.of(do, Population((make_spec(),)), store.root, None, watch=False)
        monkeypatch.chdir(tmp_path)
        assert carry_out(order) is None
        assert (tmp_path / "done").read_text() == f"{here} {make_spec().slug}"
        error = carry_out(failing)
        assert isinstance(error, UserError) and str(error) == "this one fails"


def test_a_machine_that_sees_other_folders_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    do = partial(leave_a_file, tmp_path)
    with Store(tmp_path / "runs").lock():
        order = Order.of(do, make_spec(), tmp_path / "runs", None, watch=False)
        other = dataclasses.replace(order, root=tmp_path / "other")
        missing = carry_out(other)
        assert isinstance(missing, UserError) and "has no such folder; expected folders that all" in str(missing)
        with Store(tmp_path / "other").lock():  # as of a sweep on a machine that shares nothing
            refused = carry_out(other)
    assert isinstance(refused, UserError) and "this is another folder than the one of the sweep" in str(refused)
    assert "--shard" in str(refused) and not (tmp_path / "done").exists()


def test_a_worker_ends_when_the_lock_of_its_sweep_is_gone(tmp_path: Path) -> None:
    code = ("import sys, threading; from pathlib import Path\n"
            "from physlm.lab.executors.remote import _end_with_sweep\nfrom physlm.lab.store import Store\n"
            f"store = Store(Path({str(tmp_path)!r}))\nprint(store.locked(), flush=True)\n"
            "_end_with_sweep(store, store.mark(), threading.Event())\n")
    with Store(tmp_path).lock():
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None and process.stdout.readline() == "True\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3 * remote.WATCH_SECONDS)
    assert process.wait(apart.LONG) == 1
    process.stdout.close()


# ---- as users ask for them


def test_two_processes_have_the_measures_and_weights_of_one(tmp_path: Path) -> None:
    for processes in (1, 2):
        apart.run("p33_capacity", tmp_path / str(processes), "--processes", str(processes))
    one = apart.found(tmp_path / "1")
    assert len(one) == 8 * len(apart.KEPT) and apart.found(tmp_path / "2") == one


@pytest.mark.parametrize(("where", "message"), [
    (Where("slrum", None, None, None, ()), "--executor: unknown name 'slrum'; did you mean 'slurm'"),
    (Where("local", None, None, "auto", ()), "--ray-address: got it with --executor local, expected --executor ray"),
    (Where("ray", None, None, None, ("time=5",)), "--slurm: got it with --executor ray, expected --executor slurm"),
    (Where("slurm", None, None, None, ("time",)), "--slurm: got 'time', expected KEY=VALUE"),
    (Where("local", None, None, None, (), shard="3/2"), "--shard: got '3/2', expected I/N"),
    (Where("local", None, None, None, (), shard="1/2", trains=False), "--shard: got it with --finished-only"),
    (Where("local", None, None, None, (), track=("wandb",), trains=False), "--track: got it with --finished-only"),
    (Where("local", None, None, None, (), track_dir=Path("curves")), "--track-dir: got it without --track"),
    (Where("local", None, None, None, (), track=("wendb",)), "unknown name 'wendb'; did you mean 'wandb'"),
    *((dataclasses.replace(Where("local", None, 1, None, (), data_parallel=True), **beside),
       "--data-parallel: got --processes, --executor, --shard or --finished-only beside it")
      for beside in ({"name": "ray"}, {"processes": 2}, {"shard": "1/2"}, {"trains": False})),
])  # fmt: skip
def test_options_that_contradict_themselves_are_refused(where: Where, message: str) -> None:
    with pytest.raises(UserError, match=message):
        where.check()


@pytest.mark.parametrize(("name", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_library_that_is_missing_is_named_with_its_install_line(
    name: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    importlib.invalidate_caches()
    with pytest.raises(UserError, match=rf"{library} is not installed.* pip install 'physlm\[{name}\]'"):
        Where(name, "cpu", None, None, ()).executor()


def test_tasks_of_ray_ask_for_their_share_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, float]] = []

    def remote(**options: float) -> Callable[[object], object]:
        asked.append(options)
        return lambda function: function

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(remote=remote))
    nodes = ({"CPU": 16.0, "GPU": 4.0}, {"CPU": 64.0})
    for device, processes, line in (
        ("cuda", 2, "using 2 of 4 GPUs seen; --processes 4 uses all"),
        ("cuda", 8, "using 4 of 4 GPUs seen, shared by 8 tasks"),
        ("cpu", 2, "2 tasks at once, of 32 CPUs each"),
    ):
        executor = Ray(torch.device(device), processes, 4, nodes, here=False)
        assert executor.using(9) == f"on Ray, 2 machines: {line}"
        executor._task(carry_out, executor._cpus(processes))
    assert [(one["num_gpus"], one["num_cpus"]) for one in asked] == [(1, 8), (0.5, 2), (0, 32)]


def test_make_passes_the_number_of_processes_on() -> None:
    done = subprocess.run(["make", "--no-print-directory", "capacity-sweep", "PROCESSES=8", "TIER=smoke", "STAMP=",
                           "PHYSLM=echo"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "run p33_capacity --tier smoke --processes 8"


@pytest.mark.parametrize("port", ["unused", "99999"])
def test_an_address_where_nobody_answers_is_refused_at_once(port: str) -> None:
    """Ray itself would ask there for more than ten minutes."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # nobody listens there
        address = f"127.0.0.1:{bound.getsockname()[1] if port == 'unused' else port}"
        with pytest.raises(UserError, match=f"--ray-address: nobody answers at '{address}'"):
            check_answers(address)
    check_answers("auto")
