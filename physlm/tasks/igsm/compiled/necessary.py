"""The compiled necessary part; its twin is ``physlm.tasks.igsm.necessary``."""

from __future__ import annotations

from typing import Any

import numpy as np

from physlm.tasks.compiled import part
from physlm.tasks.compiled_draws import below, coin, far_below, share
from physlm.tasks.igsm.compiled.draws import EMPTY, bit, count, first, nth, pick
from physlm.tasks.igsm.draws import FAVOUR_UNIT, FAVOURS
from physlm.tasks.igsm.record import CONSTANT, MORE, PLAIN, RNG, TIMES


@part
def _sum_of_costs(w: Any, members: Any) -> Any:
    total = 0
    while members:
        total += w.cost[first(members)]
        members &= members - 1
    return total


@part
def choose(w: Any, r: Any) -> Any:
    """The parameters that have to be computed."""
    capacity = r.ip
    for place in range(r.totals):
        capacity += w.cost[r.ip + place]
    n = min(w.n, capacity)
    left, chosen = n, EMPTY
    while left > 0:
        cost, more = 0, EMPTY
        for level in range(1, 4):
            open_totals = w.level[level] & ~chosen
            if open_totals == 0:
                continue
            total = pick(w, open_totals)
            tried = (w.closure[total] | bit(total)) & ~chosen
            needed = _sum_of_costs(w, tried)
            if needed > left:
                break
            cost, more = needed, tried
        if more == 0:
            break
        chosen |= more
        left -= cost
    edges = (bit(r.ip) - 1) & ~chosen
    for _ in range(min(count(edges), w.m - n + left)):
        edge = bit(pick(w, edges))
        edges ^= edge
        chosen |= edge
    return chosen


@part
def _free(w: Any, r: Any, remaining: Any) -> Any:
    """Those that no total among them needs."""
    needed = EMPTY
    totals = remaining >> r.ip
    while totals:
        needed |= w.needs[r.ip + first(totals)]
        totals &= totals - 1
    return remaining & ~needed


@part
def arrange(c: Any, w: Any, r: Any, chosen: Any) -> Any:
    """Fill the order and ``feeds``; False where nothing free is wanted."""
    p0, favour = share(w), below(w, FAVOURS)
    remaining = wanted = chosen
    free = _free(w, r, remaining)
    at = last = count(chosen) - 1
    r.needed = at + 1
    while remaining:
        ready = free & wanted
        if ready == 0:
            return False
        picked = pick(w, ready)
        if at == last:
            wanted = EMPTY
        r.order[at] = picked
        at -= 1
        remaining &= ~bit(picked)
        wanted &= ~bit(picked)
        if picked >= r.ip:
            free = _free(w, r, remaining)
            wanted |= w.needs[picked]
            continue
        free &= ~bit(picked)
        forced = free & wanted == 0
        w.feeds[picked] = -1
        if (share(w) < p0 or forced) and remaining != 0:
            w.feeds[picked] = _favoured(c, w, r, free if forced else remaining, wanted, favour)
            wanted |= bit(w.feeds[picked])
    return True


@part
def _favoured(c: Any, w: Any, r: Any, pool: Any, wanted: Any, favour: Any) -> Any:
    """One of the pool with weight exp(|g| (1[total] + 1[not wanted]))."""
    edges = bit(r.ip) - 1
    neither = pool & edges & wanted
    both = pool & ~edges & ~wanted
    one = pool & ~neither & ~both
    once, twice = c.favours[favour, 0], c.favours[favour, 1]
    first_weight, second_weight = count(neither) * FAVOUR_UNIT, count(one) * once
    drawn = far_below(w, first_weight + second_weight + count(both) * twice)
    if drawn < first_weight:
        return nth(neither, drawn // FAVOUR_UNIT)
    drawn -= first_weight
    if drawn < second_weight:
        return nth(one, drawn // once)
    return nth(both, (drawn - second_weight) // twice)


@part
def _room(r: Any, place: Any) -> Any:
    return min(place + 1, 4) - 2 if r.order[place] < r.ip and place >= 2 else 0


@part
def _cost_of_order(w: Any, r: Any) -> Any:
    total = 0
    for place in range(r.needed):
        total += w.cost[r.order[place]]
    return total


@part
def reachable(w: Any, r: Any, s: Any) -> Any:
    """The operations of the solution when s are asked for."""
    total = _cost_of_order(w, r)
    for place in range(r.needed):
        total += _room(r, place)
    return min(s, total)


@part
def depend(c: Any, w: Any, r: Any, op: Any) -> None:
    """Formulas of the needed edges, for exactly ``op`` operations."""
    open_places = EMPTY
    for place in range(r.needed):
        w.extra[place] = 0
        if _room(r, place) > 0:
            open_places |= bit(place)
    for _ in range(op - _cost_of_order(w, r)):
        place = pick(w, open_places)
        w.extra[place] += 1
        if w.extra[place] == _room(r, place):
            open_places ^= bit(place)
    for place in range(r.needed):
        parameter = np.int64(r.order[place])
        if parameter < r.ip:
            number = w.extra[place] + 2 if w.extra[place] > 0 else 1 + coin(w)
            formula(c, w, r, parameter, _dependencies(w, r, place, w.feeds[parameter], min(number, place + 1, 4)))


@part
def _dependencies(w: Any, r: Any, place: Any, fed: Any, number: Any) -> Any:
    """Draw them from the places before this one and RNG, which counts as the place itself; how many there are."""
    pool = bit(place + 1) - 1
    drawn = 0
    if fed >= 0:
        w.drawn[0] = fed
        drawn = 1
        for earlier in range(place):
            if r.order[earlier] == fed:
                pool ^= bit(earlier)
    if number == place + 1:
        while pool:
            at = first(pool)
            pool ^= bit(at)
            w.drawn[drawn] = RNG if at == place else r.order[at]
            drawn += 1
        return number
    if coin(w) and drawn < number:
        w.drawn[drawn] = RNG
        drawn += 1
        pool ^= bit(place)
    while drawn < number:
        at = pick(w, pool)
        pool ^= bit(at)
        w.drawn[drawn] = RNG if at == place else r.order[at]
        drawn += 1
    return number


@part
def formula(c: Any, w: Any, r: Any, edge: Any, number: Any) -> None:
    """The formula of the ``number`` dependencies that are drawn."""
    kept, direct = 0, EMPTY
    for at in range(number):
        if w.drawn[at] != RNG:
            r.dependencies[edge, kept] = w.drawn[at]
            direct |= bit(w.drawn[at])
            kept += 1
    if c.shuffled:
        for last in range(kept - 1, 0, -1):
            other = below(w, last + 1)
            swapped = r.dependencies[edge, last]
            r.dependencies[edge, last] = r.dependencies[edge, other]
            r.dependencies[edge, other] = swapped
    for at in range(kept, 4):
        r.dependencies[edge, at] = 0
    r.count[edge] = kept
    w.direct[edge] = direct
    r.form[edge], r.constant[edge], r.difference[edge] = PLAIN, 0, 0
    if kept < number:
        if kept == 0:
            r.form[edge], r.constant[edge] = CONSTANT, below(w, c.modulus)
        elif coin(w):
            r.form[edge], r.constant[edge] = MORE, below(w, c.modulus)
        else:
            r.form[edge], r.constant[edge] = TIMES, 1 + below(w, c.modulus - 1)
    if kept == 2:
        r.difference[edge] = coin(w)
