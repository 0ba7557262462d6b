"""The sweep: brings every run of a list to its end, whatever happened to it before.

    for each population of the plan:  note its members -> train -> write all models -> close it
                                      for each member: measure -> DONE

Several processes share this out, each member's measuring by itself (``physlm.lab.workers``).

Runs that others begin with (``RunSpec.start``) are trained first, once, whoever begins with them; they are measured
only where they are asked for themselves.

A run has *diverged* when its last losses or its weights are not finite, or when what a measure reads of it is not.
That is an end like any other: it is written into the run's folder, no measure is taken, the sweep goes on, and the same
command does not train it again.  A run that begins with a diverged one is not trained and has diverged, too.

It may be killed at any moment and called again: finished runs are left alone, trained ones are only measured, and an
interrupted population goes on from its checkpoint and, on a CPU, ends with the same bits as if nothing had happened.
On a GPU the gradient of torch's attention over rows of 512 tokens is summed in no fixed order, so that two trainings
from one seed differ in their last bits, interrupted or not; after ``torch.use_deterministic_algorithms(True)`` torch
takes a slower attention, and they do not.  ``physlm.lab.store`` says which file proves what.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from physlm import storage
from physlm.config import content_hash
from physlm.errors import NotFiniteError, UserError
from physlm.lab import planner
from physlm.lab.cost import amount, members_in
from physlm.lab.env import environment
from physlm.lab.loading import load_model
from physlm.lab.planner import MAX_MEMBERS, Population
from physlm.lab.run import MetricsLog, Run
from physlm.lab.store import Store
from physlm.lab.trackers import NO_TRACKERS, TrackedLog, Trackers
from physlm.lab.workers import Job, finish_jobs, keep_bars_to_this_process, processes_a_gpu
from physlm.measures.measure import AnyMeasure, check, name_of, take
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.training.config import RunSpec

if TYPE_CHECKING:
    pass

Train = Callable[..., "Sequence[Any]"]
Load = Callable[[RunSpec, Path, torch.device], Any]
Take = Callable[..., "list[Row]"]


def sweep(
    specs: Sequence[RunSpec],
    measures: Sequence[AnyMeasure] | Mapping[RunSpec, Sequence[AnyMeasure]],
    store: Store,
    device: torch.device,
    *,
    members: int = MAX_MEMBERS,
    processes: int = 1,
    progress: bool = True,
    track: Trackers = NO_TRACKERS,
    train: Train | None = None,
    load: Load | None = None,
    measure: Take | None = None,
) -> list[Run]:
    """Train and measure what is not finished yet; return all runs, in the order of ``specs``.

    Args:
        specs: the runs; two equal ones are one run.  Those that they begin with are trained too, and not returned.
        measures: names in ``physlm.measures.MEASURES`` or objects, of all runs, or for each its own; a finished run
            that lacks one is measured, not trained.
        store: where the run folders are.
        device: to train and measure on.
        members: most runs that train together; on a GPU no more than its memory holds.
        processes: how many are at work at once; on CUDA each with a GPU, which several share where there are fewer.
        progress: show bars.
        track: trackers that get a copy of what is logged.
        train, load, measure: stand-ins for ``train_population``, ``load_model`` and ``measures.measure.take``, for
            tests.

    Raises:
        UserError: a measure that could not be taken (before any training), another sweep is at work in this store, a
            finished run is damaged, the disk is full, ...
            Whatever was finished stays finished.
    """
    runs = list({content_hash(spec): store.run(spec) for spec in specs}.values())
    asked = {run.hash: {name_of(one): one for one in (
        measures[run.spec] if isinstance(measures, Mapping) else measures)} for run in runs}
    worker = _Worker(
        asked, store, device, progress, train or _train_population, load or load_model, measure or take, track)
    if measure is None:
        for run in runs:
            for one in asked[run.hash].values():
                check(one, run.spec)
    complete = [run.has(asked[run.hash]) for run in runs]  # looks at all, so that damage is reported before any work
    if all(complete) and not store.finished_populations(specs):
        return runs
    for run, whole in zip(runs, complete, strict=True):
        if run.finished() and not whole:
            run.check_weights("a measure that was not taken yet needs it")
    _unfinished(runs, store)
    track.check()
    with store.lock():
        store.remove_leftovers(specs)
        _each(worker, [run.spec for run in runs if run.trained() and not run.has(asked[run.hash])], processes, "runs")
        todo = _unfinished(runs, store)
        for run in map(store.run, todo):
            if run.trained():  # a start whose sweep was killed before it wrote DONE
                worker.measure_run(run)
        populations = _plan([spec for spec in todo if not store.run(spec).finished()], store, members, processes,
                            _fits(device, processes))
        _each(worker, populations, processes, "populations")
        store.remove_leftovers(specs)
    return runs


def _each(worker: _Worker, works: Sequence[Population | RunSpec], processes: int, title: str) -> None:
    """Train the populations and measure their runs, or measure the runs, with a bar; ``title`` names them."""
    runs = sum(len(_members(work)) for work in works)
    if processes > 1 and runs > 1:
        _share_out(worker, works, min(processes, runs))
        return
    with tqdm(total=len(works), desc=title, unit=title[:-1], disable=None if worker.progress else True) as bar:
        for number, work in enumerate(works, start=1):
            bar.set_description(f"{title[:-1]} {number}/{len(works)}")
            if worker.progress:
                tqdm.write(f"{title[:-1]} {number}/{len(works)}: {describe(work)}")
            if isinstance(work, RunSpec):
                worker.measure_run(worker.store.run(work))
            else:
                worker.finish_population(work)
            _leave_gpu(worker)
            bar.update()


def _share_out(worker: _Worker, works: Sequence[Population | RunSpec], processes: int) -> None:
    """The same by several processes, with a bar over all runs; their parent alone closes populations."""
    keep_bars_to_this_process()
    specs = [spec for work in works for spec in _members(work)]
    bar = tqdm(total=len(specs), desc="runs", unit="run", disable=None if worker.progress else True)

    def then(job: Job) -> list[Job]:
        left = [] if isinstance(job.work, RunSpec) else worker.to_measure(job.work)
        bar.update(len(_members(job.work)) - len(left))
        if worker.progress:
            tqdm.write(f"{'measured' if isinstance(job.work, RunSpec) else 'trained'}: {describe(job.work)}")
        for population in worker.store.finished_populations(specs):
            if job.gives & set(population.hashes):  # others may be at work
                worker.store.close_population(population)
        return list(map(Job, left))

    jobs = finish_jobs(list(map(Job, works)), partial(_do, worker), worker.device, processes, then)
    with bar, _swept_away(worker.progress), contextlib.closing(jobs):
        for _ in jobs:
            pass


@contextlib.contextmanager
def _swept_away(shown: bool) -> Iterator[None]:
    """After an error, wipe the bars of processes that were killed: what is printed next begins a line of its own."""
    try:
        yield
    except BaseException:
        if shown:
            sys.stderr.write("\r\033[J" if sys.stderr.isatty() else "\n")
        raise


def _do(worker: _Worker, work: Population | RunSpec) -> None:
    """One job, in one of several processes."""
    if isinstance(work, RunSpec):
        worker.measure_run(worker.store.run(work))
    else:
        worker.train_population(work)
        asked = set(worker.to_measure(work))
        for run in map(worker.store.run, work.members):
            if run.spec not in asked and not run.finished():
                worker.measure_run(run)
    _leave_gpu(worker)


def _leave_gpu(worker: _Worker) -> None:
    """Other processes of this sweep may be next on the same GPU, or share it."""
    if worker.device.type == "cuda":
        torch.cuda.empty_cache()


def _members(work: Population | RunSpec) -> tuple[RunSpec, ...]:
    return (work,) if isinstance(work, RunSpec) else work.members


def describe(work: Population | RunSpec) -> str:
    """One line about a population or a run: its size, task, model, exposures and tokens."""
    members = _members(work)
    spec, count = members[0], len(members)
    return f"{count} x {spec.title}, {amount(count * spec.tokens)} tokens"


@dataclass(frozen=True)
class _Worker:
    """What all populations of one sweep share."""

    asked: Mapping[str, Mapping[str, AnyMeasure]]  # measures by the hashes of the runs to measure, and by name
    store: Store
    device: torch.device
    progress: bool
    train: Train
    load: Load
    measure: Take
    track: Trackers

    def finish_population(self, population: Population) -> None:
        """Train a population, then measure every member and close the population."""
        trained = self.train_population(population)
        if trained is None:
            return
        for run in map(self.store.run, trained.members):
            if not run.finished():
                self.measure_run(run)
        self.store.close_population(trained)

    def train_population(self, population: Population) -> Population | None:
        """Train a population and write every model.

        Returns:
            The population without the members that begin with a diverged run, which are finished; None if all do.
        """
        members = tuple(spec for spec in population.members if not self._finish_without_start(spec))
        if not members:
            return None
        population = Population(members)
        runs = {i: self.store.run(spec) for i, spec in enumerate(members)}
        # A member with a model is left as it is: it trains along only because it did so before.
        unfinished = {i: run for i, run in runs.items() if not run.trained()}
        self.store.open_population(population)
        if any(run.spec.snapshot_steps and not run.path.exists() for run in unfinished.values()):
            # its folder was deleted, and with it weights along the way that come before the checkpoint
            storage.remove(self.store.checkpoint(population))
        for run in unfinished.values():
            run.start(environment(self.device.type, run.spec.train.precision))
        self._train_models(population, unfinished)
        return population

    def to_measure(self, population: Population) -> list[RunSpec]:
        """The members of a trained population that lack measures."""
        return [run.spec for run in map(self.store.run, population.members)
                if not run.finished() and run.diverged() is None and self.missing(run)]

    def missing(self, run: Run) -> dict[str, AnyMeasure]:
        """The measures that a run was asked for and lacks, by name."""
        taken = run.measures()
        return {name: one for name, one in self.asked.get(run.hash, {}).items() if name not in taken}

    def _finish_without_start(self, spec: RunSpec) -> bool:
        """Whether a run begins with one that diverged; it has then diverged itself, and is finished."""
        start, run = spec.start, self.store.run(spec)
        if start is None or self.store.run(start).diverged() is None:
            return False
        if not run.trained():
            run.start(environment(self.device.type, spec.train.precision))
            self._give_up(run, f"it begins with {self.store.run(start).name}, which diverged")
        run.finish()
        return True

    def _give_up(self, run: Run, reason: str) -> None:
        run.write_diverged(reason)
        if self.progress:
            tqdm.write(f"diverged: {run.name}: {reason}")

    def measure_run(self, run: Run) -> None:
        """Take the measures that a trained run lacks, then declare it finished.

        A run that others begin with, that only trained along, or that diverged has none to take.
        """
        if run.diverged() is None:
            try:
                self._measure(run)
            except NotFiniteError as error:
                self._give_up(run, str(error))
        run.finish()

    def _measure(self, run: Run) -> None:
        if missing := self.missing(run):
            trained = Trained(run.spec, self.device, lambda step: self._weights(run, step), self.progress,
                              self._load_start(run))
            for name, one in missing.items():
                start = time.perf_counter()
                try:
                    rows = self.measure(one, trained)
                except torch.cuda.OutOfMemoryError as error:
                    raise UserError(f"the GPU has too little memory to take the measure {name} of {run.name}, whose "
                                    "weights are kept; give the same command again when others have left it") from error
                run.keep_seconds(name, time.perf_counter() - start)  # before the rows, which end it
                run.add_measure(name, rows)

    def _weights(self, run: Run, step: int) -> Any:
        return self.load(run.spec, run.weights_path(step), self.device)

    def _load_start(self, run: Run) -> Callable[[], Any] | None:
        """What reads the weights that a run begins with, if they are there: a finished run does not need them."""
        start = run.spec.start
        if start is None or not self.store.run(start).model_path.exists():
            return None
        return lambda: self.load(start, self.store.run(start).model_path, self.device)

    def _initial(self, population: Population) -> list[Any]:
        """The weights that each member begins with, on the CPU; None where they are random."""
        starts = {content_hash(spec.start): spec.start for spec in population.members if spec.start is not None}
        states = {
            name: self.load(start, self.store.run(start).model_path, torch.device("cpu")).state_dict()
            for name, start in starts.items()
        }
        return [None if spec.start is None else states[content_hash(spec.start)] for spec in population.members]

    def _train_models(self, population: Population, unfinished: dict[int, Run]) -> None:
        checkpoint = self.store.checkpoint(population)
        metrics, tracked = MetricsLog(unfinished), TrackedLog(self.track, unfinished)
        if not checkpoint.exists():
            metrics.rewind(-1)
        metrics.first_step = metrics.last_step = 0
        start = time.perf_counter()

        def log(record: Mapping[str, Any]) -> None:
            metrics.log(record)
            tracked.log(record)

        def snapshot(step: int, models: Sequence[Any]) -> None:
            for i, run in unfinished.items():
                run.write_snapshot(step, models[i].state_dict())

        try:
            models = self.train(
                population.members, self.device, checkpoint=checkpoint, log=log, rewind=metrics.rewind,
                snapshot=snapshot, initial=self._initial(population), progress=self.progress,
            )
        except torch.cuda.OutOfMemoryError as error:
            raise UserError(f"the GPU has too little memory for {describe(population)}; expected fewer members, give "
                            f"--members {max(1, len(population.members) // 2)}, or fewer --processes where they share "
                            "a GPU") from error
        finally:
            metrics.close()
            tracked.close()
        timing = _timing(population, metrics.first_step, metrics.last_step, time.perf_counter() - start)
        for i, run in unfinished.items():
            run.write_timing(timing)
            state = models[i].state_dict()
            if (reason := _why_diverged(run, state)) is None:
                run.write_model(state)
            else:
                self._give_up(run, reason)


def _why_diverged(run: Run, state: Mapping[str, torch.Tensor]) -> str | None:
    """Why a run whose training is over has diverged; None if its last losses and its weights are finite."""
    if (lost := run.loss_lost_at()) is not None:
        return f"its loss is not finite from step {lost:,} of {run.spec.steps:,} on"
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        return f"its weights are not finite after its last step, {run.spec.steps:,}"
    return None


def _unfinished(runs: Sequence[Run], store: Store) -> list[RunSpec]:
    """What is not finished of the runs and of those that they begin with.

    Raises:
        UserError: what ``Run.finished`` raises, and where weights that one of them begins with were removed.
    """
    todo = [run.spec for run in runs if not run.finished()]
    todo = planner.with_starts(todo, lambda spec: store.run(spec).finished())
    for run in (store.run(spec) for spec in todo):
        if run.spec.start is not None and not run.trained() and (start := store.run(run.spec.start)).finished():
            start.check_weights(f"{run.name} begins with it")
    return todo


def _fits(device: torch.device, processes: int) -> Callable[[RunSpec], int] | None:
    """How many runs like a given one a process has GPU memory for; None on the CPU, which swaps rather than fails.

    Processes that share a GPU have equal parts of its memory.
    """
    if device.type != "cuda":
        return None
    memory = torch.cuda.get_device_properties(device).total_memory
    return partial(members_in, memory // processes_a_gpu(processes))


def _plan(todo: Sequence[RunSpec], store: Store, members: int, parts: int,
          fits: Callable[[RunSpec], int] | None) -> list[Population]:
    """The populations to train, with those that give the weights that a resumed population begins with."""
    interrupted = _interrupted(store, todo, members)
    while True:
        populations = planner.plan(todo, interrupted, members, parts, fits)
        planned = [spec for population in populations for spec in population.members]
        missing = planner.with_starts(planned, lambda spec: store.run(spec).finished())
        missing = [spec for spec in missing if spec not in planned]
        if not missing:
            return populations
        todo = [*todo, *missing]


def _interrupted(store: Store, todo: Sequence[RunSpec], members: int) -> list[Population]:
    """Populations to resume.  One that never reached a checkpoint and has become too large is grouped anew."""
    found = []
    for population in store.open_populations(todo):
        if len(population.members) > members and not store.checkpoint(population).exists():
            store.close_population(population)
        else:
            found.append(population)
    return found


def _timing(population: Population, first_step: int, last_step: int, seconds: float) -> dict[str, Any]:
    """How fast the last part of the training was; ``first_step`` > 0 says that it resumed."""
    spec = population.members[0]
    tokens = len(population.members) * spec.tokens * (last_step - first_step) / spec.steps
    return {"seconds": seconds, "first_step": first_step, "last_step": last_step, "members": len(population.members),
            "tokens_per_second_all_members": tokens / seconds if seconds > 0 else None}


def _train_population(*args: Any, **kwargs: Any) -> Sequence[Any]:
    from physlm.training.loop import train_population

    return train_population(*args, **kwargs)
