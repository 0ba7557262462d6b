"""The plain twin's part of a problem that the solution does not need, and asking for another parameter."""

from __future__ import annotations

from physlm.tasks.draws import Stream
from physlm.tasks.igsm.config import IgsmConfig
from physlm.tasks.igsm.necessary import MOST_DEPENDENCIES, Formula, formula
from physlm.tasks.igsm.record import RNG
from physlm.tasks.igsm.structure import Structure


def complete(structure: Structure, order: list[int], formulas: dict[int, Formula], config: IgsmConfig,
             stream: Stream) -> list[int]:  # fmt: skip
    """Formulas of the other edges, in a random order; all parameters, each after its dependencies.

    An edge depends, by a coin, on earlier unneeded ones of this kind ("independent") or on all that is known: needed
    parameters and every total that has become computable.  The released code misses some of those totals.
    """
    whole = list(order)
    _add_totals(structure, whole)
    independent: list[int] = []
    others = [edge for edge in range(len(structure.edges)) if edge not in formulas]
    while others:
        edge = stream.take(others)
        alone = stream.coin()
        pool = sorted(independent if alone else whole)
        formulas[edge] = formula(_unneeded_dependencies(pool, stream), config, stream)
        if alone:
            independent.append(edge)
        whole.append(edge)
        _add_totals(structure, whole)
    return whole


def _unneeded_dependencies(pool: list[int], stream: Stream) -> list[int]:
    """1 + geometric(1/2) of the pool and RNG, at most four; all of them where the number says so."""
    most = min(len(pool) + 1, MOST_DEPENDENCIES)
    count = 1
    while count < most and stream.coin():
        count += 1
    if count == len(pool) + 1:
        return [*pool, RNG]
    drawn = [RNG] if stream.coin() else []
    while len(drawn) < count:
        drawn.append(stream.take(pool))
    return drawn


def _add_totals(structure: Structure, whole: list[int]) -> None:
    """Append every total that has become computable."""
    known = set(whole)
    for total, needs in structure.needs.items():
        if total not in known and needs <= known:
            whole.append(total)
            known.add(total)


def on_graph(structure: Structure, order: list[int], formulas: dict[int, Formula]) -> set[int]:
    """The parameters of the dependency graph: all edges, and the totals that a sentence or the query uses."""
    used = {order[-1]}.union(*(made.dependencies for made in formulas.values()))
    return used.union(range(len(structure.edges)), *(structure.closure.get(parameter, ()) for parameter in used))


def ask_again(structure: Structure, whole: list[int], graph: set[int], formulas: dict[int, Formula],
              stream: Stream) -> tuple[list[int], list[int]]:  # fmt: skip
    """Another query, uniform on the dependency graph: the order of its solution, and that of all parameters.

    The order of the solution is drawn anew: next comes any parameter whose dependencies are there.  As released, the
    query is drawn from parameters outside of the dependency graph too, which then fails.
    """
    direct = {parameter: structure.needs[parameter] if structure.is_total(parameter)
              else set(formulas[parameter].dependencies) for parameter in whole}  # fmt: skip
    query = stream.take(sorted(graph))
    needed = {query}
    for parameter in reversed(whole):
        if parameter in needed:
            needed |= direct[parameter]
    order: list[int] = []
    while len(order) < len(needed):
        order.append(stream.take(sorted(p for p in needed.difference(order) if direct[p] <= set(order))))
    return order, [*order, *(parameter for parameter in whole if parameter not in needed)]
