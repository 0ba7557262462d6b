"""Compiled problems and solutions as token ids; the twin is ``physlm.tasks.igsm.writing``.

Tokens beyond the end of ``ids`` are counted, not written.  ``lost`` marks those that are no targets, which are written
while ``w.lost`` is 1; it may be empty.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from physlm.tasks.compiled import part
from physlm.tasks.compiled_draws import below, mix, share
from physlm.tasks.draws import GOLDEN
from physlm.tasks.igsm import pieces as p
from physlm.tasks.igsm.compiled.chains import mark_dropped
from physlm.tasks.igsm.compiled.draws import EMPTY, bit, count, first, nth, pick
from physlm.tasks.igsm.compiled.layout import MISS, NO_MASK, START_MASK, WEAK
from physlm.tasks.igsm.draws import RETRY_STREAM
from physlm.tasks.igsm.pieces import FIRST_LETTER, LAYERS
from physlm.tasks.igsm.record import CONSTANT, MORE, TIMES

_GOLDEN, _RETRY_STREAM = np.uint64(GOLDEN), np.uint64(RETRY_STREAM)
# as numbers of a type: a function is compiled anew for each plain constant that it is called with
BOS, PROBLEM, SOLUTION, ANSWER = (np.int64(p.ID[token]) for token in p.SPECIALS)
(NUMBER_OF_EACH, EQUALS, MORE_THAN, AS_MUCH, SUM_OF, DIFFERENCE_OF, EACH, AND, HOW_MANY, DOES, HAVE, DEFINE, AS, SO,
 BACK, OWNS, STOP, COMMA, SEMICOLON, QUESTION_MARK, PLUS, MINUS, STAR, IS) = (
     np.int64(p.ID[token]) for token in p.PHRASES)  # fmt: skip


@part
def draw_texts(c: Any, w: Any, r: Any) -> None:
    """Names, the order of the sentences, and letters."""
    r.categorisation = below(w, c.categorisations)
    r.first_layer = below(w, LAYERS - r.layers + 1)
    for layer in range(4):
        r.groups[layer] = 0
        for item in range(4):
            r.items[layer, item] = 0
    for layer in range(r.layers):
        r.groups[layer] = below(w, c.groups)
        pool = bit(c.group_sizes[r.categorisation, r.first_layer + layer, r.groups[layer]]) - 1
        for item in range(r.sizes[layer]):
            r.items[layer, item] = pick(w, pool)
            pool ^= bit(r.items[layer, item])
    for edge in range(r.ip):
        r.sentences[edge] = edge
    for last in range(r.ip - 1, 0, -1):
        other = below(w, last + 1)
        swapped = r.sentences[last]
        r.sentences[last] = r.sentences[other]
        r.sentences[other] = swapped
    pool = bit(p.LETTERS) - 1
    for at in range(r.op):
        if c.alphabetical:
            r.letters[at] = at
        else:
            r.letters[at] = pick(w, pool)
            pool ^= bit(r.letters[at])


@part
def put(w: Any, ids: Any, lost: Any, token: Any) -> None:
    if w.at < len(ids):
        ids[w.at] = token
    if w.at < len(lost):
        lost[w.at] = w.lost
    w.at += 1


@part
def _item(c: Any, r: Any, layer: Any, number: Any) -> Any:
    first_item = c.first_items[r.categorisation, r.first_layer + layer, r.groups[layer]]
    return first_item + r.items[layer, number]


@part
def _owner(c: Any, r: Any, parameter: Any) -> Any:
    if parameter >= r.ip:
        total = parameter - r.ip
        return _item(c, r, np.int64(r.total[total, 0]), np.int64(r.total[total, 1]))
    return _item(c, r, np.int64(r.edge[parameter, 0]), np.int64(r.edge[parameter, 1]))


@part
def _owned(c: Any, r: Any, parameter: Any) -> Any:
    if parameter >= r.ip:
        return c.first_category + LAYERS * r.categorisation + r.first_layer + r.total[parameter - r.ip, 2]
    return _item(c, r, np.int64(r.edge[parameter, 0]) + 1, np.int64(r.edge[parameter, 2]))


@part
def name(c: Any, w: Any, r: Any, parameter: Any, ids: Any, lost: Any) -> None:
    put(w, ids, lost, _owner(c, r, parameter))
    put(w, ids, lost, OWNS)
    put(w, ids, lost, _owned(c, r, parameter))


@part
def _question(c: Any, w: Any, r: Any, ids: Any, lost: Any) -> None:
    query = np.int64(r.order[r.needed - 1])
    put(w, ids, lost, HOW_MANY)
    put(w, ids, lost, _owned(c, r, query))
    put(w, ids, lost, DOES)
    put(w, ids, lost, _owner(c, r, query))
    put(w, ids, lost, HAVE)
    put(w, ids, lost, QUESTION_MARK)


@part
def sentence(c: Any, w: Any, r: Any, edge: Any, ids: Any, lost: Any) -> None:
    """Of the problem."""
    put(w, ids, lost, NUMBER_OF_EACH)
    name(c, w, r, edge, ids, lost)
    put(w, ids, lost, EQUALS)
    if r.form[edge] > 0:
        put(w, ids, lost, c.first_number + r.constant[edge])
    if r.form[edge] == MORE:
        put(w, ids, lost, MORE_THAN)
    elif r.form[edge] == TIMES:
        put(w, ids, lost, AS_MUCH)
    if r.count[edge] > 1:
        put(w, ids, lost, DIFFERENCE_OF if r.difference[edge] else SUM_OF)
    for at in range(r.count[edge]):
        if at > 0:
            put(w, ids, lost, AND if at == r.count[edge] - 1 else COMMA)
        put(w, ids, lost, EACH)
        name(c, w, r, np.int64(r.dependencies[edge, at]), ids, lost)
    put(w, ids, lost, STOP)


@part
def _letter(w: Any, r: Any) -> Any:
    w.used += 1
    return FIRST_LETTER + r.letters[w.used - 1]


@part
def _operate(c: Any, w: Any, r: Any, left: Any, left_value: Any, sign: Any, right: Any, right_value: Any, ids: Any,
             lost: Any) -> None:  # fmt: skip
    """One operation of a sentence; its letter and value are kept as the term that is there now."""
    w.done += 1
    put(w, ids, lost, SEMICOLON)
    if w.done == w.operations:
        put(w, ids, lost, SO)
        w.term_token = w.own
    else:
        w.term_token = _letter(w, r)
    if sign == STAR:
        w.term_value = left_value * right_value % c.modulus
    else:
        w.term_value = (left_value + (right_value if sign == PLUS else -right_value)) % c.modulus
    put(w, ids, lost, w.term_token)
    put(w, ids, lost, IS)
    put(w, ids, lost, left)
    put(w, ids, lost, sign)
    put(w, ids, lost, right)
    put(w, ids, lost, IS)
    put(w, ids, lost, c.first_number + left_value)
    put(w, ids, lost, sign)
    put(w, ids, lost, c.first_number + right_value)
    put(w, ids, lost, IS)
    put(w, ids, lost, c.first_number + w.term_value)


@part
def _total(c: Any, w: Any, r: Any, total: Any, ids: Any, lost: Any) -> None:
    """The operations of a total."""
    terms = w.terms[total]
    deep = terms > 0 and w.term[total, 0, 1] >= 0
    w.operations = 2 * terms - 1 if deep else terms - 1
    token = value = np.int64(0)
    for at in range(terms):
        edge, under = w.term[total, at, 0], w.term[total, at, 1]
        term_token, term_value = w.letter[edge], np.int64(r.value[edge])
        if deep:
            _operate(c, w, r, term_token, term_value, STAR, w.letter[under], np.int64(r.value[under]), ids, lost)
            term_token, term_value = w.term_token, w.term_value
        if at > 0:
            _operate(c, w, r, token, value, PLUS, term_token, term_value, ids, lost)
            term_token, term_value = w.term_token, w.term_value
        token, value = term_token, term_value
    w.term_token, w.term_value = token, value


@part
def _edge(c: Any, w: Any, r: Any, edge: Any, ids: Any, lost: Any) -> None:
    """The operations of an edge."""
    form = r.form[edge]
    w.operations = r.count[edge] - 1 + (form >= MORE)
    if form == CONSTANT:
        w.term_value = r.constant[edge]
        return
    head = r.dependencies[edge, 0]
    token, value = w.letter[head], np.int64(r.value[head])
    for at in range(1, r.count[edge]):
        other = r.dependencies[edge, at]
        sign = MINUS if r.difference[edge] else PLUS
        _operate(c, w, r, token, value, sign, w.letter[other], np.int64(r.value[other]), ids, lost)
        token, value = w.term_token, w.term_value
    if form >= MORE:
        constant = np.int64(r.constant[edge])
        sign = PLUS if form == MORE else STAR
        _operate(c, w, r, c.first_number + constant, constant, sign, token, value, ids, lost)
        token, value = w.term_token, w.term_value
    w.term_token, w.term_value = token, value


@part
def _define(c: Any, w: Any, r: Any, parameter: Any, ids: Any, lost: Any) -> None:
    """The sentence of a needed parameter."""
    put(w, ids, lost, DEFINE)
    name(c, w, r, parameter, ids, lost)
    put(w, ids, lost, AS)
    w.own = w.letter[parameter] = _letter(w, r)
    put(w, ids, lost, w.own)
    w.done = 0
    if parameter >= r.ip:
        _total(c, w, r, parameter - r.ip, ids, lost)
        copied = w.terms[parameter - r.ip] > 0
    else:
        _edge(c, w, r, parameter, ids, lost)
        copied = r.form[parameter] != CONSTANT
    if w.done == 0:
        put(w, ids, lost, SEMICOLON)
        put(w, ids, lost, SO)
        put(w, ids, lost, w.own)
        put(w, ids, lost, IS)
        if copied:
            put(w, ids, lost, w.term_token)
            put(w, ids, lost, IS)
        put(w, ids, lost, c.first_number + w.term_value)
    put(w, ids, lost, STOP)


@part
def _offered(c: Any, w: Any, r: Any, place: Any, defined: Any) -> Any:
    """What a wrong start may name."""
    if c.retry_kind == WEAK:
        later = EMPTY
        for at in range(place + 1, r.needed):
            later |= bit(r.order[at])
        return later
    missing = w.graph & ~defined
    if c.retry_kind == MISS:
        return missing
    offered, left = EMPTY, missing
    while left:
        parameter = first(left)
        left &= left - 1
        if w.direct[parameter] & ~defined:
            offered |= bit(parameter)
    return offered


@part
def _wrong_starts(c: Any, w: Any, r: Any, place: Any, defined: Any, ids: Any, lost: Any) -> None:
    offered = _offered(c, w, r, place, defined)
    start, named = c.retry_mask == START_MASK, c.retry_mask != NO_MASK
    while offered != 0 and share(w) < c.retry_rate:
        w.lost = start
        put(w, ids, lost, DEFINE)
        w.lost = named
        name(c, w, r, nth(offered, below(w, count(offered))), ids, lost)
        w.lost = start
        put(w, ids, lost, AS)
        w.lost = 0
        put(w, ids, lost, BACK)
        put(w, ids, lost, STOP)


@part
def _mixed(c: Any, w: Any, r: Any, s: Any, ids: Any, lost: Any) -> None:
    """The problem's sentences, and uniformly among them those of noise."""
    own = other = 0
    while own < r.ip or other < w.noise:
        if w.noise == 0 or below(w, r.ip - own + w.noise - other) < r.ip - own:
            sentence(c, w, r, np.int64(r.sentences[own]), ids, lost)
            own += 1
        else:
            for at in range(s.at[other, 0], s.at[other, 1]):
                put(w, ids, lost, np.int64(s.ids[at]))
            other += 1


