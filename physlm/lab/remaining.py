"""What is left to do of a list of runs, and the populations in which it is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from physlm.lab import planner
from physlm.lab.cost import members_in, population_seconds
from physlm.lab.planner import Population
from physlm.lab.run import Run
from physlm.lab.store import Store
from physlm.training.config import RunSpec


def unfinished(runs: Sequence[Run], store: Store) -> list[RunSpec]:
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


def populations_of(
    todo: Sequence[RunSpec], store: Store, members: int, parts: int, gpu_bytes: int | None, on_gpu: bool = False
) -> list[Population]:
    """The populations to train, with those that give the weights that a resumed population begins with.

    Args:
        members, parts: as for ``planner.group``.
        gpu_bytes: memory of a GPU that a job has for itself; None on a CPU, which swaps rather than fails.
        on_gpu: whether they are trained on one.
    """
    fits: Callable[[RunSpec], int] | None = None if gpu_bytes is None else partial(members_in, gpu_bytes)
    seconds = partial(population_seconds, on_gpu=on_gpu)
    interrupted = _interrupted(store, todo, members)
    while True:
        populations = planner.plan(todo, interrupted, members, parts, fits, seconds)
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
