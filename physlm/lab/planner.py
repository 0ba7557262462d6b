"""Which runs train together.

Runs that agree on everything but their member fields (seeds, learning rate, weight decay, and what their task allows,
such as the grammar) have one shape and train as members of one population.  An experiment remains a plain list of runs;
nobody but the planner thinks in populations.

    runs      A lr 1e-3   A lr 2e-3   B lr 1e-3   A lr 4e-3   B lr 2e-3        (A, B: two shapes)
    plan      {A 1e-3, A 2e-3, A 4e-3}   {B 1e-3, B 2e-3}

The last bits of a member's numbers may depend on who trains beside it, since the size of a matrix product decides how
it is summed.  So an interrupted population is resumed whole and unchanged; only what has never started is grouped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def group(specs: Iterable[RunSpec], limit: int = MAX_MEMBERS) -> list[Population]:
    """Group runs by shape, in order of first appearance, into populations of at most ``limit`` nearly equal sizes.

    Leaving out the first populations of a plan does not change how the rest is grouped.
    """
    if limit < 1:
        raise UserError(f"members: got {limit}, expected at least 1")
    shapes: dict[str, dict[str, RunSpec]] = {}
    for spec in specs:
        shapes.setdefault(shape_key(spec), {})[content_hash(spec)] = spec
    populations = []
    for members in (list(shape.values()) for shape in shapes.values()):
        parts = -(-len(members) // limit)
        small, larger = divmod(len(members), parts)
        start = 0
        for part in range(parts):
            stop = start + small + (part < larger)
            populations.append(Population(tuple(members[start:stop])))
            start = stop
    return populations


def plan(
    todo: Sequence[RunSpec], interrupted: Iterable[Population], limit: int = MAX_MEMBERS
) -> list[Population]:
    """The populations to train: first every interrupted one that holds a run of ``todo``, then the rest afresh.

    Args:
        todo: runs that still have to be trained.
        interrupted: populations that were started earlier and have not finished.
        limit: most members in a fresh population.
    """
    wanted = {content_hash(spec) for spec in todo}
    resumed: list[Population] = []
    covered: set[str] = set()
    for population in interrupted:
        if (wanted - covered) & set(population.hashes):
            resumed.append(population)
            covered |= set(population.hashes)
    return resumed + group([spec for spec in todo if content_hash(spec) not in covered], limit)