@part
def _solution(c: Any, w: Any, r: Any, ids: Any, lost: Any) -> None:
    w.state = mix(r.stream * _GOLDEN + _RETRY_STREAM)
    defined = EMPTY
    for place in range(r.needed):
        if c.retry_rate > 0:
            _wrong_starts(c, w, r, place, defined, ids, lost)
        _define(c, w, r, np.int64(r.order[place]), ids, lost)
        defined |= bit(r.order[place])


@part
def _shortened(c: Any, w: Any, r: Any, s: Any, ids: Any, lost: Any) -> None:
    """The solution without what the chain leaves out, all of which is written before that is known."""
    begin, out, out_lost = w.at, ids, lost
    if c.chain > 0:
        w.at, out, out_lost = 0, s.solution, s.lost
    _solution(c, w, r, out, out_lost)
    if c.chain > 0:
        mark_dropped(c, w, r, out, s.gone)
        length = w.at
        w.at = begin
        for at in range(length):
            if s.gone[at] == 0:
                put(w, ids, lost, np.int64(out[at]))


@part
def write(c: Any, w: Any, r: Any, s: Any, ids: Any, lost: Any) -> Any:
    """``<bos> <problem> P <solution> S <answer> v`` from the first id on; how many tokens it has.

    ``s`` is None without noise and shorter solutions: the compiler then leaves out what they need.
    """
    w.at = w.used = w.lost = 0
    put(w, ids, lost, BOS)
    put(w, ids, lost, PROBLEM)
    if c.question_first:
        _question(c, w, r, ids, lost)
    if s is None:
        for at in range(r.ip):
            sentence(c, w, r, np.int64(r.sentences[at]), ids, lost)
    else:
        _mixed(c, w, r, s, ids, lost)
    if not c.question_first:
        _question(c, w, r, ids, lost)
    put(w, ids, lost, SOLUTION)
    if s is None:
        _solution(c, w, r, ids, lost)
    else:
        _shortened(c, w, r, s, ids, lost)
    put(w, ids, lost, ANSWER)
    put(w, ids, lost, c.first_number + r.value[r.order[r.needed - 1]])
    return w.at
