"""The plain twin's structure graph: layers of items, edges between adjacent layers, and the totals that they allow."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from physlm.tasks.draws import Stream
from physlm.tasks.igsm.config import IgsmConfig
from physlm.tasks.igsm.draws import size_shares

LEAST_SIZE = 2  # of layers, and of items that a layer begins with


@dataclass(frozen=True)
class Parameters:
    """What a structure graph and its necessary part are drawn with.

    Attributes:
        s: operations; n: of them for totals and what they need; m: before any extra dependency.
        layers: d of the papers.
        least_width, most_width: w0 and w1, of each layer.
        edges: e.
        more: p, the share with which an item is added where that is free.
    """

    s: int
    n: int
    m: int
    layers: int
    least_width: int
    most_width: int
    edges: int
    more: int


def draw_parameters(config: IgsmConfig, stream: Stream, s: int) -> Parameters:
    """n is the larger of two draws from 1 .. s, m uniform from n .. s; e the smaller of two that the layers allow."""
    n = 1 + max(stream.below(s), stream.below(s))
    m = n + stream.below(s - n + 1)
    layers = _size(stream, size_shares(config.max_ip, config.layers)[s])
    widths = [_size(stream, size_shares(config.max_ip, config.width)[s]) for _ in range(2)]
    least = (layers - 1) * min(widths)
    edges = least + min(stream.below(config.max_ip - least + 1), stream.below(config.max_ip - least + 1))
    more = stream.share()
    return Parameters(s, n, m, layers, min(widths), max(widths), min(edges, (layers - 1) * max(widths) ** 2), more)


def _size(stream: Stream, shares: tuple[int, int]) -> int:
    drawn = stream.share()
    return LEAST_SIZE + sum(drawn >= share for share in shares)


class Structure:
    """A structure graph with its parameters by number (``record``).

    Attributes:
        edges: (owner's layer, owner, owned item) of each instance parameter.
        totals: (owner's layer, owner, deeper layer) of each abstract parameter.
        children: (number of the edge, number of the child's total or None) of each total: its terms.
        needs: what a total is computed from at once.
        closure: what it is computed from in the end; without itself.
        cost: operations of each parameter; an edge has one until it gets extra dependencies.
    """

    def __init__(self, sizes: list[int], present: set[tuple[int, int, int]]):
        self.sizes = sizes
        self.edges = sorted(present)
        depth = len(sizes)
        self.totals = [(layer, owner, deeper) for layer in range(depth - 2, -1, -1) for owner in range(sizes[layer])
                       for deeper in range(layer + 1, depth)]  # fmt: skip
        number = {total: len(self.edges) + place for place, total in enumerate(self.totals)}
        self.children: dict[int, list[tuple[int, int | None]]] = {}
        self.needs: dict[int, set[int]] = {}
        self.closure: dict[int, set[int]] = {}
        self.cost = dict.fromkeys(range(len(self.edges)), 1)
        for total, me in number.items():
            layer, owner, deeper = total
            terms = [(edge, number.get((layer + 1, child, deeper))) for edge, (above, by, child)
                     in enumerate(self.edges) if (above, by) == (layer, owner)]  # fmt: skip
            self.children[me] = terms
            self.needs[me] = {part for term in terms for part in term if part is not None}
            self.closure[me] = self.needs[me].union(*(self.closure.get(need, set()) for need in self.needs[me]))
            self.cost[me] = max(1, len(self.needs[me]) - 1)

    def is_total(self, parameter: int) -> bool:
        """Whether it is an abstract parameter."""
        return parameter >= len(self.edges)

    def level(self, total: int) -> int:
        """Over how many layers a total reaches: 1, 2 or 3."""
        layer, _, deeper = self.totals[total - len(self.edges)]
        return deeper - layer

    @property
    def capacity(self) -> int:
        """Operations of the whole graph.  The released code leaves out those of empty totals."""
        return sum(self.cost.values())


def draw_structure(parameters: Parameters, stream: Stream) -> Structure:
    """Layers grow until they can hold the edges; every item gets a parent, other edges are uniform."""
    sizes = _draw_sizes(parameters, stream)
    present: set[tuple[int, int, int]] = set()
    for layer in range(len(sizes) - 1):
        for child in range(sizes[layer + 1]):
            present.add((layer, stream.below(sizes[layer]), child))
    absent = [(layer, owner, child) for layer in range(len(sizes) - 1) for owner in range(sizes[layer])
              for child in range(sizes[layer + 1]) if (layer, owner, child) not in present]  # fmt: skip
    while len(present) < parameters.edges:
        present.add(absent.pop(stream.below(len(absent))))
    return Structure(sizes, present)


def _draw_sizes(parameters: Parameters, stream: Stream) -> list[int]:
    sizes = [parameters.least_width] * parameters.layers
    while True:
        room = sum(above * below for above, below in pairwise(sizes))
        if room >= parameters.edges and (sum(sizes[1:]) == parameters.edges or not stream.chance(parameters.more)):
            return sizes
        growing = [layer for layer, size in enumerate(sizes) if size < parameters.most_width]
        if not growing:
            return sizes
        sizes[growing[stream.below(len(growing))]] += 1
