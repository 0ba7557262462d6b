"""The number of parses of a string, exact however large.

The spans of a string (see membership) are few, but the numbers of their derivations may have hundreds of digits.  They
are counted in float64 first, which is exact up to 2^53.  A larger number is counted again modulo primes and put
together from its remainders (the Chinese remainder theorem), so the inner loop never leaves machine numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from physlm.errors import UserError
from physlm.tasks.grammar.chart import too_many_spans
from physlm.tasks.grammar.compiled import compiled
from physlm.tasks.grammar.grammar import Grammar
from physlm.tasks.grammar.membership import grown, keep_rows, lay_tokens, rise, workspace
from physlm.tasks.grammar.statistics import derivations
from physlm.tasks.grammar.tables import Ints, Tables

_EXACT = float(1 << 53)
MAX_STEPS = 5e8  # spans of a level times tokens: seconds for each of what may be a hundred primes
_PRIMES_BELOW = 1 << 26  # products of two remainders stay below 2^52


def count_parses(grammar: Grammar, tables: Tables, tokens: Ints) -> int:
    """Parses of a valid string.

    Raises:
        UserError: a string so long and so ambiguous that counting would take many minutes.
    """
    ways = _count(tables, tokens, math.inf)
    if ways < _EXACT:
        return int(ways)
    # float64 rounds each of the sums and products by less than 2^-52: far less than the factor 2 in all
    bound = 2 * int(ways) if ways < math.inf else derivations(grammar)  # of all strings together
    result, modulus = 0, 1
    for prime in _primes():
        remainder = int(_count(tables, tokens, float(prime)))
        result += modulus * ((remainder - result) * pow(modulus, -1, prime) % prime)
        modulus *= prime
        if modulus > bound:
            return result
    raise AssertionError("the primes are enough for every string that fits in memory")


def _primes() -> Iterator[int]:
    """Primes from ``_PRIMES_BELOW`` down."""
    small = [q for q in range(2, math.isqrt(_PRIMES_BELOW) + 1) if all(q % r for r in range(2, math.isqrt(q) + 1))]
    for number in range(_PRIMES_BELOW - 1, small[-1], -2):
        if all(number % q for q in small):
            yield number


def _count(tables: Tables, tokens: Ints, modulus: float) -> float:
    """Parses of the whole string, modulo ``modulus`` (infinite: as they are)."""
    n = tokens.size
    low, high, seen, agenda, behind = workspace(tables, n)
    lay_tokens(tables, tokens, low)
    ways = np.ones(n)
    where = np.zeros_like(seen[1]), np.zeros_like(seen[2])
    for level in range(tables.first_node.size - 2, -1, -1):
        high, agenda = rise(tables, level, n, low, high, seen, agenda, True)
        if seen[0][1]:
            raise too_many_spans("count", tokens.size)
        first, _, end = high
        if float(first[n]) * n > MAX_STEPS:
            raise UserError(f"count: a string of {tokens.size} tokens has {first[n]} spans on level {level + 1}, "
                            "expected a shorter string or a less ambiguous grammar")
        ways_above = np.zeros(first[n])
        add_ways(tables, level, n, low, ways, high, ways_above, where, modulus)
        starts, ends = np.repeat(np.arange(n), np.diff(first[: n + 1])), end[: first[n]].copy()
        n = keep_rows(n, high, behind)
        assert n > 0, "the string is valid"
        ways = ways_above[(behind[starts] >= 0) & (behind[ends] >= 0)]
        low, high = high, low
    return float(ways[0])


@compiled
def add_ways(tables: Any, level: int, n: int, below: Any, ways: Any, above: Any, ways_above: Any, where: Any,
             modulus: float) -> None:
    """``ways_above[k]`` = derivations of the k-th span of ``above`` from those of ``below``.

    ``where`` = working memory of zeros or older entries: where a (node, end) and a (symbol, end) of this start lie.
    """
    first, symbol, end = below
    up_first, up_symbol, up_end = above
    node_at, span_at = where
    root, width = tables.first_node[level], n + 1
    agenda_node, agenda_end, agenda_ways = np.empty(16, np.int64), np.empty(16, np.int64), np.empty(16)
    for start in range(n):
        if up_first[start] == up_first[start + 1]:
            continue
        for k in range(up_first[start], up_first[start + 1]):
            span_at[up_symbol[k] * width + up_end[k]] = k
        head, tail = 0, 1
        agenda_node[0], agenda_end[0], agenda_ways[0] = root, start, 1.0
        # nodes come in order of the symbols read, so a node has all its ways when its turn comes
        while head < tail:
            node, place, own = agenda_node[head], agenda_end[head], agenda_ways[head]
            head += 1
            for k in range(tables.ends[node], tables.ends[node + 1]):
                slot = span_at[tables.parent[k] * width + place]
                ways_above[slot] = reduced(ways_above[slot] + own, modulus)
            row = tables.row[node]
            if row < 0:
                continue
            for k in range(first[place], first[place + 1]):
                following = tables.child[row + symbol[k]]
                if following < 0:
                    continue
                more = reduced(own * ways[k], modulus)
                slot = (following - root) * width + end[k]
                found = node_at[slot]
                if found < tail and agenda_node[found] == following and agenda_end[found] == end[k]:
                    agenda_ways[found] = reduced(agenda_ways[found] + more, modulus)
                    continue
                if tail == agenda_node.size:
                    agenda_node, agenda_end, agenda_ways = grown(agenda_node), grown(agenda_end), grown(agenda_ways)
                agenda_node[tail], agenda_end[tail], agenda_ways[tail] = following, end[k], more
                node_at[slot] = tail
                tail += 1


@compiled
def reduced(value: float, modulus: float) -> float:
    """``value`` modulo ``modulus``; as it is where that is infinite."""
    return value if value < modulus or modulus == math.inf else value % modulus
