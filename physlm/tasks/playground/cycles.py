"""Depo in a window that is filled: the k-th successor on one cycle, whose edges lie among filler or among other cycles.

    <bos> n3 n1 <filler_9> n2 n3 <filler_1> <filler_4> n1 n2 <query_2> n3 <ans> n2 <query_1> n1 <ans> n2 <bos> ..
    <bos> n3 n1 n8 n7 n2 n3 n7 n8 n1 n2 <query_2> n3 <ans> n2 ..          of n7 and n8 nothing is ever asked

A cycle of ``nodes`` nodes is written as shuffled edges, a node and its successor, and asked for successors up to the
``hops``-th (Depo of arXiv 2512.17351; a name is one token).  A cycle has at least 2 K + 1 nodes, so that up to K steps
back never lead where up to K steps lead.  Filler says nothing about the answer:

    words, repeat    words of their own, at random or one phrase over and over (``haystack``), between edges
    edges            edges of other cycles of as many nodes, mixed with those of the asked one
    any              one of the three for each text

Texts follow each other from the beginning of a row, whose end cuts the last.  In training each has a uniform amount of
filler from nothing up to ``share`` of ``window`` tokens; <ans> and the answers are learnt.  Asked are texts with a
given share, ``prompts(filled=0.9, filler="edges")``, for each k that is a power of two and for K.  The asked cycle, the
order of its edges and its question are the same whatever fills the window, there and in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.tasks.config import TaskConfig, check_between, check_split
from physlm.tasks.playground.graphs import asked_hops
from physlm.tasks.playground.haystack import FILLERS, begins, filler, filler_words, guessed
from physlm.tasks.prompts import FOREIGN, Prompts, cut, grade_without_hints, texts_in_row, without_end
from physlm.tasks.task import OnDevice, Text, question
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from physlm.tasks.rows import Rows

BOS, FIRST_NODE = 0, 1
EDGES = "edges"
KINDS = (*FILLERS, EDGES)  # of filler
QUESTION = 4  # tokens
MOST_TOKENS, MOST_WORDS = 1 << 20, 1 << 20


@dataclass(frozen=True)
class CyclesConfig(TaskConfig):
    """A cycle of ``nodes`` nodes out of ``names`` in ``window`` tokens, and ``queries`` different questions about it.

    Attributes:
        hops: the most steps of a question, K.
        filler: of training.
        share: of the window that is filler, at most, in training.
        fillers: how many words of filler there are.
    """

    kind: ClassVar[str] = "cycles"
    shared_fields: ClassVar[tuple[str, ...]] = ("names", "hops", "fillers")
    has_verifier: ClassVar[bool] = True
    guesses_from_text: ClassVar[bool] = True
    nodes: int = 9
    hops: int = 4
    queries: int = 6
    names: int = 256
    window: int = 96
    filler: Literal["words", "repeat", "edges", "any"] = "any"
    share: float = 0.8
    fillers: int = 64
    row_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        check_between(self, "row_tokens", 8, MOST_TOKENS)
        check_between(self, "names", 3, MOST_WORDS)
        check_between(self, "fillers", 1, MOST_WORDS)
        check_between(self, "hops", 1, (self.names - 1) // 2)
        check_between(self, "nodes", 2 * self.hops + 1, self.names)
        check_between(self, "queries", 1, self.nodes * self.hops)  # different ones
        check_between(self, "window", 2 * self.nodes, self.row_tokens - 1 - QUESTION * self.queries)
        check_between(self, "share", 0, 1 - 2 * self.nodes / self.window)
        if self.filler in (EDGES, "any"):
            check_between(self, "names", self.nodes + self.tokens(self.share) // 2, MOST_WORDS)

    def tokens(self, share: float) -> int:
        """Of filler, in a window of which it is this share."""
        return int(share * self.window + 1e-9)

    @property
    def title(self) -> str:
        """For readers: ``cycles 9 K=4 in 96, any``."""
        return f"{self.kind} {self.nodes} K={self.hops} in {self.window}, {self.filler}"

    def vocabulary(self) -> Vocabulary:
        """<bos>, nodes, <query_1> .. <query_K>, <ans>, filler."""
        nodes, markers = (f"n{i + 1}" for i in range(self.names)), (f"<query_{k + 1}>" for k in range(self.hops))
        return Vocabulary(("<bos>", *nodes, *markers, "<ans>", *filler_words(self.fillers)))

    def build(self) -> Cycles:
        """The task on the CPU."""
        return Cycles(self)

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """A cycle without filler."""
        return {("answer", "test"): {}}

    def filled(self, share: float) -> dict[str, dict[str, Any]]:
        """Every kind of filler that training shows."""
        kinds = KINDS if self.filler == "any" else (self.filler,)
        return {kind: {"filler": kind, "filled": share} for kind in kinds}

    def asked_hops(self) -> tuple[int, ...]:
        """The powers of two below K, and K."""
        return asked_hops(self.hops)


class _Shape(NamedTuple):
    """Texts of some rows: the number of each, (R, I), the place of its kind of filler in ``KINDS``, and how much; and
    how many edges of other cycles any text can have."""

    text_RI: Tensor
    kind_RI: Tensor
    filler_RI: Tensor
    queries: int
    others: int


class Cycles(OnDevice[CyclesConfig]):
    """The task on one device: everything is computed from the numbers of rows."""

    grade = staticmethod(grade_without_hints)

    def __init__(self, config: CyclesConfig, device: torch.device | str = "cpu"):
        super().__init__(config, device)
        self._query = FIRST_NODE + config.names - 1  # <query_k> is token k after this one
        self._answer = self._query + config.hops + 1

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, (R, T) inputs and targets; targets are <ans> and the answers."""
        if index_R.device.type == "cpu":
            return self._compiled(index_R, split, stream)
        return self._rows(index_R, split, stream)

    def _compiled(self, index_R: Tensor, split: str, stream: int) -> Rows:
        """What ``_rows`` gives, by a loop that a CPU runs several times as fast."""
        import torch

        from physlm import rng
        from physlm.tasks.playground import cycles_kernel
        from physlm.tasks.rows import Rows

        check_split(split)
        key = rng.key("cycles", self.config.seed, split, stream)
        ids_RW, targets_RT = map(torch.from_numpy, cycles_kernel.rows(self.config, index_R.numpy(), key))
        return Rows(ids_RW[:, :-1], targets_RT)

    def _rows(self, index_R: Tensor, split: str, stream: int) -> Rows:
        import torch

        from physlm.tasks.rows import IGNORE, Rows

        config = self.config
        shortest = 1 + 2 * config.nodes + QUESTION * config.queries
        shape = self._drawn(index_R, config.row_tokens // shortest + 1, split, stream)
        ids_RW, end_RI = self._written(index_R, config.row_tokens + 1, shape, split, stream)
        learnt_RW = torch.zeros(len(ids_RW), config.row_tokens + 2, dtype=torch.bool, device=index_R.device)
        back_Q = QUESTION * torch.arange(config.queries, device=index_R.device)
        for token in (1, 2):  # the last two of each question
            at_RIQ = (end_RI[..., None] - back_Q - token).clamp_max(config.row_tokens + 1)
            learnt_RW.scatter_(1, at_RIQ.flatten(1), True)
        return Rows(ids_RW[:, :-1], ids_RW[:, 1:].where(learnt_RW[:, 1:-1], IGNORE))

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is the first one of row i."""
        config, texts = self.config, []
        shape = self._drawn(number_R, 1, split, 0)
        width = 1 + config.window + QUESTION * config.queries
        ids_RW, end_RI = self._written(number_R, width, shape, split, 0)
        for number, row, end, kind in zip(number_R.tolist(), ids_RW.tolist(), end_RI[:, 0].tolist(),
                                          shape.kind_RI[:, 0].tolist(), strict=True):
            ids = row[:end]
            body = ["node" if i <= self._query else "filler" for i in ids[1 : end - QUESTION * config.queries]]
            labels = ["bos", *body, *["query", "asked", "marker", "answer"] * config.queries]
            texts.append(question({"instance": number, "filler": KINDS[kind]}, ids, labels, end - 1, self.vocabulary))
        return texts

    def prompts(self, n: int, split: str = "evaluation", *, hop: int = 0, filled: float = 0.0, filler: str = ""
                ) -> Prompts:  # fmt: skip
        """``n`` cycles, the same ones for each k of ``config.asked_hops()``.

        Args:
            hop: only this k; 0: each.
            filled: the share of the window that is filler.
            filler: its kind, one of ``KINDS``; by default that of training, or random words.

        Raises:
            UserError: a k, a share or a kind that there is not, or more edges than names.
        """
        import torch

        config = self.config
        kind = filler or (config.filler if config.filler != "any" else KINDS[0])
        if kind not in KINDS:
            raise UserError(unknown_key("cycles: filler", kind, KINDS))
        if not 0 <= hop <= config.hops:
            raise UserError(f"cycles: got hop {hop}, expected between 1 and {config.hops}, or 0 for each")
        most = 1 - 2 * config.nodes / config.window
        if kind == EDGES:
            most = min(most, 2 * (config.names - config.nodes) / config.window)
        if not 0 <= filled <= most:  # also a NaN
            raise UserError(f"cycles: got filled {filled}, expected between 0 and {most:.4g}")
        hops, tokens = (hop,) if hop else config.asked_hops(), config.tokens(filled)
        kind_B = torch.arange(len(hops), device=self.device).repeat_interleave(n)
        row_B = torch.arange(n, device=self.device).repeat(len(hops))
        which = torch.full_like(row_B, KINDS.index(kind))[:, None]
        shape = _Shape(self._numbers(row_B, 1), which, self._whole(which, torch.full_like(which, tokens)), 1,
                       tokens // 2 * (kind == EDGES))  # fmt: skip
        width = 1 + 2 * config.nodes + tokens + QUESTION + 1
        hop_B = torch.tensor(hops, device=self.device)[kind_B]
        ids_BW, end_BI = self._written(row_B, width, shape, split, "prompts", hop_B)
        end_B = end_BI[:, 0]
        ids_BW.scatter_(1, end_B[:, None], BOS)  # it ends the answer
        span = config.row_tokens
        return cut(ids_BW, end_B - 1, end_B + 1, tuple(f"k{k}" for k in hops), texts_in_row(span, span, width),
                   kind_B=kind_B, item_B=row_B)  # fmt: skip

    def guesses(self, prompts: Prompts) -> Tensor:
        """Prompts with any node of their text behind, as a model that follows no edges would answer; (B, P + 1)."""
        from physlm import rng

        return guessed(prompts, FIRST_NODE, self._query + 1, rng.key("cycles guess", self.config.seed))

    def fault(self, ids: Sequence[int]) -> str:
        """The first thing that is wrong with a text, read from its tokens alone; nothing if it is right."""
        text = without_end(ids)
        if not self.vocabulary.has(text):
            return FOREIGN
        begin = len(text)
        while begin > QUESTION and self._query < text[begin - QUESTION] < self._answer:
            begin -= QUESTION
        before = text[1:begin]
        place_P = [at for at, token in enumerate(before) if token <= self._query]
        nodes = [before[at] for at in place_P]
        after = dict(zip(nodes[::2], nodes[1::2], strict=False))
        if text[:1] != [BOS] or not {*before}.isdisjoint((BOS, *range(self._query + 1, self._answer + 1))):
            return "got something other than <bos>, nodes and filler before the questions"
        if len(nodes) != 2 * len(after) or {*after} != {*after.values()}:
            return "got edges that are not cycles"
        if [at + 1 for at in place_P[::2]] != place_P[1::2]:
            return "got an edge whose nodes do not stand side by side"
        if begin == len(text):
            return "got no question"
        for at in range(begin, len(text), QUESTION):
            marker, node, ending, answer = text[at : at + QUESTION]
            if not self._query < marker < self._answer or node not in after or ending != self._answer:
                return "got something other than a question about a node"
            for _ in range(marker - self._query):
                node = after[node]
            if answer != node:
                return f"got a wrong answer to a question of k = {marker - self._query}"
        return ""

    def _numbers(self, index_R: Tensor, count: int) -> Tensor:
        from physlm.tasks.playground.drawing import text_numbers

        return text_numbers(index_R, count)

    def _whole(self, kind_RI: Tensor, filler_RI: Tensor) -> Tensor:
        """Tokens of filler that are whole edges of cycles of at least two nodes."""
        import torch

        edges_RI = filler_RI // 2
        edges_RI = edges_RI - (edges_RI % self.config.nodes == 1).long()
        return torch.where(kind_RI == KINDS.index(EDGES), 2 * edges_RI, filler_RI)

    def _drawn(self, index_R: Tensor, count: int, split: str, stream: int) -> _Shape:
        """``count`` texts a row, as in training."""
        import torch

        from physlm import rng

        check_split(split)
        config, key = self.config, rng.key("cycles", self.config.seed, split, stream)
        text_RI, most = self._numbers(index_R, count), config.tokens(config.share)
        kind_RI = (rng.below(len(KINDS), rng.key("kind", key), text_RI) if config.filler == "any" else
                   torch.full_like(text_RI, KINDS.index(config.filler)))  # fmt: skip
        drawn_RI = rng.below(most + 1, rng.key("amount", key), text_RI)
        others = most // 2 * (config.filler in (EDGES, "any"))
        return _Shape(text_RI, kind_RI, self._whole(kind_RI, drawn_RI), config.queries, others)

    def _written(self, index_R: Tensor, width: int, shape: _Shape, split: str, stream: int | str,
                 hop_R: Tensor | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Texts after another in each row, cut to (R, W), and where each one ends, (R, I)."""
        import torch

        from physlm import rng
        from physlm.tasks.playground.drawing import distinct, own_key

        check_split(split)
        config, key, n = self.config, rng.key("cycles", self.config.seed, split, stream), self.config.nodes
        text_RI, kind_RI, filler_RI, queries, others = shape
        end_RI = (1 + 2 * n + filler_RI + QUESTION * queries).cumsum(1)
        begin_RI = end_RI - 1 - 2 * n - filler_RI - QUESTION * queries
        ids_RW = self._filler(index_R, width + 1, kind_RI, begin_RI, end_RI, key)  # the last column is cut off
        inside_RI = begin_RI < width  # the others would only cost time
        row_RI = (width + 1) * torch.arange(len(index_R), device=index_R.device)[:, None].expand_as(text_RI)
        row_S1, begin_S1, end_S1 = (x[inside_RI][:, None] for x in (row_RI, begin_RI, end_RI))
        text_S, filler_S, among_S = (x[inside_RI] for x in (text_RI, filler_RI, kind_RI == KINDS.index(EDGES)))
        cycle_SN = distinct(n, config.names, own_key(rng.key("names", key), text_S))

        def put(row_S1: Tensor, at_SU: Tensor, ids_SU: Tensor) -> None:
            ids_RW.view(-1).scatter_(0, (row_S1 + at_SU.clamp_max(width)).flatten(), ids_SU.flatten())

        put(row_S1, begin_S1, torch.full_like(begin_S1, BOS))
        for more, chosen_S in ((0, ~among_S), (others, among_S)):
            at_SU, edges_SU2 = self._edges(key, text_S[chosen_S], cycle_SN[chosen_S], filler_S[chosen_S], more)
            for token in (0, 1):
                put(row_S1[chosen_S], at_SU + begin_S1[chosen_S] + 1 + token, FIRST_NODE + edges_SU2[..., token])
        asked_SQ = distinct(queries, n * config.hops, own_key(rng.key("asked", key), text_S))
        asked_SQ, hop_SQ = asked_SQ // config.hops, 1 + asked_SQ % config.hops
        if hop_R is not None:
            hop_SQ = hop_R[:, None].expand_as(text_RI)[inside_RI][:, None].expand_as(asked_SQ)
        at_SQ = end_S1 - QUESTION * torch.arange(queries, 0, -1, device=index_R.device)
        for token, ids_SQ in enumerate((
            self._query + hop_SQ, FIRST_NODE + cycle_SN.gather(1, asked_SQ), torch.full_like(at_SQ, self._answer),
            FIRST_NODE + cycle_SN.gather(1, (asked_SQ + hop_SQ) % n),
        )):  # fmt: skip
            put(row_S1, at_SQ + token, ids_SQ)
        return ids_RW[:, :width], end_RI

    def _edges(self, key: int, text_S: Tensor, cycle_SN: Tensor, filler_S: Tensor, others: int
               ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Where edges of some texts begin in their windows, far beyond them where there is none, and their two nodes;
        (S, U) and (S, U, 2).

        Args:
            cycle_SN: the asked cycle, nodes in its order.
            filler_S: tokens of filler, which are words if ``others`` is 0.
            others: the most edges of other cycles, of as many nodes each; the last one may be shorter.
        """
        import torch

        from physlm import rng
        from physlm.tasks.playground.drawing import beside, distinct, own_key

        n, names_SU = self.config.nodes, cycle_SN
        at_U = torch.arange(n + others, device=text_S.device)
        edges_S1 = torch.full_like(text_S, n)[:, None]
        if others:
            drawn_SU = distinct(others, self.config.names - n, own_key(rng.key("others", key), text_S))
            names_SU = torch.cat((cycle_SN, beside(drawn_SU, cycle_SN)), -1)
            edges_S1 = edges_S1 + filler_S[:, None] // 2
        used_SU = at_U < edges_S1
        last_SU = torch.minimum((at_U // n + 1) * n, edges_S1) - 1  # of the node's cycle
        after_SU = torch.where(at_U < last_SU, at_U + 1, at_U // n * n).clamp_max(n + others - 1)
        share_SU = rng.uniform(own_key(rng.key("places", key), text_S), at_U).where(used_SU, 2.0)
        share_SU, order_SU = share_SU.sort(dim=-1, stable=True)
        words_S = torch.zeros_like(filler_S) if others else filler_S
        at_SU = begins(share_SU, words_S, torch.full_like(order_SU, 2))
        nodes_SU2 = torch.stack((names_SU, names_SU.gather(-1, after_SU)), -1)
        return at_SU.where(used_SU, 1 << 30), nodes_SU2.gather(1, order_SU[..., None].expand(-1, -1, 2))

    def _filler(self, index_R: Tensor, width: int, kind_RI: Tensor, begin_RI: Tensor, end_RI: Tensor, key: int
                ) -> Tensor:  # fmt: skip
        """Words of filler of each text's kind at every position, (R, W)."""
        config, first = self.config, self._answer + 1
        random_RW, phrase_RW = (filler(kind, config.fillers, key, index_R, width) for kind in FILLERS)
        repeat_RI = (kind_RI == KINDS.index("repeat")).long()
        marks_RW = repeat_RI.new_zeros(len(index_R), width + 1)  # 1 where such texts begin, -1 where they end
        for at_RI, mark_RI in ((begin_RI, repeat_RI), (end_RI, -repeat_RI)):
            marks_RW.scatter_add_(1, at_RI.clamp_max(width), mark_RI)
        return first + phrase_RW.where(marks_RW[:, :width].cumsum(1) > 0, random_RW)
