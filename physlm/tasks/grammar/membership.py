"""Which strings a grammar generates, level by level from the terminals up.

Notation: a *span* (a, i, j) of a level says that its symbol a derives tokens i .. j - 1.  The spans of a level follow
from those of the level below by reading the right-hand sides along neighbouring spans.  What makes this fast is that a
parse cuts the whole string into spans of one level: a span is kept only if some row of neighbouring spans of its level
leads from 0 to its start, and one from its end to n.  In the published grammars (arXiv 2305.13673) less than one span
a token remains on the lowest level, and far fewer above; after a wrong token there is mostly no row at all.

The spans of a level lie in three arrays, ordered by start: ``first[i] .. first[i + 1]`` is the slice of ``symbol`` and
``end`` that holds the spans that start at i.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from physlm.tasks.compiled import compiled

MAX_SPANS = 1 << 24  # of one level of one string: 256 MB
MAX_STEPS = 1 << 31  # spans looked at for one string, or eight words of bits joined: some ten seconds on one core
VALID, TOO_MANY = 1, 2
_DENSE = 24  # spans a place from which on rows of bits are faster than lists
_MOST_WORDS = 1 << 26  # 64-bit words of such rows: 512 MB


@compiled
def grown(array: Any) -> Any:
    """The array in one of twice its length."""
    larger = np.empty(2 * array.size, array.dtype)
    for k in range(array.size):  # assigning a slice compiles far longer
        larger[k] = array[k]
    return larger


@compiled
def rise_dense(tables: Any, level: int, n: int, below: Any, above: Any, tickets: Any, prune: bool) -> Any:
    """What ``rise`` does, for very ambiguous strings: sets of ends are rows of bits, joined 64 ends at a time."""
    first, symbol, end = below
    up_first, up_symbol, up_end = above
    root, stop = tables.first_node[level], tables.first_node[level + 1]
    words, count = n // 64 + 1, 0
    ends_of = np.zeros((tables.sizes[level + 1], n + 1, words), np.int64)
    for place in range(n):
        for k in range(first[place], first[place + 1]):
            ends_of[symbol[k], place, end[k] >> 6] |= 1 << (end[k] & 63)
    at_node, own = np.empty((stop - root, words), np.int64), np.empty((tables.sizes[level], words), np.int64)
    reached = np.zeros(n + 1, np.bool_)
    reached[0] = True
    starts = min(n, 1) if prune and level == 0 else n
    for start in range(starts):
        up_first[start] = count
        if (prune and not reached[start]) or first[start] == first[start + 1]:
            continue
        if tickets[2] > MAX_STEPS:
            tickets[1] = 1
            return up_first, up_symbol, up_end
        tickets[2] += (stop - root + own.shape[0]) * (words // 8 + n - start)
        at_node[:] = 0
        own[:] = 0
        at_node[0, start >> 6] = 1 << (start & 63)
        for node in range(root, stop):  # a node's number is above that of the one before it
            here, row = at_node[node - root], tables.row[node]
            for k in range(tables.ends[node], tables.ends[node + 1]):
                join(own[tables.parent[k]], here, start >> 6)
            for place in range(start, n):
                if row < 0 or not here[place >> 6] >> (place & 63) & 1 or first[place] == first[place + 1]:
                    continue
                tickets[2] += tables.sizes[level + 1] * (1 + (words - (place >> 6)) // 8)
                for following in range(tables.sizes[level + 1]):
                    node_after = tables.child[row + following]
                    if node_after >= 0:
                        join(at_node[node_after - root], ends_of[following, place], place >> 6)
        for parent in range(own.shape[0]):
            for place in range(start + 1, n + 1):
                if own[parent, place >> 6] >> (place & 63) & 1:
                    if count == up_symbol.size:
                        if count >= MAX_SPANS:
                            tickets[1] = 1
                            return up_first, up_symbol, up_end
                        up_symbol, up_end = grown(up_symbol), grown(up_end)
                    up_symbol[count], up_end[count] = parent, place
                    reached[place] = True
                    count += 1
    for start in range(starts, n + 2):
        up_first[start] = count
    return up_first, up_symbol, up_end


@compiled
def join(total: Any, more: Any, word: int) -> None:
    """``total |= more`` from a word on."""
    for w in range(word, total.size):
        total[w] |= more[w]


@compiled
def rise(tables: Any, level: int, n: int, below: Any, above: Any, seen: Any, agenda: Any, prune: bool) -> Any:
    """The spans of ``level`` from those of the level below it; ``above`` = (first, symbol, end) is overwritten.

    ``seen`` = (tickets, node_seen, span_seen) and ``agenda`` = (node, end) are working memory: a node or span has been
    met at this start if it carries the current ticket, ``tickets[0]``.  With ``prune`` only starts that a row of spans
    reaches from 0 are expanded.  ``tickets[2]`` counts steps; above ``MAX_STEPS`` of them, and above ``MAX_SPANS``, it
    stops and sets ``tickets[1]``.  Returns ``above`` and ``agenda``.
    """
    first, symbol, end = below
    up_first, up_symbol, up_end = above
    tickets, node_seen, span_seen = seen
    agenda_node, agenda_end = agenda
    if first[n] > _DENSE * n and tables.sizes[level + 1] * (n + 1) * (n // 64 + 1) <= _MOST_WORDS:
        return rise_dense(tables, level, n, below, above, tickets, prune), agenda
    root, width, count = tables.first_node[level], n + 1, 0
    reached = np.zeros(n + 1, np.bool_)
    reached[0] = True
    ticket = tickets[0]
    starts = min(n, 1) if prune and level == 0 else n
    for start in range(starts):
        up_first[start] = count
        if (prune and not reached[start]) or first[start] == first[start + 1]:
            continue
        ticket += 1
        head, tail = 0, 1
        agenda_node[0], agenda_end[0] = root, start
        while head < tail:
            node, place = agenda_node[head], agenda_end[head]
            head += 1
            row = tables.row[node]
            tickets[2] += 1 + tables.ends[node + 1] - tables.ends[node]
            if row >= 0:
                tickets[2] += first[place + 1] - first[place]
            if tickets[2] > MAX_STEPS:
                tickets[1] = 1
                return (up_first, up_symbol, up_end), (agenda_node, agenda_end)
            for k in range(tables.ends[node], tables.ends[node + 1]):
                slot = tables.parent[k] * width + place
                if span_seen[slot] != ticket:
                    span_seen[slot] = ticket
                    if count == up_symbol.size:
                        if count >= MAX_SPANS:
                            tickets[1] = 1
                            return (up_first, up_symbol, up_end), (agenda_node, agenda_end)
                        up_symbol, up_end = grown(up_symbol), grown(up_end)
                    up_symbol[count], up_end[count] = tables.parent[k], place
                    reached[place] = True
                    count += 1
            if row < 0:
                continue
            for k in range(first[place], first[place + 1]):
                following = tables.child[row + symbol[k]]
                if following < 0:
                    continue
                slot = (following - root) * width + end[k]
                if node_seen[slot] != ticket:
                    node_seen[slot] = ticket
                    if tail == agenda_node.size:
                        agenda_node, agenda_end = grown(agenda_node), grown(agenda_end)
                    agenda_node[tail], agenda_end[tail] = following, end[k]
                    tail += 1
    for start in range(starts, n + 2):
        up_first[start] = count
    tickets[0] = ticket
    return (up_first, up_symbol, up_end), (agenda_node, agenda_end)


@compiled
def keep_rows(n: int, spans: Any, behind: Any) -> int:
    """Drop the spans from whose end no row of spans leads to n, and renumber the places in between.

    Only places that rows from 0 to n visit keep a number, so that there is ever less to walk through on the way up.
    Returns the new number of the old place n, 0 if no row leads there.  ``behind[place]`` = how many visited places
    follow; -1 for a place that is not visited.
    """
    first, symbol, end = spans
    visited = 0
    behind[n] = 0
    for start in range(n - 1, -1, -1):
        behind[start] = -1
        for k in range(first[start], first[start + 1]):
            if behind[end[k]] >= 0:
                visited += 1
                behind[start] = visited
                break
    if behind[0] < 0:
        return 0
    count = 0
    for start in range(n):
        if behind[start] < 0:
            continue
        low, high = first[start], first[start + 1]
        first[visited - behind[start]] = count
        for k in range(low, high):
            if behind[end[k]] >= 0:
                symbol[count], end[count] = symbol[k], visited - behind[end[k]]
                count += 1
    first[visited] = first[visited + 1] = count
    return visited


@compiled
def workspace(tables: Any, n: int) -> Any:
    """(two sets of spans, seen, agenda, behind) for strings of up to n tokens."""
    room = 4 * n + 16
    most_nodes, most_symbols = 0, 0
    for level in range(tables.first_node.size - 1):
        most_nodes = max(most_nodes, tables.first_node[level + 1] - tables.first_node[level])
        most_symbols = max(most_symbols, tables.sizes[level])
    low = (np.empty(n + 2, np.int64), np.empty(room, np.int64), np.empty(room, np.int64))
    high = (np.empty(n + 2, np.int64), np.empty(room, np.int64), np.empty(room, np.int64))
    seen = (np.zeros(3, np.int64), np.zeros(most_nodes * (n + 1), np.int64), np.zeros(most_symbols * (n + 1), np.int64))
    agenda = (np.empty(room, np.int64), np.empty(room, np.int64))
    return low, high, seen, agenda, np.empty(n + 1, np.int64)


@compiled
def lay_tokens(tables: Any, tokens: Any, spans: Any) -> bool:
    """Write a string as spans of length 1, leaving out tokens outside of the alphabet; whether there were none."""
    first, symbol, end = spans
    alphabet, count = tables.sizes[-1], 0
    for place in range(tokens.size):
        first[place] = count
        if 0 <= tokens[place] < alphabet:
            symbol[count], end[count] = tokens[place], place + 1
            count += 1
    first[tokens.size] = first[tokens.size + 1] = count
    return bool(count == tokens.size)


@compiled
def membership(tables: Any, flat: Any, start_B: Any, length_B: Any, shortest: int, longest: int, prune: bool,
               verdict_B: Any) -> None:
    """Set ``verdict_B[b]``: VALID if the grammar generates ``flat[start_B[b] :][: length_B[b]]``, TOO_MANY, or 0.

    ``prune`` is True.  (A constant True inside would have ``rise`` compiled once more.)
    """
    low, high, seen, agenda, behind = workspace(tables, longest)
    for b in range(length_B.size):
        n, seen[0][2] = length_B[b], 0
        if n < shortest or n > longest or not lay_tokens(tables, flat[start_B[b] : start_B[b] + n], low):
            verdict_B[b] = 0
            continue
        level = tables.first_node.size - 2
        while n > 0 and level >= 0:
            high, agenda = rise(tables, level, n, low, high, seen, agenda, prune)
            n = 0 if seen[0][1] else keep_rows(n, high, behind)
            low, high = high, low
            level -= 1
        verdict_B[b] = TOO_MANY if seen[0][1] else VALID if n > 0 else 0
        seen[0][1] = 0
