"""Biographies and questions together: every training row is all biographies or all questions (arXiv 2309.14316).

Row i is one of questions if the number of these in the first i + 1 rows, floor((i + 1) QA_r), is one more than in the
first i; so each kind of row goes through its own task in order, and every batch has the same share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

from physlm.tasks.biography.question_config import MixedConfig
from physlm.tasks.biography.questions import Questions
from physlm.tasks.prompts import Grades, Prompts
from physlm.tasks.rows import Rows
from physlm.tasks.task import Text

# from the numbers of rows to rows, and which number each place has, (R,), where it is of this sort
Numbered = tuple[Callable[[Tensor], Rows], Tensor]
STEPS = 1000  # the share is a multiple of 1 / STEPS


class Mixed:
    """The mixed task on one device; ``biographies`` and ``questions`` are its two parts."""

    def __init__(self, config: MixedConfig):
        self.config = config
        self.biographies, self.questions = config.biographies.build(), Questions(config.questions)
        self.vocabulary = self.questions.vocabulary

    def to(self, device: torch.device | str) -> Self:
        """The same task with its tables on ``device``."""
        moved = object.__new__(type(self))
        moved.__dict__.update(self.__dict__, biographies=self.biographies.to(device),
                              questions=self.questions.to(device))  # fmt: skip
        return moved

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows ``index``, (R, T) inputs and targets."""
        before_R, asked_R = self._asked(index_R)
        return either(asked_R, (lambda number_R: self.questions.rows(number_R, split, stream), before_R),
                      (lambda number_R: self.biographies.rows(number_R, split, stream), index_R - before_R))

    def texts(self, number_E: Tensor, split: str = "evaluation") -> list[Text]:
        """Biographies and questions in the order in which training goes through rows of them."""
        before_E, asked_E = self._asked(number_E)
        asked = iter(self.questions.texts(before_E[asked_E], split))
        told = iter(self.biographies.texts((number_E - before_E)[~asked_E], split))
        return [next(asked if one else told) for one in asked_E.tolist()]

    def prompts(self, n: int, split: str = "evaluation", **condition: Any) -> Prompts:
        """Those of its questions."""
        return self.questions.prompts(n, split, **condition)

    def grade(self, prompts: Prompts, ids_BW: Tensor) -> Grades:
        """As its questions are graded."""
        return self.questions.grade(prompts, ids_BW)

    def _asked(self, index_R: Tensor) -> tuple[Tensor, Tensor]:
        """How many rows of questions come before each row, and whether the row itself is one."""
        return placed(index_R, self.config.share, STEPS)


def placed(index_R: Tensor, share: float, steps: int) -> tuple[Tensor, Tensor]:
    """How many rows of a kind come before each row, and whether the row itself is one of the kind.

    Args:
        share: of rows that are of the kind, a multiple of 1 / steps; they are spread evenly.
    """
    count = round(steps * share)
    before_R = index_R * count // steps
    return before_R, (index_R + 1) * count // steps > before_R


def either(first_R: Tensor, first: Numbered, second: Numbered) -> Rows:
    """Rows of the first sort where ``first_R`` says so, else of the second."""
    made = _apart if first_R.device.type == "cpu" else _together
    return made(first_R, first, second)


def _together(first_R: Tensor, first: Numbered, second: Numbered) -> Rows:
    """Both sorts are computed for every place, so that nothing depends on the data's shape."""
    both = zip(*(make(number_R) for make, number_R in (first, second)), strict=True)
    return Rows(*(torch.where(first_R[:, None], a, b) for a, b in both))


def _apart(first_R: Tensor, first: Numbered, second: Numbered) -> Rows:
    """Each sort is computed for its own places, which a CPU has time for alone."""
    found = [(make(number_R[mine_R]), mine_R) for mine_R, (make, number_R) in (
        (first_R, first), (~first_R, second)) if mine_R.any()]
    rows = Rows(*(x.new_empty(len(first_R), x.shape[1]) for x in found[0][0]))
    for some, mine_R in found:
        for whole, part in zip(rows, some, strict=True):
            whole[mine_R] = part
    return rows
