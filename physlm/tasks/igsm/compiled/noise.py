"""Compiled noise in problems; its twin is ``physlm.tasks.igsm.noise``."""

from __future__ import annotations

from typing import Any

import numpy as np

from physlm.tasks.compiled import part
from physlm.tasks.compiled_draws import below, coin, mix, share
from physlm.tasks.draws import GOLDEN
from physlm.tasks.igsm.compiled.draws import EMPTY, bit, count, nth, pick
from physlm.tasks.igsm.compiled.layout import ALL, FACTS, GRAPH, STYLE, UNIFORM
from physlm.tasks.igsm.compiled.structure import draw_parameters, draw_structure
from physlm.tasks.igsm.compiled.unneeded import complete
from physlm.tasks.igsm.compiled.writing import STOP, name, put, sentence
from physlm.tasks.igsm.draws import NOISE_STREAM
from physlm.tasks.igsm.noise import FACT_TOKENS, LEAST_GRAPH, MISFITS, ORDER_TOKENS
from physlm.tasks.igsm.pieces import AT_LEAST, AT_MOST, FIRST_NUMBER, LAYERS, NOISE_PHRASES, NOTE, ORDERS

_GOLDEN, _NOISE_STREAM = np.uint64(GOLDEN), np.uint64(NOISE_STREAM)
_NOTE, _AT_LEAST, _AT_MOST, _ORDERS = (NOISE_PHRASES.index(phrase) for phrase in (NOTE, AT_LEAST, AT_MOST, ORDERS[0]))
_ALL_ORDERS = len(ORDERS)


@part
def draw_noise(c: Any, w: Any, r: Any, s: Any, length: Any) -> None:
    """Sentences of noise in ``s.ids``, shuffled, for a problem of ``length`` tokens; ``w.state`` goes on with them."""
    v = s.work[0]
    v.state = mix(r.stream * _GOLDEN + _NOISE_STREAM)
    v.at = w.noise = 0
    if share(v) < c.noise_rate:
        room = min(c.noise_most, c.row_tokens - length) if c.noise_fits else c.noise_most
        room = max(room, 0)
        if c.noise_amount == UNIFORM:
            room = below(v, room + 1)
        if c.noise_kind == STYLE or c.noise_kind == ALL:
            room -= _draw_orders(c, w, v, s, 1 if c.noise_kind == ALL else _ALL_ORDERS, room)
        if c.noise_kind == FACTS or c.noise_kind == ALL:
            room -= _draw_facts(c, w, v, r, s, room // 2 if c.noise_kind == ALL else room)
        if c.noise_kind == GRAPH or c.noise_kind == ALL:
            _draw_graphs(c, w, v, r, s, room)
        for last in range(w.noise - 1, 0, -1):
            other = below(v, last + 1)
            for end in range(2):
                swapped = s.at[last, end]
                s.at[last, end] = s.at[other, end]
                s.at[other, end] = swapped
    w.state = v.state


@part
def _close(w: Any, v: Any, s: Any, begin: Any) -> Any:
    """A sentence from ``begin`` on is whole; where the next one begins."""
    s.at[w.noise, 0], s.at[w.noise, 1] = begin, v.at
    w.noise += 1
    return v.at


@part
def _draw_orders(c: Any, w: Any, v: Any, s: Any, most: Any, room: Any) -> Any:
    """How many tokens they have."""
    pool = bit(_ALL_ORDERS) - 1
    orders = min(most, room // ORDER_TOKENS)
    begin = v.at
    for _ in range(orders):
        order = pick(v, pool)
        pool ^= bit(order)
        put(v, s.ids, s.lost, c.first_noise + _ORDERS + order)
        put(v, s.ids, s.lost, STOP)
        begin = _close(w, v, s, begin)
    return ORDER_TOKENS * orders


@part
def _draw_facts(c: Any, w: Any, v: Any, r: Any, s: Any, room: Any) -> Any:
    """How many tokens they have."""
    pool = w.graph
    facts = min(count(pool), room // FACT_TOKENS)
    begin = v.at
    for _ in range(facts):
        parameter = pick(v, pool)
        pool ^= bit(parameter)
        if coin(v):
            told, number = _AT_LEAST, np.int64(0)
        else:
            told, number = _AT_MOST, np.int64(c.modulus - 1)
        put(v, s.ids, s.lost, c.first_noise + _NOTE)
        name(c, v, r, parameter, s.ids, s.lost)
        put(v, s.ids, s.lost, c.first_noise + told)
        put(v, s.ids, s.lost, FIRST_NUMBER + number)
        put(v, s.ids, s.lost, STOP)
        begin = _close(w, v, s, begin)
    return FACT_TOKENS * facts


@part
def _draw_graphs(c: Any, w: Any, v: Any, r: Any, s: Any, room: Any) -> None:
    other = s.record[0]
    end = v.at + room
    _take_own(c, v, r)
    misfits = 0
    while end - v.at >= LEAST_GRAPH and misfits < MISFITS:
        draw_parameters(c, v, 1 + below(v, c.max_op))
        draw_structure(v, other)
        if c.categorisations == 1 and other.layers > r.layers:
            continue
        other.needed = 0
        complete(c, v, other)
        misfits += 1
        if not _draw_names(c, v, r, other):
            continue
        begun, sentences, begin = v.at, w.noise, v.at
        for edge in range(other.ip):
            if v.at <= end:
                sentence(c, v, other, np.int64(edge), s.ids, s.lost)
                if v.at <= end:
                    begin = _close(w, v, s, begin)
        if v.at > end:
            v.at, w.noise = begun, sentences
        else:
            misfits = 0
            _take(v, other)


@part
def _take_own(c: Any, v: Any, r: Any) -> None:
    """The problem's own names are not free."""
    for categorisation in range(c.categorisations):
        for layer in range(LAYERS):
            for group in range(c.groups):
                v.taken[categorisation, layer, group] = EMPTY
    _take(v, r)


@part
def _take(v: Any, r: Any) -> None:
    """The names of a record are free no more."""
    for layer in range(r.layers):
        for item in range(r.sizes[layer]):
            v.taken[r.categorisation, r.first_layer + layer, r.groups[layer]] |= bit(r.items[layer, item])


@part
def _draw_names(c: Any, v: Any, r: Any, other: Any) -> Any:
    """Those of another graph; False where too few are left in one of its layers."""
    if c.categorisations == 1:
        other.categorisation = r.categorisation
        other.first_layer = r.first_layer + below(v, r.layers - other.layers + 1)
    else:
        drawn = below(v, c.categorisations - 1)
        other.categorisation = drawn + (drawn >= r.categorisation)
        other.first_layer = below(v, LAYERS - other.layers + 1)
    for place in range(other.layers):
        layer, groups = other.first_layer + place, EMPTY
        for group in range(c.groups):
            if count(_free(c, v, other.categorisation, layer, group)) >= other.sizes[place]:
                groups |= bit(group)
        if groups == EMPTY:
            return False
        other.groups[place] = nth(groups, below(v, count(groups)))
        pool = _free(c, v, other.categorisation, layer, other.groups[place])
        for item in range(other.sizes[place]):
            other.items[place, item] = pick(v, pool)
            pool ^= bit(other.items[place, item])
    return True


@part
def _free(c: Any, v: Any, categorisation: Any, layer: Any, group: Any) -> Any:
    """The items of a group that no graph has."""
    return (bit(c.group_sizes[categorisation, layer, group]) - 1) & ~v.taken[categorisation, layer, group]
