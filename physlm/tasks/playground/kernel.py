"""The compiled generators of Depo and Brevo: token ids, lengths and depths of instances, and rows packed with them.

    made = instances(DepoConfig(), np.arange(1000))               # of the split "evaluation"
    ids_RW = rows(DepoConfig(), np.arange(64), threads=2)

Instance i is a pure function of (settings, split, stream, i), whatever else is made beside it, and the same as the
plain twin's (``plain``), bit for bit.  Row r is instances 65,536 r, 65,536 r + 1, ... of the same stream, one after
another, cut at the row's end; instances that are longer than a row are left out.

Shape letters: N instances, R rows, W tokens.  A token that is no target is kept as ``~id``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from physlm import rng
from physlm.tasks import compiled
from physlm.tasks.compiled import Call, over_slices, part
from physlm.tasks.compiled_draws import below, keyed, share, shuffle
from physlm.tasks.playground.depo import DepoConfig
from physlm.tasks.playground.graphs import LEAST_NODES, MOST_NAME, ROW_INSTANCES, GraphConfig, size_shares

HERE = Path(__file__).parent
SOURCES = (*compiled.SOURCES, HERE / "graphs.py", HERE / "kernel.py")
STREAM = np.dtype([("key", "u8"), ("state", "u8")])
MOST_EDGES = 4  # from a node of Brevo, and to one
NAME_BITS = 4  # of a name's length


class Settings(NamedTuple):
    """Of one task, as compiled code takes them."""

    nodes: int  # 0: drawn
    shortest: int
    lengths: int  # how many lengths of names there are
    words: int
    first_last: int  # the first token that ends a name
    first_marker: int
    hop: int  # 0: drawn
    hops: int  # K; 0: of Brevo
    queries: int


class Instances(NamedTuple):
    """Instances by number.

    Attributes:
        ids_NW, lengths_N: tokens, padded with 0, and how many.
        labels_N: the depth of each graph (Brevo), or the k of the last question (Depo).
    """

    ids_NW: npt.NDArray[np.int16]
    lengths_N: npt.NDArray[np.int64]
    labels_N: npt.NDArray[np.int64]


class Work(NamedTuple):
    """Memory for one graph; arrays by node (n), by edge (4 n) or by slot of a hash table."""

    name: Any  # (n, tokens)
    length: Any
    taken: Any
    cycle: Any
    order: Any
    free: Any
    out: Any
    place: Any
    pending: Any
    distance: Any
    parents: Any  # (n, 4)
    indegree: Any
    edges: Any  # (4 n, 2)


def instances(config: GraphConfig, number_N: npt.ArrayLike, split: str = "evaluation", stream: int | str = 0,
              nodes: int = 0, hop: int = 0, queries: int = 0, threads: int = 1) -> Instances:  # fmt: skip
    """The instances of these numbers, on that many threads.

    Args:
        nodes: of every graph; 0: drawn.
        hop, queries: Depo's k, and how many are asked; 0: drawn, and as the settings say.
    """
    number_N = np.ascontiguousarray(number_N, np.int64)
    widest = config.longest_instance(nodes or config.nodes)
    ids_NW, lengths_N, labels_N = _made(config, number_N, 1, widest, split, stream, nodes, hop, queries, threads)
    return Instances(ids_NW[:, : lengths_N.max(initial=0)], lengths_N, labels_N)


def rows(config: GraphConfig, index_R: npt.ArrayLike, split: str = "train", stream: int | str = 0, nodes: int = 0,
         hop: int = 0, threads: int = 1) -> npt.NDArray[np.int16]:  # fmt: skip
    """Rows of ``row_tokens`` + 1 tokens, (R, T + 1); settings as for ``instances``."""
    index_R = np.ascontiguousarray(index_R, np.int64)
    return _made(config, index_R, ROW_INSTANCES, config.row_tokens + 1, split, stream, nodes, hop, 0, threads)[0]


def _made(config: GraphConfig, index_R: npt.NDArray[np.int64], each: int, width: int, split: str, stream: int | str,
          nodes: int, hop: int, queries: int, threads: int) -> tuple[
        npt.NDArray[np.int16], npt.NDArray[np.int64], npt.NDArray[np.int64]]:  # fmt: skip
    assert ((index_R >= 0) & (index_R < 1 << 46)).all(), "numbers of instances or rows"
    hops, asked = (config.hops, queries or config.queries) if isinstance(config, DepoConfig) else (0, 0)
    c = Settings(nodes, config.shortest_name, config.longest_name - config.shortest_name + 1, config.words,
                 1 + config.name_tokens - config.words, 1 + config.name_tokens, hop, hops, asked)  # fmt: skip
    key = np.uint64(stream_key(config, split, stream))
    shares = size_shares(config.nodes)
    ids_RW = np.zeros((len(index_R), width), np.int16)
    lengths_R, labels_R = np.zeros((2, len(index_R)), np.int64)
    most = nodes or config.nodes

    def make(start: int, end: int) -> None:
        some = slice(start, end)
        buffer = np.zeros(width + config.longest_instance(most), np.int16)
        _fill(c, shares, key, index_R[some], each, ids_RW[some], lengths_R[some], labels_R[some], buffer,
              _work(most))

    over_slices(make, len(index_R), threads)
    return ids_RW, lengths_R, labels_R


def stream_key(config: GraphConfig, split: str, stream: int | str) -> int:
    """The key of all instances of a seed, split and stream, below 2**64."""
    return rng.key(config.kind, config.seed, split, stream) & ((1 << 64) - 1)


def _work(n: int) -> Work:
    def whole(*shape: int) -> Any:
        return np.zeros(shape, np.int64)

    return Work(
        name=np.zeros((n, MOST_NAME), np.int16), length=whole(n), taken=whole(_slots(n)), cycle=whole(n),
        order=whole(n), free=whole(n), out=whole(n), place=whole(n), pending=whole(n), distance=whole(n),
        parents=whole(n, MOST_EDGES), indegree=whole(n), edges=whole(MOST_EDGES * n, 2),
    )  # fmt: skip


def _slots(n: int) -> int:
    return 1 << (4 * n).bit_length()


@part
def _draw_size(c: Any, w: Any, shares: Any) -> Any:
    if c.nodes > 0:
        return c.nodes
    drawn, low, high = share(w), 0, len(shares) - 1
    while low < high:
        middle = (low + high) // 2
        if drawn < shares[middle]:
            high = middle
        else:
            low = middle + 1
    return LEAST_NODES + low


@part
def _draw_names(c: Any, w: Any, m: Any, n: Any) -> None:
    """n different names."""
    slots = 1
    while slots < 4 * n:
        slots *= 2
    m.taken[:slots] = -1
    for node in range(n):
        new = False
        while not new:
            length = c.shortest + (below(w, c.lengths) if c.lengths > 1 else 0)
            number = np.int64(0)
            for at in range(length):
                token = below(w, c.words)
                number = number * c.words + token
                m.name[node, at] = 1 + token
            m.name[node, length - 1] += c.first_last - 1
            m.length[node] = length
            number = number << NAME_BITS | length
            slot = np.int64((np.uint64(number) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & (slots - 1)
            while m.taken[slot] >= 0 and m.taken[slot] != number:
                slot = (slot + 1) & (slots - 1)
            new = m.taken[slot] < 0
            m.taken[slot] = number


@part
def _put(name: Any, length: Any, ids: Any, at: Any, node: Any, target: Any) -> Any:
    """Write a name at ``at``; where it ends.

    It takes the two arrays that it reads and not all of ``Work``, whose every field would be copied at each call.
    """
    for place in range(length[node]):
        token = name[node, place]
        ids[at + place] = token if target else ~token
    return at + length[node]


@part
def _write_depo(c: Any, w: Any, m: Any, shares: Any, ids: Any) -> Any:
    """One instance; its length, and the k of its last question."""
    n = _draw_size(c, w, shares)
    _draw_names(c, w, m, n)
    for node in range(n):
        m.cycle[node] = m.order[node] = node
    shuffle(w, m.cycle, n)
    shuffle(w, m.order, n)
    ids[0] = ~0
    at, k = 1, 0
    for edge in range(n):
        place = m.order[edge]
        at = _put(m.name, m.length, ids, at, m.cycle[place], False)
        at = _put(m.name, m.length, ids, at, m.cycle[place + 1 if place + 1 < n else 0], False)
    for query in range(min(c.queries, n)):
        other = query + below(w, n - query)
        m.order[query], m.order[other] = m.order[other], m.order[query]
        k = c.hop if c.hop > 0 else 1 + below(w, c.hops)
        ids[at] = ~(c.first_marker + k - 1)
        at = _put(m.name, m.length, ids, at + 1, m.cycle[m.order[query]], False)
        ids[at] = c.first_marker + c.hops
        at = _put(m.name, m.length, ids, at + 1, m.cycle[(m.order[query] + k) % n], True)
    return at, k


@part
def _draw_parents(w: Any, m: Any, n: Any, leaves: Any) -> Any:
    """Each node beyond the leaves gets 1 .. 4 of the earlier nodes that have fewer than 4 yet; how many edges."""
    free = edges = 0
    for node in range(n):
        m.out[node] = m.indegree[node] = 0
        if node >= leaves:
            wanted = 1 + below(w, min(free, MOST_EDGES))
            for which in range(wanted):
                other, last = below(w, free - which), free - which - 1
                m.free[other], m.free[last] = m.free[last], m.free[other]
                parent = m.free[last]
                m.out[parent] += 1
                m.parents[node, which] = parent
                m.edges[edges, 0], m.edges[edges, 1] = parent, node
                edges += 1
            m.indegree[node] = wanted
            free -= wanted
            for which in range(wanted):
                parent = m.parents[node, which]
                if m.out[parent] < MOST_EDGES:
                    m.free[free] = parent
                    free += 1
        m.free[free] = node
        free += 1
    return edges


@part
def _sort(w: Any, m: Any, query: Any) -> Any:
    """All that the query depends on, in a random topological order, in ``m.order``; how many, and the depth."""
    far = np.int64(1) << 32
    for node in range(query + 1):
        m.pending[node], m.distance[node] = 0, far
    m.distance[query] = 0
    depth = far
    for node in range(query, -1, -1):  # parents come before their children
        if m.distance[node] < far:
            if m.indegree[node] == 0:
                depth = min(depth, m.distance[node])
            for which in range(m.indegree[node]):
                parent = m.parents[node, which]
                m.pending[parent] += 1
                m.distance[parent] = min(m.distance[parent], m.distance[node] + 1)
    m.free[0] = query
    ready, count = 1, 0
    while ready > 0:
        other = below(w, ready)
        ready -= 1
        node = m.free[other]
        m.free[other] = m.free[ready]
        m.order[count] = node
        count += 1
        for which in range(m.indegree[node]):
            parent = m.parents[node, which]
            m.pending[parent] -= 1
            if m.pending[parent] == 0:
                m.free[ready] = parent
                ready += 1
    return count, depth


@part
def _name_nodes(c: Any, w: Any, m: Any, n: Any) -> None:
    """Names in random order for the nodes that have edges, by ``m.place``."""
    count = 0
    for node in range(n):
        m.place[node] = 0
        if m.indegree[node] > 0 or m.out[node] > 0:
            m.place[node] = count
            m.cycle[count] = count
            count += 1
    _draw_names(c, w, m, count)
    shuffle(w, m.cycle, count)
    for node in range(n):
        m.place[node] = m.cycle[m.place[node]]


@part
def _write_brevo(c: Any, w: Any, m: Any, shares: Any, ids: Any) -> Any:
    """One instance; its length, and the depth of its graph."""
    n = _draw_size(c, w, shares)
    leaves = 1 + below(w, (n + 2) // 4)
    edges = _draw_parents(w, m, n, leaves)
    query = 3 * n // 4 + below(w, n - 3 * n // 4)
    count, depth = _sort(w, m, query)
    _name_nodes(c, w, m, n)
    for last in range(edges - 1, 0, -1):
        other = below(w, last + 1)
        for end in range(2):
            m.edges[last, end], m.edges[other, end] = m.edges[other, end], m.edges[last, end]
    ids[0] = 0
    at = 1
    for edge in range(edges):
        for end in range(2):
            at = _put(m.name, m.length, ids, at, m.place[m.edges[edge, end]], False)
    ids[at] = ~c.first_marker
    at = _put(m.name, m.length, ids, at + 1, m.place[query], False)
    ids[at] = c.first_marker + 1
    at += 1
    for which in range(count - 1, -1, -1):
        at = _put(m.name, m.length, ids, at, m.place[m.order[which]], True)
    return at, depth


@part
def _write(c: Any, w: Any, m: Any, shares: Any, ids: Any) -> Any:
    return _write_depo(c, w, m, shares, ids) if c.hops > 0 else _write_brevo(c, w, m, shares, ids)


def _make(stamp: int) -> Call:
    def fill(c: Any, shares: Any, key: Any, index_R: Any, each: Any, ids_RW: Any, lengths_R: Any, labels_R: Any,
             buffer: Any, m: Any) -> None:  # fmt: skip
        stream, width = np.zeros(1 + 0 * stamp, STREAM), ids_RW.shape[1]
        w = stream[0]
        w.key = key
        for row in range(len(index_R)):
            at = 0
            for number in range(each):
                w.state = keyed(w.key, index_R[row] * each + number)
                length, labels_R[row] = _write(c, w, m, shares, buffer[at:])
                at += length if length < width or each == 1 else 0
                if at >= width:
                    break
            lengths_R[row] = at
            ids_RW[row, : min(at, width)] = buffer[: min(at, width)]

    return fill


_fill = compiled.entry(_make, compiled.stamp(SOURCES))
