"""Which runs train together.

Runs that agree on everything but their member fields (seeds, learning rate, weight decay, and what their task allows,
such as the grammar) and the runs that they begin with have one shape and train as members of one population.  A run
that begins with another waits for it: runs without a start come first, then those that begin with one of these, and so
on.  An experiment remains a plain list of runs; nobody but the planner thinks in populations.

    runs      A lr 1e-3   A lr 2e-3   B lr 1e-3   A lr 4e-3   B lr 2e-3        (A, B: two shapes)
    plan      {A 1e-3, A 2e-3, A 4e-3}   {B 1e-3, B 2e-3}

Training together is faster than one after another, so that runs of a shape are parted no more than it takes to keep all
processes at work to the end.

The last bits of a member's numbers may depend on who trains beside it, since the size of a matrix product decides how
it is summed.  So an interrupted population is resumed whole and unchanged; only what has never started is grouped.
"""

from __future__ import annotations

import heapq
import itertools
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


Seconds = Callable[[Population], float]


def alike(population: Population) -> float:
    """As if all runs took as long, and none gained from others beside it."""
    return float(len(population.members))


def group(
    specs: Iterable[RunSpec], limit: int = MAX_MEMBERS, parts: int = 1, fits: Callable[[RunSpec], int] | None = None,
    seconds: Seconds = alike,
) -> list[Population]:
    """Group runs by shape into populations of at most ``limit`` nearly equal sizes, in order of first appearance.

    Runs that wait for others come after them: sorted by the number of runs before them, and grouped with such only.
    With one part, leaving out the first populations of a plan does not change how the rest is grouped.

    Args:
        parts: processes at work at once.  The longest population is halved, and so on, as long as all end earlier.
        fits: how many runs of the shape of a given one the device has memory for, where that is known.
        seconds: how long a population takes, or anything in proportion.
    """
    if limit < 1:
        raise UserError(f"members: got {limit}, expected at least 1")
    shapes: dict[tuple[int, str], dict[str, RunSpec]] = {}
    for spec in sorted(specs, key=_depth):
        shapes.setdefault((_depth(spec), shape_key(spec)), {})[content_hash(spec)] = spec
    kinds = [tuple(shape.values()) for shape in shapes.values()]
    most = [limit if fits is None else max(1, min(limit, fits(members[0]))) for members in kinds]
    least = [-(-len(members) // size) for members, size in zip(kinds, most, strict=True)]
    counts = _counts(kinds, least, parts, seconds)
    return [population for members, count in zip(kinds, counts, strict=True) for population in _parted(members, count)]


def _parted(members: tuple[RunSpec, ...], count: int) -> list[Population]:
    """So many populations of nearly equal sizes, the larger first."""
    small, larger = divmod(len(members), count)
    ends = [part * small + min(part, larger) for part in range(count + 1)]
    return [Population(members[start:stop]) for start, stop in itertools.pairwise(ends)]


def _counts(kinds: Sequence[tuple[RunSpec, ...]], counts: list[int], parts: int, seconds: Seconds) -> list[int]:
    """How many populations each kind is parted into, at least ``counts``, so that ``parts`` processes end early."""
    times: dict[tuple[int, int], list[float]] = {}

    def taken(counts: Sequence[int]) -> list[list[float]]:
        """Of each kind, the seconds of its populations, longest first."""
        for kind, count in enumerate(counts):
            if (kind, count) not in times:
                times[kind, count] = [seconds(population) for population in _parted(kinds[kind], count)]
        return [times[kind, count] for kind, count in enumerate(counts)]

    loads = _loads(taken(counts), parts)
    while parts > 1 and kinds:
        larger = [kind for kind, count in enumerate(counts) if count < len(kinds[kind])]
        if not larger:
            break
        longest = max(larger, key=lambda kind: times[kind, counts[kind]][0])
        more = [count + (kind == longest) for kind, count in enumerate(counts)]
        if (now := _loads(taken(more), parts)) >= loads:
            break
        counts, loads = more, now
    return counts


def _loads(kinds: Sequence[Sequence[float]], parts: int) -> list[float]:
    """Seconds that each process works, longest first, where a free one takes the longest population that is left."""
    loads = [0.0] * parts
    for time in sorted((time for times in kinds for time in times), reverse=True):
        heapq.heapreplace(loads, loads[0] + time)
    return sorted(loads, reverse=True)


def plan(
    todo: Sequence[RunSpec], interrupted: Iterable[Population], limit: int = MAX_MEMBERS, parts: int = 1,
    fits: Callable[[RunSpec], int] | None = None, seconds: Seconds = alike,
) -> list[Population]:
    """The populations to train: first every interrupted one that holds a run of ``todo``, then the rest afresh.

    Among all, those whose runs wait for fewer others come first, and where several processes are at work, of the fresh
    ones those that take longest.

    Args:
        todo: runs that still have to be trained.
        interrupted: populations that were started earlier and have not finished.
        limit: most members in a fresh population.
        parts, fits, seconds: as for ``group``.
    """
    wanted = {content_hash(spec) for spec in todo}
    resumed: list[Population] = []
    covered: set[str] = set()
    for population in interrupted:
        if (wanted - covered) & set(population.hashes):
            resumed.append(population)
            covered |= set(population.hashes)
    fresh = group([spec for spec in todo if content_hash(spec) not in covered], limit, parts, fits, seconds)
    if parts > 1:
        fresh.sort(key=seconds, reverse=True)
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
