"""Probabilities of all prefixes of a string, from left to right (Earley's algorithm with weights).

Notation, after tokens x_1 .. x_i of the string, all in log space:

- ``wish[i, l, a]``: probability that the text begins with x_1 .. x_i and a symbol a of level l starts behind token i.
  On the level of the terminals that is the probability of the prefix x_1 .. x_i a.
- a *span* (a, k, i): probability that a derives tokens k + 1 .. i.
- an *item* (u, k, i): probability that the symbols read on the way to node u (see tables) derive tokens k + 1 .. i.
- ``weight[k, u]``: sum over the rules whose right-hand sides pass node u of wish[k, l, parent] x P(rule): how probable
  it is that the text begins with x_1 .. x_k and goes on with such a rule.

Each token is read once: spans that end at it are completed from the terminals up, then wishes follow from the root
down.  Only what some wish asks for is ever built; a rule takes part only where its parent is wished for.
(Jelinek and Lafferty 1991 for prefixes; Stolcke 1995 for the left-to-right form.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from physlm.tasks.compiled import compiled
from physlm.tasks.grammar.membership import grown

MAX_ITEMS = 1 << 25  # of one string: 800 MB
MAX_STEPS = 1 << 29  # items looked at for one string: some ten seconds on one core


@compiled
def log_add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    if b == -math.inf:
        return a
    return a + math.log1p(math.exp(b - a))


@compiled
def ask(tables: Any, i: int, offsets: Any, items: Any, wish: Any, weight: Any) -> None:
    """Fill ``wish`` (of token i, all levels: level l begins at ``offsets[l]``) and ``weight[i]``."""
    item_node, item_start, item_log, begin, stop_at = items
    depth = tables.first_node.size - 1
    for symbol in range(wish.size):
        wish[symbol] = -math.inf
    if i == 0:
        wish[0] = 0.0
    for level in range(depth):
        root, stop = tables.first_node[level], tables.first_node[level + 1]
        for node in range(root, stop):
            weight[i, node] = -math.inf
        here, below = offsets[level], offsets[level + 1]
        asked = False
        for symbol in range(tables.sizes[level]):
            asked |= wish[here + symbol] > -math.inf
        if asked:
            for node in range(stop - 1, root, -1):  # a node's number is above that of the one before it
                total = weight[i, node]
                for k in range(tables.ends[node], tables.ends[node + 1]):
                    total = log_add(total, wish[here + tables.parent[k]] + tables.log_p[k])
                weight[i, node] = total
                before = tables.before[node]
                weight[i, before] = log_add(weight[i, before], total)
            for symbol in range(tables.sizes[level + 1]):
                node = tables.child[tables.row[root] + symbol]
                if node >= 0:
                    wish[below + symbol] = weight[i, node]
        for k in range(begin[i, level], stop_at[i, level]):
            row, start = tables.row[item_node[k]], item_start[k]
            for symbol in range(tables.sizes[level + 1]):
                node = tables.child[row + symbol]
                if node >= 0 and weight[start, node] > -math.inf:
                    wish[below + symbol] = log_add(wish[below + symbol], item_log[k] + weight[start, node])


@compiled
def extend(tables: Any, level: int, i: int, below: Any, items: Any, fresh: Any, counts: Any, weight: Any) -> Any:
    """Read the spans below ``level`` that end at i as next symbols of the items that end where they start.

    ``below`` = (symbol, start, log, slot): the spans; ``fresh`` = (node, start, log, slot): the new items, all that
    end at i.  ``counts`` holds the numbers of stored items, spans, new items, and items looked at.  Returns ``fresh``.
    """
    symbol, start, log, _ = below
    item_node, item_start, item_log, begin, stop_at = items
    fresh_node, fresh_start, fresh_log, slot = fresh
    root, made, width = tables.first_node[level], 0, weight.shape[0]
    for s in range(counts[1]):
        place = start[s]
        counts[3] += stop_at[place, level] - begin[place, level] + 1
        for k in range(begin[place, level] - 1, stop_at[place, level]):
            # one step before the slice: the empty item, which starts and ends at the place
            node, origin, value = root, place, 0.0
            if k >= begin[place, level]:
                node, origin, value = item_node[k], item_start[k], item_log[k]
            following = tables.child[tables.row[node] + symbol[s]]
            if following < 0 or weight[origin, following] == -math.inf:
                continue
            where = (following - root) * width + origin
            found = slot[where]
            if found < made and fresh_node[found] == following and fresh_start[found] == origin:
                fresh_log[found] = log_add(fresh_log[found], value + log[s])
                continue
            if made == fresh_node.size:
                fresh_node, fresh_start, fresh_log = grown(fresh_node), grown(fresh_start), grown(fresh_log)
            fresh_node[made], fresh_start[made], fresh_log[made] = following, origin, value + log[s]
            slot[where] = made
            made += 1
    counts[2] = made
    return fresh_node, fresh_start, fresh_log, slot


@compiled
def complete(tables: Any, level: int, offset: int, wish: Any, fresh: Any, counts: Any, above: Any) -> Any:
    """The spans of ``level`` that the new items finish, as ``above`` = (symbol, start, log, slot)."""
    fresh_node, fresh_start, fresh_log, _ = fresh
    symbol, start, log, slot = above
    width, count = wish.shape[0], 0
    for k in range(counts[2]):
        node, origin = fresh_node[k], fresh_start[k]
        for rule in range(tables.ends[node], tables.ends[node + 1]):
            parent = tables.parent[rule]
            if wish[origin, offset + parent] == -math.inf:
                continue
            value, where = fresh_log[k] + tables.log_p[rule], parent * width + origin
            found = slot[where]
            if found < count and symbol[found] == parent and start[found] == origin:
                log[found] = log_add(log[found], value)
                continue
            if count == symbol.size:
                symbol, start, log = grown(symbol), grown(start), grown(log)
            symbol[count], start[count], log[count] = parent, origin, value
            slot[where] = count
            count += 1
    counts[1] = count
    return symbol, start, log, slot


@compiled
def keep_items(tables: Any, level: int, i: int, fresh: Any, counts: Any, items: Any) -> Any:
    """Store the new items that can go on; ``items``.  Above ``MAX_ITEMS`` their number becomes negative."""
    fresh_node, fresh_start, fresh_log, _ = fresh
    item_node, item_start, item_log, begin, stop_at = items
    used = counts[0]
    begin[i, level] = used
    for k in range(counts[2]):
        if tables.row[fresh_node[k]] < 0:
            continue
        if used == item_node.size:
            if used >= MAX_ITEMS:
                used = -1
                break
            item_node, item_start, item_log = grown(item_node), grown(item_start), grown(item_log)
        item_node[used], item_start[used], item_log[used] = fresh_node[k], fresh_start[k], fresh_log[k]
        used += 1
    stop_at[i, level] = counts[0] = used
    return item_node, item_start, item_log, begin, stop_at


@compiled
def triple(room: int, slots: int) -> Any:
    """Empty (number, start, log, slot) arrays."""
    return np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room), np.zeros(slots, np.int64)


@compiled
def scan(tables: Any, tokens: Any, joint: Any) -> bool:
    """``joint[i, 0]`` = log P(x_1 .. x_i is the whole string), ``joint[i, 1 + t]`` = log P(it begins x_1 .. x_i t).

    ``joint`` comes filled with -inf, and the rows of impossible prefixes stay so.  False if the items would
    fill the memory, or take too long to look at.
    """
    depth, width = tables.first_node.size - 1, tokens.size + 1
    offsets, most_nodes, most_symbols = np.zeros(depth + 2, np.int64), 0, 0
    for level in range(depth + 1):
        offsets[level + 1] = offsets[level] + tables.sizes[level]
        most_symbols = max(most_symbols, tables.sizes[level])
    for level in range(depth):
        most_nodes = max(most_nodes, tables.first_node[level + 1] - tables.first_node[level])
    wish, weight = np.empty((width, offsets[-1])), np.empty((width, tables.row.size))
    begin, stop_at = np.zeros((width, depth), np.int64), np.zeros((width, depth), np.int64)
    items = (np.empty(8 * width, np.int64), np.empty(8 * width, np.int64), np.empty(8 * width), begin, stop_at)
    fresh = triple(16, most_nodes * width)
    low, high = triple(16, most_symbols * width), triple(16, most_symbols * width)
    counts = np.zeros(4, np.int64)
    for i in range(width):
        if i > 0:
            token = tokens[i - 1]
            if token < 0 or token >= tables.sizes[-1] or joint[i - 1, 1 + token] == -math.inf:
                return True
            low[0][0], low[1][0], low[2][0], counts[1] = token, i - 1, 0.0, 1
            for level in range(depth - 1, -1, -1):
                fresh = extend(tables, level, i, low, items, fresh, counts, weight)
                items = keep_items(tables, level, i, fresh, counts, items)
                if counts[0] < 0 or counts[3] > MAX_STEPS:
                    return False
                high = complete(tables, level, offsets[level], wish, fresh, counts, high)
                low, high = high, low
            if counts[1] > 0:
                joint[i, 0] = low[2][0]
        for level in range(depth):  # what ``ask`` looks at
            counts[3] += tables.first_node[level + 1] - tables.first_node[level]
            counts[3] += (stop_at[i, level] - begin[i, level]) * tables.sizes[level + 1]
        if counts[3] > MAX_STEPS:
            return False
        ask(tables, i, offsets, items, wish[i], weight)
        for symbol in range(tables.sizes[-1]):
            joint[i, 1 + symbol] = wish[i, offsets[depth] + symbol]
    return True
