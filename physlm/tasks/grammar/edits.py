"""The least number of tokens to replace until a string is valid.

``cost(a, i, k)`` = least number of replaced tokens for which symbol a derives the k tokens from i on.  For a terminal
it is 0 or 1; for a right-hand side, the least sum over the ways to cut the k tokens; for a symbol, the least over its
right-hand sides.  Unlike parsing, every span of a possible length has a cost, so the tables are dense, and the inner
loop runs over all starts i at once.  float32 holds these small integers exactly; its infinity means "no such length".
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from physlm.errors import UserError
from physlm.tasks.compiled import compiled
from physlm.tasks.grammar.tables import Ints, Tables

MAX_BYTES = 2 << 30
MAX_STEPS = 1 << 35  # sums of two costs: some ten seconds on one core


def least_edits(tables: Tables, lengths: list[tuple[Ints, Ints]], tokens: Ints) -> int | None:
    """Replaced tokens until ``tokens`` (1 or more) are valid; None where no valid string has this length.

    Args:
        tables: of the grammar.
        lengths: for each level (least, greatest) length of each of its symbols.
        tokens: the string.

    Raises:
        UserError: the tables would take more than 2 GiB, or minutes to fill.
    """
    n, depth = tokens.size, len(lengths) - 1
    below = np.ones((len(lengths[-1][0]), 1, n), np.float32)
    for symbol in range(len(below)):
        below[symbol, 0, tokens == symbol] = 0
    low, steps = 1, np.zeros(1, np.int64)
    for level in range(depth - 1, -1, -1):
        least, most = lengths[level]
        shortest, longest = min(int(least.min()), n), min(int(most.max()), n)
        if level == 0:
            shortest = longest = n
        starts = n if level else 1
        size = 4 * starts * ((longest - shortest + 1) * len(least) + _node_lengths(tables, level, n, below, low))
        size += below.nbytes
        if size > MAX_BYTES:
            raise UserError(f"edits: a string of {n} tokens would take {size / 2**30:.1f} GiB, expected at most "
                            f"{MAX_BYTES >> 30}")
        above = np.full((len(least), longest - shortest + 1, starts), np.inf, np.float32)
        if not raise_costs(tables, level, n, below, low, above, shortest, steps, MAX_STEPS):
            raise UserError(f"edits: a string of {n} tokens takes more than {MAX_STEPS:,} steps, expected a shorter "
                            "string or a less ambiguous grammar")
        below, low = above, shortest
    return int(below[0, 0, 0]) if np.isfinite(below[0, 0, 0]) else None


def _node_lengths(tables: Tables, level: int, n: int, below: npt.NDArray[np.float32], low: int) -> int:
    """Lengths that the symbols read on the way to a node may have, over all nodes of a level that keep their costs."""
    root, stop = int(tables.first_node[level]), int(tables.first_node[level + 1])
    high, read, total = min(low + below.shape[1] - 1, n), {root: 0}, 0
    for node in range(root + 1, stop):
        read[node] = read[int(tables.before[node])] + 1
        if read[node] > 1:
            total += max(min(read[node] * high, n) - read[node] * low + 1, 0)
    return total


@compiled
def raise_costs(tables: Any, level: int, n: int, below: Any, low: int, above: Any, shortest: int, steps: Any,
                most: int) -> bool:
    """Costs of the symbols of a level: ``above[a, k - shortest, i]`` from ``below[b, k - low, i]``.

    ``steps[0]`` counts the sums.  False if they become more than ``most``.
    """
    root, stop = tables.first_node[level], tables.first_node[level + 1]
    starts, longest = above.shape[2], shortest + above.shape[1] - 1
    high = min(low + below.shape[1] - 1, n)
    # costs of the symbols read on the way to each node, by the length of the part they derive
    costs = [below[0]] * (stop - root)
    lows, highs = np.zeros(stop - root, np.int64), np.zeros(stop - root, np.int64)
    for node in range(root + 1, stop):
        before = tables.before[node]
        last = 0
        while tables.child[tables.row[before] + last] != node:
            last += 1
        if before == root:
            cost, own_low, own_high = below[last], low, high
        else:
            own_low = lows[before - root] + low
            own_high = min(highs[before - root] + high, n)
            if tables.row[node] < 0:  # nothing behind it: only what the level's symbols can use
                own_low, own_high = max(own_low, shortest), min(own_high, longest)
            cost = np.full((max(own_high - own_low + 1, 0), starts), np.float32(np.inf), np.float32)
            for length in range(own_low, own_high + 1):
                first_low = max(lows[before - root], length - high)
                first_high = min(highs[before - root], length - low)
                steps[0] += max(first_high - first_low + 1, 0) * (16 + min(starts, n - length + 1))
                if steps[0] > most:
                    return False
                for first in range(first_low, first_high + 1):
                    add_least(cost[length - own_low], costs[before - root][first - lows[before - root]],
                              below[last, length - first - low], first, min(starts, n - length + 1))
        costs[node - root], lows[node - root], highs[node - root] = cost, own_low, own_high
        for rule in range(tables.ends[node], tables.ends[node + 1]):
            own = above[tables.parent[rule]]
            steps[0] += max(min(own_high, longest) - max(own_low, shortest) + 1, 0) * starts
            for length in range(max(own_low, shortest), min(own_high, longest) + 1):
                for i in range(min(starts, n - length + 1)):
                    own[length - shortest, i] = min(own[length - shortest, i], cost[length - own_low, i])
    return True


@compiled
def add_least(total: Any, first: Any, second: Any, shift: int, count: int) -> None:
    """``total[i] = min(total[i], first[i] + second[i + shift])`` for i below ``count``."""
    moved = second[shift:]
    for i in range(count):
        value = first[i] + moved[i]
        total[i] = value if value < total[i] else total[i]
