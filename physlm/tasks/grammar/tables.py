"""A grammar as arrays, so that one compilation of a kernel serves every grammar.

The right-hand sides of a level form a trie over the symbols of the level below.  Node 0 of a level stands at the
empty sequence; reading symbol s at node u leads to node ``child[row[u] + s]`` (-1: no rule goes on like this).  A node
where right-hand sides end lists the symbols that have them, with the rules' probabilities:

    a -> x y | x y z                       empty -x-> 1 -y-> 2 -z-> 3
    b -> x y                               node 2 lists a and b, node 3 lists a

Nodes are numbered through all levels; within a level a node's number is above those of the nodes before it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from physlm.errors import UserError
from physlm.tasks.grammar.grammar import Grammar, Rule

MAX_CHILD = 1 << 26  # entries of ``child``: 512 MB

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Tables(NamedTuple):
    """What the kernels read; U nodes in all, levels counted from 0 (the root) to ``depth`` (the terminals).

    Attributes:
        sizes: symbols of each level (depth + 1).
        first_node: the empty node of each level but the last (depth), then U.
        row: start of a node's entries in ``child``, -1 for a node with nothing behind it (U).
        child: see above; -1 or a node.
        before: the node before a node, -1 for empty nodes (U).
        ends: slice ``ends[u] .. ends[u + 1]`` of ``parent`` and ``log_p`` belongs to node u (U + 1).
        parent: a symbol that has the right-hand side of the node.
        log_p: natural logarithm of that rule's probability.
    """

    sizes: Ints
    first_node: Ints
    row: Ints
    child: Ints
    before: Ints
    ends: Ints
    parent: Ints
    log_p: Floats


def tables(grammar: Grammar) -> Tables:
    """The arrays of a grammar.

    Raises:
        UserError: so many beginnings of right-hand sides times symbols that ``child`` would fill the memory.
    """
    sizes = [len(names) for names in grammar.levels]
    first_node, ends = [0], [0]
    row: list[int] = []
    child: list[Ints] = []
    children = 0
    before: list[int] = []
    parent: list[int] = []
    log_p: list[float] = []
    for level, rules in enumerate(grammar.rules):
        number: dict[tuple[int, ...], int] = {(): first_node[-1]}
        for side in sorted({rule.children[:k] for rule in rules for k in range(1, len(rule.children) + 1)},
                           key=lambda side: (len(side), side)):
            number[side] = first_node[-1] + len(number)
        following: dict[tuple[int, ...], list[int]] = {}
        for side in number:
            if side:
                following.setdefault(side[:-1], []).append(side[-1])
        ending_at: dict[tuple[int, ...], list[Rule]] = {}
        for rule in rules:
            ending_at.setdefault(rule.children, []).append(rule)
        if children + len(following) * sizes[level + 1] > MAX_CHILD:
            raise UserError(f"grammar: the rules of level {level + 1} have {len(following):,} different beginnings "
                            f"over {sizes[level + 1]:,} symbols, expected at most {MAX_CHILD:,} for one times the "
                            "other")
        for side in number:
            row.append(children if side in following else -1)
            if side in following:
                entries = np.full(sizes[level + 1], -1, np.int64)
                entries[following[side]] = [number[(*side, symbol)] for symbol in following[side]]
                child.append(entries)
                children += entries.size
            before.append(number[side[:-1]] if side else -1)
            ending = ending_at.get(side, [])
            parent += [rule.parent for rule in ending]
            log_p += [math.log(rule.probability) for rule in ending]
            ends.append(len(parent))
        first_node.append(first_node[-1] + len(number))
    def ints(values: list[int]) -> Ints:
        return np.array(values, np.int64)

    return Tables(ints(sizes), ints(first_node), ints(row), np.concatenate(child), ints(before), ints(ends),
                  ints(parent), np.array(log_p))


def length_range(grammar: Grammar) -> list[tuple[Ints, Ints]]:
    """For each level (least, greatest) number of terminals below each of its symbols."""
    least = most = np.ones(len(grammar.terminals), np.int64)
    ranges = [(least, most)]
    for level in range(grammar.depth - 1, -1, -1):
        sides = [[list(rule.children) for rule in grammar.rules_of(level, symbol)]
                 for symbol in range(len(grammar.levels[level]))]
        least, most = (np.array([min(least[side].sum() for side in own) for own in sides]),
                       np.array([max(most[side].sum() for side in own) for own in sides]))
        ranges.insert(0, (least, most))
    return ranges
