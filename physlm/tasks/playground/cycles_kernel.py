"""Rows of cycles by a compiled loop on a CPU: the bits that ``Cycles`` computes with tensors on other devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from physlm.tasks.compiled import SOURCES, Call, entry, part, stamp
from physlm.tasks.compiled_rng import (
    UNIFORM_BITS,
    as_uniform,
    below,
    beside,
    bits,
    distinct,
    keys_of,
    sort,
    uniform_bits,
    work,
)
from physlm.tasks.draws import TEXTS
from physlm.tasks.playground.cycles import BOS, EDGES, FIRST_NODE, KINDS, QUESTION

if TYPE_CHECKING:
    from physlm.tasks.playground.cycles import CyclesConfig

HERE = Path(__file__).parent
_EDGES, _REPEAT = KINDS.index(EDGES), KINDS.index("repeat")


class Settings(NamedTuple):
    """Of the task, as compiled code takes them."""

    nodes: int
    hops: int
    queries: int
    names: int
    name_bits: int  # of a name's number
    kind: int  # the place of the filler in ``KINDS``; -1: any
    amount: int  # the most tokens of filler
    others: int  # the most edges of other cycles
    fillers: int


class Keys(NamedTuple):
    """Of the draws of a split and stream, by their names."""

    filler: Any
    kind: Any
    amount: Any
    names: Any
    others: Any
    places: Any
    asked: Any


class Text(NamedTuple):
    """Memory for one text."""

    cycle: Any  # (nodes + others,): names, cycle after cycle
    free: Any  # (nodes,): as ``beside`` takes them
    asked: Any  # (queries,)


def rows(config: CyclesConfig, index_R: npt.NDArray[np.int64], key: int
         ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:  # fmt: skip
    """Texts after another in each row, (R, T + 1), and the targets of its first T tokens, -1 but for answers.

    Args:
        key: of all draws of a split and stream.
    """
    amount = config.tokens(config.share)
    kind = -1 if config.filler == "any" else KINDS.index(config.filler)
    others = amount // 2 * (kind in (-1, _EDGES))
    settings = Settings(config.nodes, config.hops, config.queries, config.names, (config.names - 1).bit_length(), kind,
                        amount, others, config.fillers)  # fmt: skip
    ids_RW = np.zeros((len(index_R), config.row_tokens + 1), np.int64)
    targets_RT = np.full((len(index_R), config.row_tokens), -1)
    text = Text(*(np.zeros(size, np.int64) for size in (config.nodes + others, config.nodes, config.queries)))
    most = max(config.names, config.nodes * config.hops)
    _ENTRY(settings, keys_of(Keys, key), index_R, ids_RW, targets_RT, text, work(most))
    return ids_RW, targets_RT


@part
def _draw_cycles(c: Any, k: Any, number: Any, others: Any, t: Any, m: Any) -> None:
    """Names of the asked cycle, and of so many nodes of others beside them."""
    n = c.nodes
    distinct(m, t.cycle, n, n, c.names, bits(k.names, number))
    if others > 0:
        for node in range(n):
            m.value[node] = t.cycle[node]
        sort(m, n, c.name_bits)
        for rank in range(n):
            t.free[rank] = t.cycle[m.order[rank]] - rank
        drawn = t.cycle[n:]
        distinct(m, drawn, others, c.others, c.names - n, bits(k.others, number))
        for one in range(others):
            drawn[one] = beside(drawn[one], t.free, n)


@part
def _write_edges(c: Any, k: Any, number: Any, begin: Any, words: Any, edges: Any, ids: Any, t: Any, m: Any) -> None:
    """Edges in random order, each after a random number of the words of filler."""
    n, own = c.nodes, bits(k.places, number)
    for one in range(edges):
        m.value[one] = uniform_bits(own, one)
    sort(m, edges, UNIFORM_BITS)
    for rank in range(edges):
        one = m.order[rank]
        first = one // n * n  # of its cycle
        last = min(first + n, edges) - 1
        at = begin + 1 + np.int64(as_uniform(m.value[one]) * (words + 1)) + 2 * rank
        if at < len(ids):
            ids[at] = FIRST_NODE + t.cycle[one]
        if at + 1 < len(ids):
            ids[at + 1] = FIRST_NODE + t.cycle[one + 1 if one < last else first]


@part
def _write_questions(c: Any, k: Any, number: Any, end: Any, ids: Any, targets: Any, t: Any, m: Any) -> None:
    marker = FIRST_NODE + c.names - 1  # <query_k> is token k after this one
    distinct(m, t.asked, c.queries, c.queries, c.nodes * c.hops, bits(k.asked, number))
    for query in range(c.queries):
        node, hop = t.asked[query] // c.hops, 1 + t.asked[query] % c.hops
        at = end - QUESTION * (c.queries - query)
        tokens = (marker + hop, FIRST_NODE + t.cycle[node], marker + c.hops + 1,
                  FIRST_NODE + t.cycle[(node + hop) % c.nodes])  # fmt: skip
        for place in range(QUESTION):
            if at + place < len(ids):
                ids[at + place] = tokens[place]
                if place > 1:
                    targets[at + place - 1] = tokens[place]


def _make(stamped: int) -> Call:
    def fill(c: Any, k: Any, index_R: Any, ids_RW: Any, targets_RT: Any, t: Any, m: Any) -> None:
        first_filler = FIRST_NODE + c.names + c.hops + 1
        for row in range(len(index_R)):
            ids, begin, number, own = ids_RW[row], 0 * stamped, index_R[row] * TEXTS, bits(k.filler, index_R[row])
            while begin < len(ids):
                kind = below(len(KINDS), k.kind, number) if c.kind < 0 else c.kind
                filler = below(c.amount + 1, k.amount, number)
                edges = filler // 2 - (filler // 2 % c.nodes == 1) if kind == _EDGES else 0  # whole cycles
                filler = 2 * edges if kind == _EDGES else filler
                window = 2 * c.nodes + filler
                end = begin + 1 + window + QUESTION * c.queries
                ids[begin] = BOS
                if kind != _EDGES:
                    for place in range(begin + 1, min(begin + 1 + window, len(ids))):
                        ids[place] = first_filler + (place % c.fillers if kind == _REPEAT else
                                                     below(c.fillers, own, place))
                _draw_cycles(c, k, number, edges, t, m)
                _write_edges(c, k, number, begin, filler - 2 * edges, c.nodes + edges, ids, t, m)
                _write_questions(c, k, number, end, ids, targets_RT[row], t, m)
                begin, number = end, number + 1

    return fill


_ENTRY = entry(_make, stamp((*SOURCES, HERE / "haystack.py", HERE / "cycles.py", HERE / "cycles_kernel.py")))
