"""Brevo: all that a node of a graph depends on, in a topological order (arXiv 2512.17351, Part 4.1).

    <bos> z2 z5  z1 z3  z2 z3  z4 z1  z3 z7  <query> z3 <ans> z2 z4 z1 z3  <bos> ...

An edge is a node and one that depends on it.  Of n nodes (``graphs``) the first 1 .. ceil((n - 1) / 4), uniform, are
leaves, which depend on nothing; each other one depends on 1 .. 4, uniform, of the nodes before it that fewer than 4
depend on yet.  The query is uniform in the last quarter of the nodes.  The answer is it and all that it depends on,
each after what it depends on: any such order is right, and nothing else.  Training shows a random one, found from the
query by taking away, again and again, a random node that none of the others needs.  Edges are shuffled; leaves without
edges do not appear.  Targets are <ans>, the answer and the <bos> that ends it.  Instances follow each other from the
beginning of a row, whose end cuts the last; those longer than a row, hardly any at the published sizes, are left out.

Tested are graphs of N nodes: a whole answer is right or wrong.  The depth of a graph is the fewest edges from its query
to a leaf.  Where the released code differs from the paper this follows the paper: that code asks for the last node
always, draws up to floor((n - 1) / 4) + 1 leaves, and has one id for <ans> and for its <eos>, which its own checker
takes for no end; here as in that checker <bos> is the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from physlm.errors import UserError
from physlm.machine import cpu_cores
from physlm.tasks.config import check_between, check_split
from physlm.tasks.playground.graphs import MOST_ROW, GraphConfig, GraphTask, tokens
from physlm.tasks.prompts import Grades, Prompts, cut
from physlm.tasks.task import Text, question
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

MOST_EDGES = 4  # from a node, and to one
CENSUS = 4096  # graphs that say which depths are asked about
RARE = 0.02  # the least share of a depth that is asked about


@dataclass(frozen=True)
class BrevoConfig(GraphConfig):
    """Graphs of 3 .. ``nodes`` nodes.

    Attributes:
        nodes: N.
        shortest_name, longest_name, name_words: see ``graphs``; ``name_words`` is V, and with 0 each node is one of N
            words.
    """

    kind: ClassVar[str] = "brevo"
    shared_fields: ClassVar[tuple[str, ...]] = ("nodes", "shortest_name", "longest_name", "name_words")
    nodes: int = 70
    shortest_name: int = 1
    longest_name: int = 1
    name_words: int = 0
    row_tokens: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.name_words and (self.shortest_name, self.longest_name) != (1, 1):
            raise UserError(f"task.longest_name: got {self.shortest_name} .. {self.longest_name} tokens of names with "
                            "task.name_words = 0, expected 1, or name_words of at least 1")
        self.check_graphs(least_words=0)
        mean = (self.shortest_name + self.longest_name) / 2  # room for an instance as they are on average
        check_between(self, "row_tokens", round(3 + mean * (1 + 6 * self.nodes)), MOST_ROW)

    @property
    def words(self) -> int:
        """V, or N where each node is one word."""
        return self.name_words or self.nodes

    @property
    def title(self) -> str:
        """For readers: ``brevo N=70`` or ``brevo N=30 names 2-4 of 4``."""
        return f"{self.kind} N={self.nodes}" + (f" {self.names_shown()}" if self.name_words else "")

    def vocabulary(self) -> Vocabulary:
        """<bos>, words of names, <query>, <ans>."""
        return Vocabulary(("<bos>", *self.name_vocabulary(), "<query>", "<ans>"))

    def build(self) -> Brevo:
        """The task on the CPU."""
        return Brevo(self)

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Graphs of N nodes as they come, and equally many of each depth that is not rare."""
        return {("answer", "test"): {}, ("answer_depth", "test"): {"by_depth": True}}

    def longest_instance(self, nodes: int) -> int:
        """No instance of so many nodes has more tokens."""
        edges = max(3, MOST_EDGES * nodes - 10)  # node i has at most i and 4
        return 3 + (2 * edges + 1 + nodes) * self.longest_name


# The published ones by N
BREVO1 = {n: BrevoConfig(n) for n in (70, 90, 110)}
BREVO2 = {n: BrevoConfig(n, 2, 4, 4, 1536) for n in (30, 40, 50)}


