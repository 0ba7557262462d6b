"""The sweep: brings every run of a list to its end, whatever happened to it before.

    for each population of the plan:  note its members -> train -> write all models -> close it
                                      for each member: measure -> DONE

Others than this process share this out, each member's measuring a job by itself (``physlm.lab.executors``).

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
import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from tqdm import tqdm

from physlm.config import content_hash
from physlm.errors import UserError
from physlm.lab.executors.contract import Executor, Job, finish_jobs
from physlm.lab.executors.local import Local, keep_bars_to_this_process
from physlm.lab.loading import load_model
from physlm.lab.planner import MAX_MEMBERS, Population
from physlm.lab.remaining import populations_of, unfinished
from physlm.lab.run import Run
from physlm.lab.store import Store
from physlm.lab.trackers import NO_TRACKERS, Trackers
from physlm.lab.worker import Load, Take, Train, Worker, describe, members_of, train_here
from physlm.measures.measure import AnyMeasure, check, name_of, take
from physlm.training.config import RunSpec

SEEN_SECONDS = 60.0  # until what another machine wrote to a shared folder must be seen here


def sweep(
    specs: Sequence[RunSpec],
    measures: Sequence[AnyMeasure] | Mapping[RunSpec, Sequence[AnyMeasure]],
    store: Store,
    device: torch.device,
    *,
    members: int = MAX_MEMBERS,
    processes: int = 1,
    executor: Executor | None = None,
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
        device: to train and measure on, where no ``executor`` says it.
        members: most runs that train together; on a GPU no more than its memory holds.
        processes: how many of this machine are at work at once, where no ``executor`` says it; on CUDA each with a GPU,
            which several share where there are fewer.
        executor: who does the jobs (``physlm.lab.executors``); None: processes of this machine.
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
    for run in runs:
        run.spec.check_positions()
    asked = {run.hash: {name_of(one): one for one in (
        measures[run.spec] if isinstance(measures, Mapping) else measures)} for run in runs}
    executor = executor or Local(device, processes)
    worker = Worker(asked, store, executor.device, progress, train or train_here, load or load_model,
                    measure or take, track)
    if measure is None:
        for run in runs:
            for one in asked[run.hash].values():
                check(one, run.spec)
    complete = [not worker.lacks(run) for run in runs]  # looks at all, so that damage is reported before any work
    if all(complete) and not store.finished_populations(specs):
        return runs
    for run, whole in zip(runs, complete, strict=True):
        if run.finished() and not whole:
            run.check_weights("a measure that was not taken yet needs it")
    unfinished(runs, store)
    track.check()
    with store.lock():
        _finish(runs, worker, executor, members)
    return runs


def _finish(runs: Sequence[Run], worker: Worker, executor: Executor, members: int) -> None:
    """Under the store's lock: measure what is trained, then train and measure the rest."""
    store, specs = worker.store, [run.spec for run in runs]
    store.remove_leftovers(specs)
    _each(worker, [run.spec for run in runs if run.trained() and worker.lacks(run)], executor, "runs")
    todo = unfinished(runs, store)
    for run in map(store.run, todo):
        if run.trained():  # a start whose sweep was killed before it wrote DONE
            worker.measure_run(run)
    todo = [spec for spec in todo if not store.run(spec).finished()]
    if todo:
        populations = populations_of(todo, store, members, executor.processes, executor.gpu_bytes(),
                                    executor.device.type == "cuda")
        _each(worker, populations, executor, "populations")
    store.remove_leftovers(specs)


def _each(worker: Worker, works: Sequence[Population | RunSpec], executor: Executor, title: str) -> None:
    """Train the populations and measure their runs, or measure the runs, with a bar; ``title`` names them."""
    runs = sum(len(members_of(work)) for work in works)
    if not works:
        return
    if worker.progress:
        tqdm.write(executor.using(runs))
    if executor.apart(runs):
        _share_out(worker, works, executor)
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
            worker.leave_gpu()
            bar.update()


def _share_out(worker: Worker, works: Sequence[Population | RunSpec], executor: Executor) -> None:
    """The same by others than this process, with a bar over all runs; this one alone closes populations."""
    keep_bars_to_this_process()
    specs = [spec for work in works for spec in members_of(work)]
    bar = tqdm(total=len(specs), desc="runs", unit="run", disable=None if worker.progress else True)

    def then(job: Job) -> list[Job]:
        left = [] if isinstance(job.work, RunSpec) else worker.to_measure(job.work)
        bar.update(len(members_of(job.work)) - len(left))
        if worker.progress:
            tqdm.write(f"{'measured' if isinstance(job.work, RunSpec) else 'trained'}: {describe(job.work)}")
        for population in worker.store.finished_populations(specs):
            if job.gives & set(population.hashes):  # others may be at work
                worker.store.close_population(population)
        return list(map(Job, left))

    def lost(job: Job, why: str) -> None:
        if worker.progress:
            tqdm.write(f"lost, and begun again: {describe(job.work)}: {why}")

    def failing(job: Job, error: Exception, working: int) -> None:
        if worker.progress and working:
            last = str(error).strip().splitlines()[-1:]
            tqdm.write(f"failed: {describe(job.work)}: {''.join(last)}; the sweep ends with what is at work")

    root = worker.store.root.absolute()  # where a job is done, another folder may be the current one
    own_bars = isinstance(executor, Local)
    there = dataclasses.replace(worker, store=Store(root), progress=worker.progress and own_bars)
    with bar, _swept_away(worker.progress), executor.crew(partial(Worker.do, there, whole=executor.whole), len(specs),
                                                          root) as crew:
        for _ in finish_jobs(list(map(Job, works)), crew, then, lost, failing):
            pass
    _wait_until_seen(worker, specs)


def _wait_until_seen(worker: Worker, specs: Sequence[RunSpec]) -> None:
    """Wait for what jobs wrote.

    Raises:
        UserError: a run is not finished, though its job is done.
    """
    end = time.monotonic() + SEEN_SECONDS
    while left := [run for run in map(worker.store.run, specs) if not run.finished()]:
        if time.monotonic() > end:
            raise UserError(f"{left[0].path}: its job is done, and it is not finished here; expected a folder that all "
                            "machines share, or on each machine a sweep of its own with --shard")
        time.sleep(1.0)


@contextlib.contextmanager
def _swept_away(shown: bool) -> Iterator[None]:
    """After an error, wipe the bars of processes that were killed: what is printed next begins a line of its own."""
    try:
        yield
    except BaseException:
        if shown:
            sys.stderr.write("\r\033[J" if sys.stderr.isatty() else "\n")
        raise
