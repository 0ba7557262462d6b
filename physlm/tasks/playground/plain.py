"""The plain twin of ``kernel``: the same instances and rows, one draw after another, as the papers tell it.

Free of numba.
"""

from __future__ import annotations

from typing import NamedTuple

from physlm.tasks.draws import Stream
from physlm.tasks.playground.depo import DepoConfig
from physlm.tasks.playground.graphs import LEAST_NODES, ROW_INSTANCES, GraphConfig, size_shares

MOST_EDGES = 4


class Instance(NamedTuple):
    """Tokens, which of them are targets, and the depth of the graph (Brevo) or the k of the last question (Depo)."""

    ids: list[int]
    targets: list[bool]
    label: int

    def packed(self) -> list[int]:
        """``~id`` for a token that is no target."""
        return [token if target else ~token for token, target in zip(self.ids, self.targets, strict=True)]


def depo(config: DepoConfig, key: int, number: int, nodes: int = 0, hop: int = 0, queries: int = 0) -> Instance:
    """An instance of Depo; settings as for ``kernel.instances``."""
    stream = Stream.of(key, number)
    n = nodes or _size(config, stream)
    names = _names(config, stream, n)
    cycle, order = list(range(n)), list(range(n))
    stream.shuffle(cycle)
    stream.shuffle(order)
    name_at = [names[node] for node in cycle]
    ids = [0]
    for place in order:
        ids += name_at[place] + name_at[(place + 1) % n]
    targets, k = [False] * len(ids), 0
    for query in range(min(queries or config.queries, n)):
        other = query + stream.below(n - query)
        order[query], order[other] = order[other], order[query]
        k = hop or 1 + stream.below(config.hops)
        asked = [config.name_tokens + k, *name_at[order[query]]]
        answer = [config.name_tokens + config.hops + 1, *name_at[(order[query] + k) % n]]
        ids += asked + answer
        targets += [False] * len(asked) + [True] * len(answer)
    return Instance(ids, targets, k)


def brevo(config: GraphConfig, key: int, number: int, nodes: int = 0) -> Instance:
    """An instance of Brevo."""
    stream = Stream.of(key, number)
    n = nodes or _size(config, stream)
    leaves = 1 + stream.below((n + 2) // 4)
    parents: list[list[int]] = [[] for _ in range(n)]
    children, free = [0] * n, list(range(leaves))
    for node in range(leaves, n):
        parents[node] = [_pop(stream, free) for _ in range(1 + stream.below(min(len(free), MOST_EDGES)))]
        for parent in parents[node]:
            children[parent] += 1
        free += [parent for parent in parents[node] if children[parent] < MOST_EDGES] + [node]
    query = 3 * n // 4 + stream.below(n - 3 * n // 4)
    order = _sorted(stream, parents, query)
    seen = [node for node in range(n) if parents[node] or children[node]]
    names, place = _names(config, stream, len(seen)), list(range(len(seen)))
    stream.shuffle(place)
    name = {node: names[place[i]] for i, node in enumerate(seen)}
    edges = [parent * n + node for node in range(n) for parent in parents[node]]
    stream.shuffle(edges)
    ids = [0]
    for edge in edges:
        ids += name[edge // n] + name[edge % n]
    ids += [config.name_tokens + 1, *name[query]]
    answer = [config.name_tokens + 2, *(token for node in order for token in name[node])]
    targets = [True] + [False] * (len(ids) - 1) + [True] * len(answer)
    return Instance(ids + answer, targets, _depth(parents, query))


def row(config: GraphConfig, key: int, number: int) -> list[int]:
    """A row of ``row_tokens`` + 1 tokens, as ``kernel.rows`` packs it."""
    ids: list[int] = []
    first = number * ROW_INSTANCES
    while len(ids) <= config.row_tokens:
        one = depo(config, key, first) if isinstance(config, DepoConfig) else brevo(config, key, first)
        ids += one.packed() if len(one.ids) <= config.row_tokens else []
        first += 1
    return ids[: config.row_tokens + 1]


def _size(config: GraphConfig, stream: Stream) -> int:
    drawn = stream.share()
    return LEAST_NODES + next(i for i, below in enumerate(size_shares(config.nodes)) if drawn < below)


def _names(config: GraphConfig, stream: Stream, count: int) -> list[list[int]]:
    names: dict[tuple[int, ...], None] = {}
    lengths, firsts = config.longest_name - config.shortest_name + 1, config.name_tokens - config.words
    while len(names) < count:
        length = config.shortest_name + (stream.below(lengths) if lengths > 1 else 0)
        tokens = [1 + stream.below(config.words) for _ in range(length)]
        names[(*tokens[:-1], tokens[-1] + firsts)] = None
    return [list(name) for name in names]


def _pop(stream: Stream, pool: list[int]) -> int:
    """A uniform member of a list, which loses it; the last one takes its place."""
    at = stream.below(len(pool))
    pool[at], pool[-1] = pool[-1], pool[at]
    return pool.pop()


def _sorted(stream: Stream, parents: list[list[int]], query: int) -> list[int]:
    """All that the query depends on and itself, parents first: a random order of taking away what nothing needs."""
    needed, waiting = [query], dict.fromkeys([query], 0)
    for node in needed:
        for parent in parents[node]:
            if parent not in waiting:
                needed.append(parent)
            waiting[parent] = waiting.get(parent, 0) + 1
    ready, order = [query], []
    while ready:
        order.append(_pop(stream, ready))
        for parent in parents[order[-1]]:
            waiting[parent] -= 1
            if not waiting[parent]:
                ready.append(parent)
    return order[::-1]


def _depth(parents: list[list[int]], query: int) -> int:
    """The fewest edges from the query to a node that depends on nothing."""
    depth, level = 0, {query}
    while all(parents[node] for node in level):
        depth, level = depth + 1, {parent for node in level for parent in parents[node]}
    return depth
