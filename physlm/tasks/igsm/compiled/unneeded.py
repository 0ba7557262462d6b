"""The compiled part that the solution does not need, and what is known of the whole graph; twins are
``physlm.tasks.igsm.unneeded`` and ``physlm.tasks.igsm.plain``."""

from __future__ import annotations

from typing import Any

import numpy as np

from physlm.tasks.compiled import part
from physlm.tasks.compiled_draws import coin
from physlm.tasks.igsm.compiled.draws import EMPTY, absorb, bit, count, first, pick
from physlm.tasks.igsm.compiled.necessary import formula
from physlm.tasks.igsm.draws import TEMPLATE_SALT
from physlm.tasks.igsm.record import CONSTANT, MORE, RNG, TIMES

_SALT = np.uint64(TEMPLATE_SALT)


@part
def template_hash(w: Any, r: Any) -> Any:
    """64 bits of what the template says."""
    for place in range(r.needed):
        w.place[r.order[place]] = place
    state = _SALT
    for place in range(r.needed):
        parameter = r.order[place]
        if parameter >= r.ip:
            total = parameter - r.ip
            terms = w.terms[total]
            deep = r.total[total, 2] - r.total[total, 0] > 1 and terms > 0
            state = absorb(absorb(state, 1 + 2 * deep), terms + terms * deep)
            for at in range(terms):
                state = absorb(state, w.place[w.term[total, at, 0]])
                if deep:
                    state = absorb(state, w.place[w.term[total, at, 1]])
        else:
            state = absorb(absorb(state, 4 + 2 * r.form[parameter] + r.difference[parameter]), r.count[parameter])
            for at in range(r.count[parameter]):
                state = absorb(state, w.place[r.dependencies[parameter, at]])
    return state


@part
def _add_totals(w: Any, r: Any, known: Any) -> Any:
    """Append every total that has become computable; all that is known."""
    for total in range(r.ip, r.ip + r.totals):
        if known & bit(total) == 0 and w.needs[total] & ~known == 0:
            r.order[w.whole] = total
            w.whole += 1
            known |= bit(total)
    return known


@part
def complete(c: Any, w: Any, r: Any) -> None:
    """Formulas of the other edges; the order of all parameters."""
    known = independent = EMPTY
    for place in range(r.needed):
        known |= bit(r.order[place])
    others = (bit(r.ip) - 1) & ~known
    w.whole = r.needed
    known = _add_totals(w, r, known)
    while others:
        edge = pick(w, others)
        others ^= bit(edge)
        alone = coin(w)
        formula(c, w, r, edge, _unneeded_dependencies(w, independent if alone else known))
        if alone:
            independent |= bit(edge)
        r.order[w.whole] = edge
        w.whole += 1
        known = _add_totals(w, r, known | bit(edge))
    for total in range(r.ip, r.ip + r.totals):
        w.direct[total] = w.needs[total]


@part
def _unneeded_dependencies(w: Any, pool: Any) -> Any:
    """Draw 1 + geometric(1/2) of the pool and RNG, at most four; how many there are."""
    size = count(pool)
    most = min(size + 1, 4)
    number = 1
    while number < most and coin(w):
        number += 1
    drawn = 0
    if number == size + 1:
        while pool:
            w.drawn[drawn] = first(pool)
            pool &= pool - 1
            drawn += 1
        w.drawn[drawn] = RNG
        return number
    if coin(w):
        w.drawn[0] = RNG
        drawn = 1
    while drawn < number:
        w.drawn[drawn] = pick(w, pool)
        pool ^= bit(w.drawn[drawn])
        drawn += 1
    return number


@part
def on_graph(w: Any, r: Any) -> Any:
    """The parameters of the dependency graph."""
    used = bit(r.order[r.needed - 1])
    for edge in range(r.ip):
        used |= w.direct[edge]
    graph = used | (bit(r.ip) - 1)
    used >>= r.ip
    while used:
        graph |= w.closure[r.ip + first(used)]
        used &= used - 1
    return graph


@part
def ask_again(w: Any, r: Any, graph: Any) -> None:
    """Another query: the order of its solution first, then all others."""
    needed = bit(pick(w, graph))
    for place in range(w.whole - 1, -1, -1):
        if needed & bit(r.order[place]):
            needed |= w.direct[r.order[place]]
    kept = w.whole  # the others, in their order, move to the end
    for place in range(w.whole - 1, -1, -1):
        if needed & bit(r.order[place]) == 0:
            kept -= 1
            r.order[kept] = r.order[place]
    r.needed = kept
    done = EMPTY
    for place in range(kept):
        ready, left = EMPTY, needed & ~done
        while left:
            parameter = first(left)
            left &= left - 1
            if w.direct[parameter] & ~done == 0:
                ready |= bit(parameter)
        r.order[place] = pick(w, ready)
        done |= bit(r.order[place])


@part
def operations(w: Any, r: Any) -> Any:
    """Those of the solution."""
    total = 0
    for place in range(r.needed):
        parameter = r.order[place]
        if parameter >= r.ip:
            total += w.cost[parameter]
        else:
            total += max(1, r.count[parameter] + (r.form[parameter] > 0) - 1)
    return total


@part
def compute(c: Any, w: Any, r: Any) -> None:
    """The value of every parameter."""
    for place in range(w.whole):
        parameter = r.order[place]
        value = np.int64(0)
        if parameter >= r.ip:
            total = parameter - r.ip
            for at in range(w.terms[total]):
                edge, under = w.term[total, at, 0], w.term[total, at, 1]
                value += np.int64(r.value[edge]) * (r.value[under] if under >= 0 else 1)
        elif r.form[parameter] == CONSTANT:
            value += r.constant[parameter]
        else:
            for at in range(r.count[parameter]):
                term = r.value[r.dependencies[parameter, at]]
                value += -term if at == 1 and r.difference[parameter] else term
            if r.form[parameter] == MORE:
                value += r.constant[parameter]
            elif r.form[parameter] == TIMES:
                value *= r.constant[parameter]
        r.value[parameter] = value % c.modulus
