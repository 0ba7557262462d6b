"""Depo: the k-th successor of a node on a cycle whose edges are shuffled (arXiv 2512.17351, Part 4.1).

    <bos> z3 z1  z2 z3  z1 z2  <query_2> z3 <ans> z2  <query_1> z2 <ans> z3  <query_1> z1 <ans> z2  <bos> ...

n nodes (``graphs``) lie on one cycle in random order; each edge is a node and its successor.  min(10, n) different
nodes are asked for, with k uniform in 1 .. K.  Targets are <ans> and the answer.  Instances follow each other from the
beginning of a row, whose end cuts the last.  Tested are graphs of N nodes: one question by generation (``prompts``),
and windows packed with them, read with the true answers before each question (``test_rows``), as published.

The law of n is 1 / (sqrt(N) + n), that of A.2 and of the released code; A.1 prints it as 1 / sqrt(N + n) in one place.
That code's edge separator is off here as there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from physlm.errors import UserError, counted
from physlm.machine import cpu_cores
from physlm.tasks.config import check_between, check_split
from physlm.tasks.playground.graphs import MOST_ROW, GraphConfig, GraphTask, asked_hops, tokens
from physlm.tasks.prompts import Prompts, cut, grade_without_hints, without_end
from physlm.tasks.task import Text
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from physlm.tasks.task import AnswerRows


@dataclass(frozen=True)
class DepoConfig(GraphConfig):
    """Cycles of 3 .. ``nodes`` nodes, asked for successors up to the ``hops``-th.

    Attributes:
        nodes, hops: N and K.
        shortest_name, longest_name, name_words: see ``graphs``; ``name_words`` is V.
        queries: questions of one instance, at most one a node.
    """

    kind: ClassVar[str] = "depo"
    shared_fields: ClassVar[tuple[str, ...]] = ("hops", "shortest_name", "longest_name", "name_words")
    has_test_rows: ClassVar[bool] = True
    has_verifier: ClassVar[bool] = True
    guesses_from_text: ClassVar[bool] = True
    nodes: int = 75
    hops: int = 16
    shortest_name: int = 5
    longest_name: int = 7
    name_words: int = 4
    queries: int = 10
    row_tokens: int = 2048
    seed: int = 0

    def __post_init__(self) -> None:
        self.check_graphs(least_words=1)
        check_between(self, "hops", 1, self.nodes)
        check_between(self, "queries", 1, None)
        check_between(self, "row_tokens", self.longest_instance(self.nodes), MOST_ROW)  # the first instance is whole

    @property
    def words(self) -> int:
        """V."""
        return self.name_words

    @property
    def title(self) -> str:
        """For readers: ``depo N=75 K=16 names 5-7 of 4``."""
        return f"{self.kind} N={self.nodes} K={self.hops} {self.names_shown()}"

    def vocabulary(self) -> Vocabulary:
        """<bos>, words of names, <query_1> .. <query_K>, <ans>."""
        markers = (f"<query_{k + 1}>" for k in range(self.hops))
        return Vocabulary(("<bos>", *self.name_vocabulary(), *markers, "<ans>"))

    def build(self) -> Depo:
        """The task on the CPU."""
        return Depo(self)

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The first question about N nodes, for each k of ``asked_hops``."""
        return {("answer", "test"): {}}

    def longer(self, times: int) -> dict[str, int]:
        """More nodes."""
        return {"nodes": times * self.nodes}

    def longest_instance(self, nodes: int) -> int:
        """No instance of so many nodes has more tokens."""
        return 1 + 2 * nodes * self.longest_name + min(self.queries, nodes) * (2 + 2 * self.longest_name)

    def asked_hops(self) -> tuple[int, ...]:
        """The powers of two below K, and K."""
        return asked_hops(self.hops)


# The published ones by N; each also with hops=4
DEPO1 = {n: DepoConfig(n, hops=8, shortest_name=1, longest_name=2, name_words=50) for n in (225, 300, 375)}
DEPO2 = {n: DepoConfig(n) for n in (75, 100, 125)}