class Brevo(GraphTask[BrevoConfig]):
    """The task on one device."""

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is instance i of a split."""
        from physlm.tasks.playground import kernel

        check_split(split)
        made, texts = kernel.instances(self.config, number_R.cpu().numpy(), split, threads=cpu_cores()), []
        for number, row, length, depth in zip(number_R.tolist(), tokens(made.ids_NW).tolist(), made.lengths_N.tolist(),
                                              made.labels_N.tolist(), strict=True):  # fmt: skip
            ids = row[:length]
            asked, end = self._marks(ids)
            labels = ["bos", *["edge"] * (asked - 1), "marker", *["node"] * (end - asked - 1), "marker",
                      *["answer"] * (length - end - 1)]  # fmt: skip
            about = {"instance": number, "edges": len(self.reader.edges(self.reader.text(ids[1:asked])) or ()),
                     "depth": depth}  # fmt: skip
            texts.append(question(about, ids, labels, end + 1, self.vocabulary))
        return texts

    def prompts(self, n: int, split: str = "evaluation", *, nodes: int = 0, by_depth: bool = False) -> Prompts:
        """Instances 0 .. n - 1, or the first ``n`` of each depth that at least 2 % have, up to the answer.

        Args:
            nodes: of each graph; 0: N.  More than N, where there are names, makes texts that may be longer than any in
                training.
        """
        import torch

        check_split(split)
        nodes = self.config.asked_nodes(nodes)
        depths = _common_depths(self.config, nodes) if by_depth else (0,)
        found = [self._first(n, split, nodes, depth) for depth in depths]
        width = 1 + max(len(ids) for group in found for _, ids in group)
        numbers = [number for group in found for number, _ in group]
        ids_BW = np.zeros((len(numbers), width), np.int64)
        ends_B = np.zeros(len(numbers), np.int64)
        for row, ids in enumerate(ids for group in found for _, ids in group):
            ids_BW[row, : len(ids)], ends_B[row] = ids, len(ids) + 1  # <bos> after the answer
        asked_B = (ids_BW == self.vocabulary.id("<ans>")).argmax(1) + 1
        kinds = tuple(f"depth{depth}" for depth in depths) if by_depth else (f"n{nodes}",)
        number_B, kind_B = torch.tensor(numbers), torch.arange(len(depths)).repeat_interleave(n)
        ids, asked, ends = (torch.from_numpy(x).to(self.device) for x in (ids_BW, asked_B, ends_B))
        return cut(ids, asked, ends, kinds, 1, kind_B=kind_B.to(self.device), item_B=number_B.to(self.device))

    def grade(self, prompts: Prompts, ids_BW: Tensor) -> Grades:
        """Whether what was generated is a right order of exactly the right nodes, and then the end."""
        import torch

        right_B = [0 in ids[length:] and not self.fault(ids[: ids.index(0, length) + 1])
                   for ids, length in zip(ids_BW.tolist(), prompts.lengths_B.tolist(), strict=True)]  # fmt: skip
        found_B = torch.tensor(right_B, dtype=torch.bool, device=ids_BW.device)
        return Grades(found_B, torch.ones_like(found_B), found_B)

    def fault(self, ids: Sequence[int]) -> str:
        """The first thing that is wrong with an instance, with the <bos> that ends it; nothing if it is right.

        Read are the edges that the text shows, whoever wrote it.
        """
        text = self.reader.text(ids)
        marks = chr(self.config.name_tokens + 1), chr(self.config.name_tokens + 2)
        head, found, rest = text[1:-1].partition(marks[0])
        asked, found_too, answer = rest.partition(marks[1])
        edges, query, order = self.reader.edges(head), self.reader.names(asked), self.reader.names(answer)
        if text[:1] != "\0" or text[-1:] != "\0" or not found or not found_too:
            return "got no <bos>, <query>, <ans> and <bos>"
        if edges is None or query is None or len(query) != 1 or order is None:
            return "got something other than names between them"
        place = {name: n for n, name in enumerate(order)}
        if len(place) < len(order):
            return "got a node twice"
        needed = set(query)
        for node, dependent in edges:
            if dependent in place:
                if place.get(node, len(order)) >= place[dependent]:
                    return "got a node without or before what it depends on"
                needed.add(node)
        if needed != place.keys():
            return "got a node that the query does not need, or not the query"
        return ""

    def _first(self, n: int, split: str, nodes: int, depth: int) -> list[tuple[int, Any]]:
        """Number and tokens of the first ``n`` instances with graphs of this depth; 0: of any."""
        from physlm.tasks.playground import kernel

        found: list[tuple[int, Any]] = []
        begin, block = 0, max(n, CENSUS if depth else 0)
        while len(found) < n:
            number_N = np.arange(begin, begin + block)
            made = kernel.instances(self.config, number_N, split, "prompts", nodes, threads=cpu_cores())
            for i in np.flatnonzero((made.labels_N == depth) | (depth == 0))[: n - len(found)]:
                found.append((begin + int(i), tokens(made.ids_NW[i, : made.lengths_N[i]])))
            begin += block
        return found

    def _marks(self, ids: list[int]) -> tuple[int, int]:
        return ids.index(self.vocabulary.id("<query>")), ids.index(self.vocabulary.id("<ans>"))


@cache
def _common_depths(config: BrevoConfig, nodes: int) -> tuple[int, ...]:
    """The depths that at least 2 % of graphs have, the same for every split and seed."""
    from dataclasses import replace

    from physlm.tasks.playground import kernel

    made = kernel.instances(replace(config, seed=0), np.arange(CENSUS), stream="census", nodes=nodes,
                            threads=cpu_cores())  # fmt: skip
    counts = np.bincount(made.labels_N)
    return tuple(int(depth) for depth in np.flatnonzero(counts >= RARE * CENSUS))
