"""The plain twin's necessary part: the parameters that the solution computes, their order, and their dependencies.

    choose      which parameters have to be computed: totals with their needs for n operations, then edges up to m
    arrange     their order from the query down, and for some edges one later parameter that they feed
    depend      dependencies of each edge, so many that the solution has the operations asked for

The next parameter's weight follows the released code, which favours totals and those that are not wanted yet; the
paper favours those that are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from physlm.tasks.draws import Stream
from physlm.tasks.igsm.config import IgsmConfig
from physlm.tasks.igsm.draws import FAVOUR_UNIT, FAVOURS, favours
from physlm.tasks.igsm.record import CONSTANT, MORE, PLAIN, RNG, TIMES
from physlm.tasks.igsm.structure import Parameters, Structure

MOST_DEPENDENCIES = 4  # of an instance parameter, RNG included


def choose(structure: Structure, parameters: Parameters, stream: Stream) -> set[int]:
    """nece1 and nece2 of the papers: at most m operations."""
    chosen: set[int] = set()
    left = n = min(parameters.n, structure.capacity)
    while left > 0:
        found = _next_total(structure, chosen, left, stream)
        if found is None:
            break
        more, cost = found
        chosen |= more
        left -= cost
    edges = [edge for edge in range(len(structure.edges)) if edge not in chosen]
    for _ in range(min(len(edges), parameters.m - n + left)):
        chosen.add(stream.take(edges))
    return chosen


def _next_total(structure: Structure, chosen: set[int], left: int, stream: Stream) -> tuple[set[int], int] | None:
    """From the lowest level up one open total each; the last before one that costs too much, with its open needs."""
    remembered = None
    for level in (1, 2, 3):
        open_totals = [total for total in structure.closure
                       if structure.level(total) == level and total not in chosen]  # fmt: skip
        if not open_totals:
            continue
        total = stream.take(open_totals)
        more = (structure.closure[total] | {total}) - chosen
        cost = sum(structure.cost[parameter] for parameter in more)
        if cost > left:
            break
        remembered = (more, cost)
    return remembered


def arrange(structure: Structure, chosen: set[int], stream: Stream) -> tuple[list[int], dict[int, int]] | None:
    """The order of the solution, and the edge -> parameter dependencies that make all of it necessary.

    From the right: the query is any parameter that nobody needs.  A total makes its needs wanted.  An edge gets a
    dependency with probability p0, and surely if no wanted parameter is free.  None: nothing free is wanted.
    """
    p0, favour = stream.share(), stream.below(FAVOURS)
    remaining, wanted = set(chosen), set(chosen)
    free = _free(structure, remaining)
    order: list[int] = []
    feeds: dict[int, int] = {}
    while remaining:
        ready = sorted(free & wanted)
        if not ready:
            return None
        picked = stream.take(ready)
        if not order:
            wanted.clear()
        order.append(picked)
        remaining.discard(picked)
        wanted.discard(picked)
        free = _free(structure, remaining)
        if structure.is_total(picked):
            wanted |= structure.needs[picked]
            continue
        forced = free.isdisjoint(wanted)
        if (stream.chance(p0) or forced) and remaining:
            feeds[picked] = _favoured(structure, free if forced else remaining, wanted, favour, stream)
            wanted.add(feeds[picked])
    return order[::-1], feeds


def _free(structure: Structure, remaining: set[int]) -> set[int]:
    """Those of ``remaining`` that no total among them needs."""
    return remaining.difference(*(structure.needs[total] for total in remaining if structure.is_total(total)))


def _favoured(structure: Structure, pool: set[int], wanted: set[int], favour: int, stream: Stream) -> int:
    """One of the pool with weight exp(|g| (1[total] + 1[not wanted]))."""
    classes: list[list[int]] = [[], [], []]
    for parameter in sorted(pool):
        classes[structure.is_total(parameter) + (parameter not in wanted)].append(parameter)
    weights = (FAVOUR_UNIT, *favours()[favour])
    drawn = stream.far_below(sum(len(members) * weight for members, weight in zip(classes, weights, strict=True)))
    for members, weight in zip(classes, weights, strict=True):
        if drawn < len(members) * weight:
            return members[drawn // weight]
        drawn -= len(members) * weight
    raise AssertionError("the draw is below the sum of all weights")


@dataclass
class Formula:
    """How an edge's value is computed.

    Attributes:
        dependencies: parameters in the order of the sentence, RNG apart.
        form: PLAIN, CONSTANT, MORE or TIMES; constant: the random number, 0 if there is none.
        difference: of exactly two dependencies.
    """

    dependencies: list[int] = field(default_factory=list)
    form: int = PLAIN
    constant: int = 0
    difference: bool = False

    def value(self, values: dict[int, int], modulus: int) -> int:
        """Modulo ``modulus``."""
        if self.form == CONSTANT:
            return self.constant
        terms = [values[parameter] for parameter in self.dependencies]
        rest = terms[0] - terms[1] if self.difference else sum(terms)
        if self.form == MORE:
            rest += self.constant
        elif self.form == TIMES:
            rest *= self.constant
        return rest % modulus


def formula(drawn: list[int], config: IgsmConfig, stream: Stream) -> Formula:
    """A formula of these dependencies, RNG among them or not."""
    dependencies = [parameter for parameter in drawn if parameter != RNG]
    if config.dependency_order == "shuffled":
        stream.shuffle(dependencies)
    made = Formula(dependencies)
    if len(dependencies) < len(drawn):
        if not dependencies:
            made.form, made.constant = CONSTANT, stream.below(config.modulus)
        elif stream.coin():
            made.form, made.constant = MORE, stream.below(config.modulus)
        else:
            made.form, made.constant = TIMES, 1 + stream.below(config.modulus - 1)
    if len(dependencies) == 2:
        made.difference = stream.coin()
    return made


def _room(structure: Structure, order: list[int]) -> dict[int, int]:
    """How many extra operations each place of the order allows, where it allows any."""
    return {place: min(place + 1, MOST_DEPENDENCIES) - 2 for place, parameter in enumerate(order)
            if not structure.is_total(parameter) and place >= 2}  # fmt: skip


def reachable(structure: Structure, order: list[int], s: int) -> int:
    """The operations of the solution when s are asked for: fewer where there is no room for them."""
    return min(s, sum(structure.cost[parameter] for parameter in order) + sum(_room(structure, order).values()))


def depend(structure: Structure, order: list[int], feeds: dict[int, int], op: int, config: IgsmConfig,
           stream: Stream) -> dict[int, Formula]:  # fmt: skip
    """Formulas of the needed edges, so that the solution has exactly the ``op`` operations that it has room for."""
    room = _room(structure, order)
    extra = dict.fromkeys(room, 0)
    open_places = list(room)
    for _ in range(op - sum(structure.cost[parameter] for parameter in order)):
        at = stream.below(len(open_places))
        place = open_places[at]
        extra[place] += 1
        if extra[place] == room[place]:
            open_places.pop(at)
    formulas = {}
    for place, parameter in enumerate(order):
        if structure.is_total(parameter):
            continue
        count = extra[place] + 2 if extra.get(place, 0) else 1 + stream.coin()
        drawn = _dependencies(order[:place], feeds.get(parameter), count, stream)
        formulas[parameter] = formula(drawn, config, stream)
    return formulas


def _dependencies(earlier: list[int], fed: int | None, count: int, stream: Stream) -> list[int]:
    """``count`` of the earlier parameters and RNG, or all; the one that has to be fed among them."""
    count = min(count, len(earlier) + 1, MOST_DEPENDENCIES)
    drawn, pool = [], [*earlier, RNG]
    if fed is not None:
        drawn.append(fed)
        pool.remove(fed)
    if count == len(earlier) + 1:
        return drawn + pool
    if stream.coin() and len(drawn) < count:
        drawn.append(RNG)
        pool.remove(RNG)
    while len(drawn) < count:
        drawn.append(stream.take(pool))
    return drawn