class Depo(GraphTask[DepoConfig]):
    """The task on one device."""

    grade = staticmethod(grade_without_hints)  # a name says where it ends, and more questions come after it

    def __init__(self, config: DepoConfig, device: torch.device | str = "cpu"):
        super().__init__(config, device)
        first = config.name_tokens + 1
        self._question = re.compile(f"([\\u{first:04x}-\\u{first + config.hops - 1:04x}])")
        self._answer = chr(first + config.hops)

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is instance i of a split."""
        from physlm.tasks.playground import kernel

        check_split(split)
        made, texts = kernel.instances(self.config, number_R.cpu().numpy(), split, threads=cpu_cores()), []
        for number, row, length in zip(number_R.tolist(), tokens(made.ids_NW).tolist(), made.lengths_N, strict=True):
            ids = row[:length]
            labels = self._labels(ids)
            asked = len(ids) - labels[::-1].index("marker")
            parts = {"prompt": self.vocabulary.decode(ids[:asked]), "answer": self.vocabulary.decode(ids[asked:])}
            nodes = len(self.reader.edges(self.reader.text(ids[1 : labels.index("query")])) or ())
            texts.append(Text({"instance": number, "nodes": nodes}, ids, labels, dict(parts),
                              tuple(f"{name}  {part}" for name, part in parts.items())))  # fmt: skip
        return texts

    def prompts(self, n: int, split: str = "evaluation", *, nodes: int = 0, hop: int = 0) -> Prompts:
        """The first questions of instances 0 .. n - 1, the same ones for each k of ``config.asked_hops()``.

        Args:
            nodes: of each graph; 0: N.  More than N makes texts that may be longer than any in training.
            hop: only this k; 0: each.
        """
        import torch

        from physlm.tasks.playground import kernel

        check_split(split)
        nodes = self.config.asked_nodes(nodes)
        hops = self._hops(hop, nodes)
        made = [kernel.instances(self.config, np.arange(n), split, "prompts", nodes, k, 1, cpu_cores()) for k in hops]
        width = 1 + max(one.ids_NW.shape[1] for one in made)
        ids_BW = np.concatenate([np.pad(tokens(one.ids_NW), ((0, 0), (0, width - one.ids_NW.shape[1])))
                                 for one in made])  # fmt: skip
        asked_B = (ids_BW == self.vocabulary.id("<ans>")).argmax(1) + 1
        ends_B = np.concatenate([one.lengths_N for one in made]) + 1
        kind_B = torch.arange(len(hops), device=self.device).repeat_interleave(n)
        ids, asked, ends = (torch.from_numpy(x).to(self.device) for x in (ids_BW, asked_B, ends_B))
        return cut(ids, asked, ends, _kinds(hops), 1, kind_B=kind_B,
                   item_B=torch.arange(n, device=self.device).repeat(len(hops)))  # fmt: skip

    def test_rows(self, n: int, split: str = "evaluation", *, nodes: int = 0, hop: int = 0) -> AnswerRows:
        """``n`` windows of ``row_tokens`` packed with instances of N nodes, in which all questions have one k, for each
        k of ``config.asked_hops()``; targets are the answers, without <ans>.  Arguments as for ``prompts``; a window
        has to have room for one instance."""
        import torch

        from physlm.tasks.playground import kernel
        from physlm.tasks.rows import IGNORE
        from physlm.tasks.task import AnswerRows

        check_split(split)
        nodes = self.config.asked_nodes(nodes)
        hops = self._hops(hop, nodes)
        longest = self.config.longest_instance(nodes)
        if longest > self.config.row_tokens:
            raise UserError(f"depo: got nodes = {nodes} in windows of {self.config.row_tokens} tokens, expected "
                            f"row_tokens = {longest} or more")
        packed = [kernel.rows(self.config, np.arange(n), split, "windows", nodes, k, cpu_cores()) for k in hops]
        inputs_RT, targets_RT = self._unpacked(np.concatenate(packed))
        kind_R = torch.arange(len(hops), device=self.device).repeat_interleave(n)
        return AnswerRows(inputs_RT, targets_RT.masked_fill(targets_RT == self.vocabulary.id("<ans>"), IGNORE), kind_R,
                        _kinds(hops))  # fmt: skip

    def guesses(self, prompts: Prompts) -> Tensor:
        """Prompts with any node of their graph behind, as a model that follows no edges would answer, (B, W)."""
        import torch

        from physlm import rng

        which_B = rng.below(1 << 30, rng.key("depo guess", self.config.seed), torch.arange(len(prompts.kind_B)))
        written = []
        for ids, length, which in zip(prompts.ids_BP.tolist(), prompts.lengths_B.tolist(), which_B.tolist(),
                                      strict=True):  # fmt: skip
            head = self._question.split(self.reader.text(ids[1:length]))[0]
            nodes = sorted(set(self.reader.names(head) or ()))
            written.append([*ids[:length], *map(ord, nodes[which % len(nodes)])])
        width = max(map(len, written))
        return torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in written], device=prompts.ids_BP.device)

    def fault(self, ids: Sequence[int]) -> str:
        """The first thing that is wrong with an instance, with the <bos> after it or without; nothing if it is right.

        Read are the edges that the text shows, whoever wrote it.
        """
        head, *parts = self._question.split(self.reader.text(without_end(ids)))
        edges = self.reader.edges(head[1:])
        if head[:1] != "\0" or not edges:
            return "got something other than <bos> and names by twos"
        after = dict(edges)
        if len(after) < len(edges) or not _one_cycle(after):
            return "got edges that are not one cycle"
        if len(parts) == 0 or len(parts) % 2:
            return "got no question"
        for marker, question in zip(parts[::2], parts[1::2], strict=True):
            asked, _, answer = question.partition(self._answer)
            hop = ord(marker) - self.config.name_tokens
            if asked not in after:
                return f"got a question of k = {hop} about what is no node"
            if answer != successor(after, asked, hop):
                return f"got a wrong answer to a question of k = {hop}"
        return ""

    def _hops(self, hop: int, nodes: int) -> tuple[int, ...]:
        most = min(self.config.hops, nodes)
        if not 0 <= hop <= most:
            raise UserError(f"depo: got hop = {hop} on {counted(nodes, 'node')}, expected between 1 and {most}")
        return (hop,) if hop else tuple(k for k in self.config.asked_hops() if k <= nodes)

    def _labels(self, ids: list[int]) -> list[str]:
        """bos, edge, query, node, marker or answer for each token."""
        labels, part = [], "edge"
        for token in ids:
            if 0 < token <= self.config.name_tokens:
                labels.append(part)
            else:
                answered = token == self.vocabulary.id("<ans>")
                labels.append("bos" if token == 0 else "marker" if answered else "query")
                part = "edge" if token == 0 else "answer" if answered else "node"
        return labels


def successor(after: dict[str, str], node: str, hop: int) -> str:
    """The node ``hop`` steps on."""
    for _ in range(hop):
        node = after[node]
    return node


def _one_cycle(after: dict[str, str]) -> bool:
    begin = node = next(iter(after))
    for step in range(len(after)):
        node = after.get(node, "")
        if node == begin:
            return step + 1 == len(after)
    return False


def _kinds(hops: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"k{hop}" for hop in hops)
