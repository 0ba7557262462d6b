"""What P- and Q-probes found: accuracies with their intervals, and what may be answered without knowing the person.

Shape letters: M members, Y targets, P places, N texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physlm.measures.intervals import Intervals, share
from physlm.measures.probes import IGNORE, Target
from physlm.measures.rows import Row


@dataclass(frozen=True)
class KnowledgeScores:
    """How often the probes are right about people whom they did not learn from.

    Attributes:
        targets, places: the names of the axes Y and P.
        accuracy: (M, Y, P); intervals clustered by person.
        majority: the accuracy of the best constant answer, (Y, P).
        first_word: that of the best answer by somebody who knows the right one's first token and no more, (Y, P); nan
            for targets without ``tokens``.
        people: how many people were asked about, (Y, P).
    """

    targets: tuple[Target, ...]
    places: tuple[str, ...]
    accuracy: Intervals
    majority: NDArray[np.float64]
    first_word: NDArray[np.float64]
    people: NDArray[np.int64]

    def rows(self, base: str, member: int = 0) -> list[Row]:
        """One row for each target and place, ``where`` their names with ``_`` for blanks; a place without a name is
        not there."""
        return [self.accuracy.row(base, people, (member, y, p), where=where) for y, p, where, people in self._asked()]

    def exact_rows(self, base: str, shares_YP: NDArray[np.float64]) -> list[Row]:
        """The same rows of ``majority`` or ``first_word``, whose interval is empty."""
        shares = ((float(shares_YP[y, p]), where, people) for y, p, where, people in self._asked())
        return [Row(base, share, "1", people, share, share, where) for share, where, people in shares]

    def _asked(self) -> Iterator[tuple[int, int, dict[str, str], int]]:
        """(target, place, ``{"target": "employer_whole", "place": "1"}``, people judged), where anybody was asked."""
        for y, target in enumerate(self.targets):
            for p, place in enumerate(self.places):
                parts = {"target": target.name, "place": place}
                where = {key: name.replace(" ", "_") for key, name in parts.items() if name}
                if self.people[y, p]:
                    yield y, p, where, int(self.people[y, p])


def scores_of(
    targets: tuple[Target, ...], places: tuple[str, ...], hits_MYPN: Tensor, labels_YPN: Tensor, people_N: Tensor
) -> KnowledgeScores:
    """The scores of N texts: whether each answer was right, what was right (IGNORE: not asked), and about whom."""
    found, person_N = people_N.unique(return_inverse=True)
    asked_YPN = (labels_YPN != IGNORE).double()
    zeros = torch.zeros(*hits_MYPN.shape[:-1], len(found), dtype=torch.float64)
    asked = zeros[0].clone().index_add_(-1, person_N, asked_YPN)
    hits = zeros.index_add_(-1, person_N, hits_MYPN.double())
    majority, first_word = (np.full(asked.shape[:2], np.nan) for _ in range(2))
    for y, p in np.ndindex(*majority.shape):
        answers = labels_YPN[y, p][labels_YPN[y, p] != IGNORE]
        if len(answers):
            tokens = targets[y].tokens
            majority[y, p] = _commonest(answers, torch.zeros_like(answers))
            if tokens:
                first_word[y, p] = _commonest(answers, torch.tensor(tokens)[answers])
    accuracy = share(hits.numpy(), asked.numpy()[None])
    people = (asked > 0).sum(-1).numpy()
    return KnowledgeScores(targets, places, accuracy, majority, first_word, people)


def _commonest(answers_N: Tensor, known_N: Tensor) -> float:
    """The accuracy of who answers by the commonest of all answers with the same ``known``, and knows no more."""
    _, known_N = known_N.unique(return_inverse=True)
    pair, counts = torch.stack((known_N, answers_N)).unique(dim=1, return_counts=True)
    best = counts.new_zeros(int(known_N.max()) + 1).scatter_reduce(0, pair[0], counts, "amax")
    return int(best.sum()) / len(answers_N)
