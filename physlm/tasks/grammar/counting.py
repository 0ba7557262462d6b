"""The number of parses of a string, exact however large.

The spans of a string (see membership) are few, but the numbers of their derivations may have hundreds of digits.  They
are counted in float64 first, which is exact up to 2^53.  A larger number is counted again modulo primes and put
together from its remainders (the Chinese remainder theorem), so the inner loop never leaves machine numbers.  How many
primes that takes is known from the number of digits, which is counted with logarithms where float64 overflows.

Several primes are counted at once: P numbers for each span.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from physlm.errors import UserError
from physlm.tasks.compiled import compiled
from physlm.tasks.grammar.chart import check_room, too_many_spans
from physlm.tasks.grammar.membership import grown, keep_rows, lay_tokens, rise, workspace
from physlm.tasks.grammar.tables import Floats, Ints, Tables

_EXACT = float(1 << 53)
MAX_STEPS = 1 << 32  # spans looked at, once for each prime: some ten seconds on one core
_PRIMES_BELOW = 1 << 26  # products of two remainders stay below 2^52
_TOGETHER = 16  # primes counted at once
_PLAIN, _LOGARITHMS = np.array([math.inf]), np.array([-1.0])  # for a modulus


def count_parses(tables: Tables, tokens: Ints) -> int:
    """Parses of a valid string.

    Raises:
        UserError: a string so long and so ambiguous that counting would take minutes.
    """
    ways_P, steps = _count(tables, tokens, _PLAIN)
    if ways_P[0] < _EXACT:
        return int(ways_P[0])
    if ways_P[0] < math.inf:
        bits = math.log2(ways_P[0])
    else:
        bits = float(_count(tables, tokens, _LOGARITHMS)[0][0])
    # float64 rounds each of the sums and products by less than 2^-52: far less than the factor 2, and that in all
    bits += 1 + 1e-6 * bits
    steps *= (needed := math.ceil(bits / math.log2(_PRIMES_BELOW // 2)))
    if steps > MAX_STEPS:
        raise UserError(f"count: a string of {tokens.size} tokens has about 10^{bits * math.log10(2):.0f} parses, "
                        f"which take {steps:,} steps to count, expected at most {MAX_STEPS:,}: a shorter string or a "
                        "less ambiguous grammar")
    primes = list(islice(_primes(), needed))
    result, modulus = 0, 1
    for start in range(0, len(primes), _TOGETHER):
        some = primes[start : start + _TOGETHER]
        remainders, _ = _count(tables, tokens, np.array(some, np.float64))
        for prime, remainder in zip(some, remainders.tolist(), strict=True):
            result += modulus * ((int(remainder) - result) * pow(modulus, -1, prime) % prime)
            modulus *= prime
    return result


def _primes() -> Iterator[int]:
    """Primes from ``_PRIMES_BELOW`` down; far more than are ever asked for are above half of it."""
    small = [q for q in range(2, math.isqrt(_PRIMES_BELOW) + 1) if all(q % r for r in range(2, math.isqrt(q) + 1))]
    for number in range(_PRIMES_BELOW - 1, _PRIMES_BELOW // 2, -2):
        if all(number % q for q in small):
            yield number


def _count(tables: Tables, tokens: Ints, modulus_P: Floats) -> tuple[Floats, int]:
    """Parses of the whole string, modulo each of ``modulus_P``, (P,), and the steps that a single one takes.

    A modulus that is infinite leaves the numbers as they are; a negative one counts with logarithms to base 2.
    """
    n, count = tokens.size, modulus_P.size
    check_room("count", tables, n)
    low, high, seen, agenda, behind = workspace(tables, n)
    lay_tokens(tables, tokens, low)
    ways = np.full(n * count, 0.0 if modulus_P[0] < 0 else 1.0)
    where = np.zeros_like(seen[1]), np.zeros_like(seen[2])
    steps = np.zeros(1, np.int64)
    for level in range(tables.first_node.size - 2, -1, -1):
        high, agenda = rise(tables, level, n, low, high, seen, agenda, True)
        if seen[0][1]:
            raise too_many_spans("count", tokens.size)
        first, _, end = high
        ways_above = np.full(first[n] * count, -math.inf if modulus_P[0] < 0 else 0.0)
        if not add_ways(tables, level, n, low, ways, high, ways_above, where, modulus_P, steps, MAX_STEPS):
            raise UserError(f"count: a string of {tokens.size} tokens has spans that take more than {MAX_STEPS:,} "
                            "steps to count, expected a shorter string or a less ambiguous grammar")
        starts, ends = np.repeat(np.arange(n), np.diff(first[: n + 1])), end[: first[n]].copy()
        n = keep_rows(n, high, behind)
        assert n > 0, "the string is valid"
        ways = ways_above.reshape(-1, count)[(behind[starts] >= 0) & (behind[ends] >= 0)].reshape(-1)
        low, high = high, low
    return ways[:count], int(steps[0])


@compiled
def add_ways(tables: Any, level: int, n: int, below: Any, ways: Any, above: Any, ways_above: Any, where: Any,
             modulus_P: Any, steps: Any, most: int) -> bool:
    """``ways_above[k]`` = derivations of the k-th span of ``above`` from those of ``below``.

    ``where`` = working memory of zeros or older entries: where a (node, end) and a (symbol, end) of this start lie.
    ``steps[0]`` counts the spans looked at.  False if they become more than ``most``.
    """
    first, symbol, end = below
    up_first, up_symbol, up_end = above
    node_at, span_at = where
    root, width, count = tables.first_node[level], n + 1, modulus_P.size
    agenda_node, agenda_end, agenda_ways = np.empty(16, np.int64), np.empty(16, np.int64), np.empty(16 * count)
    one = np.full(count, 0.0 if modulus_P[0] < 0 else 1.0)
    for start in range(n):
        if up_first[start] == up_first[start + 1]:
            continue
        for k in range(up_first[start], up_first[start + 1]):
            span_at[up_symbol[k] * width + up_end[k]] = k
        head, tail = 0, 1
        agenda_node[0], agenda_end[0] = root, start
        agenda_ways[:count] = one
        # nodes come in order of the symbols read, so a node has all its ways when its turn comes
        while head < tail:
            node, place, own = agenda_node[head], agenda_end[head], head * count
            head += 1
            row = tables.row[node]
            steps[0] += 1 + tables.ends[node + 1] - tables.ends[node]
            if row >= 0:
                steps[0] += first[place + 1] - first[place]
            if steps[0] > most:
                return False
            for k in range(tables.ends[node], tables.ends[node + 1]):
                slot = span_at[tables.parent[k] * width + place] * count
                add(ways_above, slot, agenda_ways, own, one, 0, modulus_P)
            if row < 0:
                continue
            for k in range(first[place], first[place + 1]):
                following = tables.child[row + symbol[k]]
                if following < 0:
                    continue
                slot = (following - root) * width + end[k]
                found = node_at[slot]
                if found < tail and agenda_node[found] == following and agenda_end[found] == end[k]:
                    add(agenda_ways, found * count, agenda_ways, own, ways, k * count, modulus_P)
                    continue
                if tail == agenda_node.size:
                    agenda_node, agenda_end, agenda_ways = grown(agenda_node), grown(agenda_end), grown(agenda_ways)
                agenda_node[tail], agenda_end[tail], node_at[slot] = following, end[k], tail
                agenda_ways[tail * count : (tail + 1) * count] = -math.inf if modulus_P[0] < 0 else 0.0
                add(agenda_ways, tail * count, agenda_ways, own, ways, k * count, modulus_P)
                tail += 1
    return True


@compiled
def add(total: Any, at: int, first: Any, at_first: int, second: Any, at_second: int, modulus_P: Any) -> None:
    """``total += first * second`` for P numbers of each from a place on, by the rules of ``modulus_P``."""
    if modulus_P[0] < 0:
        total[at] = log2_add(total[at], first[at_first] + second[at_second])
        return
    if modulus_P[0] == math.inf:
        total[at] += first[at_first] * second[at_second]
        return
    for p in range(modulus_P.size):
        value = total[at + p] + first[at_first + p] * second[at_second + p]
        # exact: the value is below 2^53, and the quotient is 1 / modulus > 2^-27 away from the next integer, more than
        # it is rounded by
        total[at + p] = value - np.floor(value / modulus_P[p]) * modulus_P[p]


@compiled
def log2_add(a: float, b: float) -> float:
    """log2(2^a + 2^b)."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log2(1.0 + 2.0 ** (b - a))
