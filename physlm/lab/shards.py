"""The runs of a sweep divided among machines that share nothing: ``physlm run --shard I/N``.

    chains     runs that begin, directly or not, with one and the same run, and it: never divided
    classes    chains of the same shapes: their runs may train together
    pieces     a class, or equal parts of it where it is more than 1/N of all the work
    shards     each piece, the largest first, goes to the shard that has least

Depends on the list of runs alone: every machine divides it in the same way, whatever it has finished.  Work is counted
in FLOPs of training.  A shard trains all that its runs begin with, so it needs nothing from another one.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from physlm.config import content_hash
from physlm.errors import UserError, counted, shown
from physlm.lab.cost import run_flops
from physlm.lab.planner import Population, with_starts
from physlm.training.config import RunSpec, shape_key

MOST_SHARDS = 10_000


@dataclass(frozen=True)
class Shard:
    """Part ``number`` of ``of``, counted from 1."""

    number: int
    of: int

    @classmethod
    def read(cls, text: str) -> Shard:
        """``2/4``.  Raises UserError: no such part."""
        match = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= MOST_SHARDS:
            raise UserError(f"--shard: got {shown(text)}, expected I/N with I from 1 to N, as 1/4 .. 4/4")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def divided(specs: Sequence[RunSpec], shards: int) -> list[list[RunSpec]]:
    """The different runs of each shard, in their order; some shards have none where there are fewer chains."""
    runs = list({content_hash(spec): spec for spec in specs}.values())
    pieces = _pieces(_classes(runs), shards)
    loads, where = [0.0] * shards, dict[str, int]()
    for work, piece in sorted(pieces, key=lambda one: -one[0]):  # stable: the first of equal ones stays first
        least = loads.index(min(loads))
        loads[least] += work
        where.update((content_hash(spec), least) for spec in piece)
    return [[spec for spec in runs if where[content_hash(spec)] == number] for number in range(shards)]


def _classes(runs: Sequence[RunSpec]) -> list[list[tuple[float, list[RunSpec]]]]:
    """The chains, each with its work, by the shapes that they hold."""
    chains: dict[str, list[RunSpec]] = {}
    for spec in runs:
        chains.setdefault(content_hash((*spec.starts, spec)[0]), []).append(spec)
    classes: dict[tuple[str, ...], list[tuple[float, list[RunSpec]]]] = {}
    for chain in chains.values():
        trained = with_starts(chain)
        shapes = tuple(sorted({f"{len(spec.starts)} {shape_key(spec)}" for spec in trained}))
        classes.setdefault(shapes, []).append((sum(map(run_flops, trained)), chain))
    return list(classes.values())


def _pieces(
    classes: Sequence[Sequence[tuple[float, list[RunSpec]]]], shards: int
) -> list[tuple[float, list[RunSpec]]]:
    """Each class whole, or in nearly equal parts, none of which is much more than a shard's share of all the work."""
    share = sum(work for chains in classes for work, _ in chains) / shards
    pieces = []
    for chains in classes:
        work = sum(work for work, _ in chains)
        count = min(len(chains), math.ceil(work / share - 1e-9))
        ends = [len(chains) * part // count for part in range(count + 1)]
        for start, stop in itertools.pairwise(ends):
            part = chains[start:stop]
            pieces.append((sum(work for work, _ in part), [spec for _, chain in part for spec in chain]))
    return pieces


def describe(shard: Shard, mine: Sequence[RunSpec], all_runs: Sequence[RunSpec]) -> list[str]:
    """What a shard holds, in lines: how many runs, what they begin with, and of which shapes."""
    from physlm.lab.worker import describe as line_of

    trained = with_starts(mine)
    total = len({content_hash(spec) for spec in all_runs})
    if not mine:
        runs = counted(total, "run")
        return [f"shard {shard} holds none of the {runs}: there is not enough to divide among {shard.of}"]
    share = sum(map(run_flops, trained)) / sum(map(run_flops, with_starts(all_runs)))
    starts = len(trained) - len(mine)
    others = f", and {starts} that they begin with, which no other shard needs" if starts else ""
    lines = [f"shard {shard} holds {len(mine)} of the {counted(total, 'run')}, {share:.0%} of the training{others}:"]
    shapes: dict[str, list[RunSpec]] = {}
    for spec in trained:
        shapes.setdefault(shape_key(spec), []).append(spec)
    return lines + [f"    {line_of(Population(tuple(specs)))}" for specs in shapes.values()]
