"""Questions about problems as the tokens that a probe reads, and batches of them (arXiv 2407.20311, section 4).

    <bos> <problem> The number of ... <solution> Define ... = 12.      [START] A's B [END]
    <bos> <problem> The number of ... . How many ... ?                 [START] A's B [END]
    <bos> <problem> The number of ... .                                [START] A's B [MID] C's D [END]

START, MID and END are tokens of the probe alone, numbered behind those of the vocabulary.

Shape letters: B problems, W and T positions of their texts, Q queries, K tokens of a query, N sentences.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physlm import rng
from physlm.measures.igsm.labels import Drawn, Graphs, Ints, draw, graphs
from physlm.measures.igsm.settings import IN_PROBLEM, Kind, Population
from physlm.measures.probes import IGNORE
from physlm.tasks.igsm.config import IgsmConfig
from physlm.tasks.igsm.pieces import HOW_MANY, ID, OWNS, QUESTION_MARK, SOLUTION, STOP

MARKS = 3  # START, MID, END
STREAM = "probes"  # of problems: other ones than a model learns from or is graded by
TOGETHER = 8  # batches that are made at once and sorted by length, so that little is padding


class Asked(NamedTuple):
    """What a probe reads.

    Attributes:
        ids_BT: the texts, as far as any query goes.
        last_BQ: the last token that each query's text has.
        asked_BQK: the tokens of the queries.
    """

    ids_BT: Tensor
    last_BQ: Tensor
    asked_BQK: Tensor

    def to(self, device: torch.device) -> Asked:
        """The same there."""
        return Asked(*(x.to(device) for x in self))


class Batch(NamedTuple):
    """Queries with their answers, and what they are about, all of it in the host's memory."""

    asked: Asked
    drawn: Drawn
    graphs: Graphs
    numbers_B: Ints

    def shuffled(self, seed: int) -> Ints:
        """The answers (B, Q) to other questions of this batch that are asked after as many sentences, as a control.

        What a probe then still knows, it knows from the place.
        """
        labels, place = (array[self.drawn.labels != IGNORE] for array in (self.drawn.labels, self.drawn.place))
        key = rng.key("answers to other questions", seed, int(self.numbers_B[0]))
        u, v = rng.host_uniform(key, np.arange(2 * len(place))).reshape(2, -1)
        labels[(place + u).argsort()] = labels[(place + v).argsort()]
        found = self.drawn.labels.copy()
        found[found != IGNORE] = labels
        return found


def ends_of(ids_BW: NDArray[np.integer], sentences: int) -> Ints:
    """The last token of what stands before sentence n of each solution, (B, N + 1): ``<solution>``, then full stops."""
    solution_B = (ids_BW == ID[SOLUTION]).argmax(1)
    stops_BW = (ids_BW == ID[STOP]) & (np.arange(ids_BW.shape[1]) > solution_B[:, None])
    return np.concatenate((solution_B[:, None], np.argsort(~stops_BW, 1, kind="stable")[:, :sentences]), 1)


def described(ids_BW: NDArray[np.integer]) -> Ints:
    """The last token of what stands before the solution, and before the question too if that comes last, (B,)."""
    question_B, solution_B = ((ids_BW == ID[token]).argmax(1) for token in (HOW_MANY, SOLUTION))
    last_B1 = (solution_B - 1)[:, None]
    asked_last_B = np.take_along_axis(ids_BW, last_B1, 1)[:, 0] == ID[QUESTION_MARK]
    return np.where(asked_last_B, question_B, solution_B) - 1


def query_tokens(first_BQ2: Ints, second_BQ2: Ints | None, vocabulary: int) -> Ints:
    """START A's B END or START A's B MID C's D END, (B, Q, K), from the tokens of owner and owned."""
    start, mid, end = (np.full(first_BQ2.shape[:2], vocabulary + mark) for mark in range(MARKS))
    owns = np.full(first_BQ2.shape[:2], ID[OWNS])
    tokens = [start, first_BQ2[..., 0], owns, first_BQ2[..., 1]]
    if second_BQ2 is not None:
        tokens += [mid, second_BQ2[..., 0], owns, second_BQ2[..., 1]]
    return np.stack([*tokens, end], -1)


class Source(NamedTuple):
    """How the batches of one kind are drawn: by numpy alone, so that another thread may (``physlm.training.ahead``).

    Attributes:
        config: problems without wrong starts.
        problems, queries: of a batch, and about each problem at most.
        balanced: half of the queries of each group of labels.
    """

    kind: Kind
    config: IgsmConfig
    problems: int
    queries: int
    population: Population
    balanced: bool
    seed: int

    def group(self, number: int) -> Iterator[Batch]:
        """``TOGETHER`` batches to learn from: as many problems, sorted by length, in a random order of batches."""
        many = TOGETHER * self.problems
        numbers = np.arange(number * many, (number + 1) * many)
        ids_NW, lengths_N, records_N = self._made(numbers, "train")
        by_length = np.argsort(lengths_N, kind="stable").reshape(TOGETHER, -1)
        which = rng.host_uniform(rng.key("order of probes", self.seed, number), np.arange(TOGETHER)).argsort()
        for some in by_length[which]:
            yield self._batch(ids_NW[some], graphs(records_N[some], self.config), numbers[some])

    def of(self, count: int, split: str) -> Iterator[Batch]:
        """Problems 0 .. ``count`` - 1 of a split."""
        for start in range(0, count, self.problems):
            numbers = np.arange(start, min(start + self.problems, count))
            ids_NW, _, records_N = self._made(numbers, split)
            yield self._batch(ids_NW, graphs(records_N, self.config), numbers)

    def _made(self, numbers: Ints, split: str) -> tuple[Ints, Ints, NDArray[np.void]]:
        from physlm.tasks.igsm import kernel

        made = kernel.problems(self.config, numbers, split, STREAM)
        return made.ids_NW.astype(np.int64), made.lengths_N, made.records_N

    def _batch(self, ids_BW: Ints, found: Graphs, numbers_B: Ints) -> Batch:
        key = rng.key("probes", self.kind, self.seed)
        drawn = draw(self.kind, found, numbers_B, self.queries, key, self.population, self.balanced)
        ends_BN = ends_of(ids_BW, int(found.needed_B.max()))
        if self.kind in IN_PROBLEM:
            last_B = described(ids_BW) if self.kind == "dep" else ends_BN[:, 0] - 1  # the token before <solution>
            last_BQ = np.repeat(last_B[:, None], drawn.place.shape[1], 1)
        else:
            last_BQ = np.take_along_axis(ends_BN, drawn.place, 1)
        row_B1 = np.arange(len(ids_BW))[:, None]
        second = None if self.kind != "dep" else found.names_BP2[row_B1, drawn.second]
        tokens_BQK = query_tokens(found.names_BP2[row_B1, drawn.first], second, len(self.config.vocabulary()))
        arrays = (ids_BW[:, : int(last_BQ.max()) + 1], last_BQ, tokens_BQK)
        return Batch(Asked(*map(torch.from_numpy, arrays)), drawn, found, numbers_B)
