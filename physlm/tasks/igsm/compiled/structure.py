"""The compiled structure graph; its twin is ``physlm.tasks.igsm.structure``."""

from __future__ import annotations

from typing import Any

import numpy as np

from physlm.tasks.compiled import part
from physlm.tasks.compiled_draws import below, share
from physlm.tasks.igsm.compiled.draws import EMPTY, bit, first, pick


@part
def _size(w: Any, shares: Any, s: Any) -> Any:
    drawn = share(w)
    return 2 + (drawn >= shares[s, 0]) + (drawn >= shares[s, 1])


@part
def draw_parameters(c: Any, w: Any, s: Any) -> None:
    """Fill n, m, the sizes of the graph and the share of more items."""
    w.n = 1 + max(below(w, s), below(w, s))
    w.m = w.n + below(w, s - w.n + 1)
    w.layers = _size(w, c.layer_shares, s)
    one, other = _size(w, c.width_shares, s), _size(w, c.width_shares, s)
    w.least_width, w.most_width = min(one, other), max(one, other)
    least = (w.layers - 1) * w.least_width
    room = c.max_ip - least + 1
    edges = least + min(below(w, room), below(w, room))
    w.more = share(w)
    w.edges = min(edges, (w.layers - 1) * w.most_width**2)


@part
def _draw_sizes(w: Any, r: Any) -> None:
    for layer in range(4):
        r.sizes[layer] = w.least_width if layer < w.layers else 0
    while True:
        room = lower = 0
        for layer in range(1, w.layers):
            room += r.sizes[layer - 1] * r.sizes[layer]
            lower += r.sizes[layer]
        if room >= w.edges and (lower == w.edges or share(w) >= w.more):
            return
        growing = 0
        for layer in range(w.layers):
            growing += r.sizes[layer] < w.most_width
        if growing == 0:
            return
        drawn = below(w, growing)
        for layer in range(w.layers):
            if r.sizes[layer] < w.most_width:
                if drawn == 0:
                    r.sizes[layer] += 1
                    break
                drawn -= 1


@part
def draw_structure(w: Any, r: Any) -> None:
    """Sizes, edges and totals, with their needs, closures and costs."""
    _draw_sizes(w, r)
    present = absent = EMPTY
    missing = w.edges
    for layer in range(w.layers - 1):
        for child in range(r.sizes[layer + 1]):
            present |= bit(16 * layer + 4 * below(w, r.sizes[layer]) + child)
            missing -= 1
        for owner in range(r.sizes[layer]):
            absent |= ((bit(r.sizes[layer + 1])) - 1) << (16 * layer + 4 * owner)
    absent &= ~present
    for _ in range(missing):
        added = bit(pick(w, absent))
        absent ^= added
        present |= added
    _number_edges(w, r, present)
    _number_totals(w, r)


@part
def _number_edges(w: Any, r: Any, present: Any) -> None:
    for layer in range(4):
        for owner in range(4):
            w.owned[layer, owner] = 0
    edge = 0
    while present:
        at = first(present)
        present &= present - 1
        layer, owner = at >> 4, (at >> 2) & 3
        r.edge[edge, 0], r.edge[edge, 1], r.edge[edge, 2] = layer, owner, at & 3
        w.owned[layer, owner] |= bit(edge)
        w.needs[edge] = w.closure[edge] = 0
        w.cost[edge] = 1
        edge += 1
    r.ip = edge
    r.layers = w.layers


@part
def _number_totals(w: Any, r: Any) -> None:
    for level in range(4):
        w.level[level] = 0
    place = np.int64(0)
    for layer in range(w.layers - 2, -1, -1):
        for owner in range(r.sizes[layer]):
            for deeper in range(layer + 1, w.layers):
                r.total[place, 0], r.total[place, 1], r.total[place, 2] = layer, owner, deeper
                me = r.ip + place
                w.number[layer, owner, deeper] = me
                w.level[deeper - layer] |= bit(me)
                _need(w, r, place, me)
                place += 1
    r.totals = place


@part
def _need(w: Any, r: Any, place: Any, me: Any) -> None:
    """Terms, needs, closure and cost of one total; the totals that it needs have theirs."""
    layer, deeper = r.total[place, 0], r.total[place, 2]
    edges = w.owned[layer, r.total[place, 1]]
    closure = needs = edges
    terms = parts = 0
    while edges:
        edge = first(edges)
        edges &= edges - 1
        w.term[place, terms, 0] = edge
        w.term[place, terms, 1] = -1
        parts += 1
        if deeper > layer + 1:
            below_it = w.number[layer + 1, r.edge[edge, 2], deeper]
            w.term[place, terms, 1] = below_it
            needs |= bit(below_it)
            closure |= bit(below_it) | w.closure[below_it]
            parts += 1
        terms += 1
    w.terms[place] = terms
    w.needs[me], w.closure[me], w.cost[me] = needs, closure, max(1, parts - 1)
