"""Which runs train together.

Runs that agree on everything but their member fields (seeds, learning rate, weight decay, and what their task allows,
such as the grammar) and the runs that they begin with have one shape and train as members of one population.  A run
that begins with another waits for it: runs without a start come first, then those that begin with one of these, and so
on.  An experiment remains a plain list of runs; nobody but the planner thinks in populations.

    runs      A lr 1e-3   A lr 2e-3   B lr 1e-3   A lr 4e-3   B lr 2e-3        (A, B: two shapes)
    plan      {A 1e-3, A 2e-3, A 4e-3}   {B 1e-3, B 2e-3}

The last bits of a member's numbers may depend on who trains beside it, since the size of a matrix product decides how
it is summed.  So an interrupted population is resumed whole and unchanged; only what has never started is grouped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from physlm.config import content_hash
from physlm.errors import UserError
from physlm.training.config import RunSpec, shape_key

MAX_MEMBERS = 16


@dataclass(frozen=True)
class Population:
    """Runs of one shape that train together, in this order."""

    members: tuple[RunSpec, ...]

    @property
    def hashes(self) -> tuple[str, ...]:
        """The members' content hashes, in order."""
        return tuple(content_hash(member) for member in self.members)

    @property
    def name(self) -> str:
        """The hash of the sorted member hashes; names the checkpoint."""
        return content_hash(sorted(self.hashes))


def group(
    specs: Iterable[RunSpec], limit: int = MAX_MEMBERS, parts: int = 1, fits: Callable[[RunSpec], int] | None = None
) -> list[Population]:
    """Group runs by shape, in order of first appearance, into populations of at most ``limit`` nearly equal sizes.

    Runs that wait for others come after them: sorted by the number of runs before them, and grouped with such only.
    With one part, leaving out the first populations of a plan does not change how the rest is grouped.

    Args:
        parts: at least so many populations of each shape, if it has as many runs: one for each process at work.
        fits: how many runs of the shape of a given one the device has memory for, where that is known.
    """
    if limit < 1:
        raise UserError(f"members: got {limit}, expected at least 1")
    shapes: dict[tuple[int, str], dict[str, RunSpec]] = {}
    for spec in sorted(specs, key=_depth):
        shapes.setdefault((_depth(spec), shape_key(spec)), {})[content_hash(spec)] = spec
    populations = []
    for members in (list(shape.values()) for shape in shapes.values()):
        most = limit if fits is None else max(1, min(limit, fits(members[0])))
        count = max(-(-len(members) // most), min(parts, len(members)))
        small, larger = divmod(len(members), count)
        start = 0
        for part in range(count):
            stop = start + small + (part < larger)
            populations.append(Population(tuple(members[start:stop])))
            start = stop
    return populations


def plan(
    todo: Sequence[RunSpec], interrupted: Iterable[Population], limit: int = MAX_MEMBERS, parts: int = 1,
    fits: Callable[[RunSpec], int] | None = None,
) -> list[Population]:
    """The populations to train: first every interrupted one that holds a run of ``todo``, then the rest afresh.

    Among all, those whose runs wait for fewer others come first.

    Args:
        todo: runs that still have to be trained.
        interrupted: populations that were started earlier and have not finished.
        limit: most members in a fresh population.
        parts, fits: as for ``group``.
    """
    wanted = {content_hash(spec) for spec in todo}
    resumed: list[Population] = []
    covered: set[str] = set()
    for population in interrupted:
        if (wanted - covered) & set(population.hashes):
            resumed.append(population)
            covered |= set(population.hashes)
    fresh = group([spec for spec in todo if content_hash(spec) not in covered], limit, parts, fits)
    return sorted(resumed + fresh, key=lambda population: _depth(population.members[0]))


def with_starts(
    specs: Iterable[RunSpec], trained: Callable[[RunSpec], bool] = lambda spec: False
) -> list[RunSpec]:
    """``specs``, each once, and before each the runs that it begins with, as far as training it takes them.

    Args:
        trained: whether the weights of a run are there; what only such a run began with is not needed any more.
    """
    found: dict[str, RunSpec] = {}

    def add(spec: RunSpec) -> None:
        if spec.start is not None and not trained(spec) and not trained(spec.start):
            add(spec.start)
        found.setdefault(content_hash(spec), spec)

    for spec in specs:
        add(spec)
    return list(found.values())


def _depth(spec: RunSpec) -> int:
    """How many runs come before this one."""
    return len(spec.starts)
