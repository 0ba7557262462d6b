"""Biographies and questions together: every training row is all biographies or all questions (arXiv 2309.14316).

Row i is one of questions if the number of these in the first i + 1 rows, floor((i + 1) QA_r), is one more than in the
first i; so each kind of row goes through its own task in order, and every batch has the same share.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from physlm.tasks.biography.bios import BioS
from physlm.tasks.biography.question_config import MixedConfig
from physlm.tasks.biography.questions import Questions
from physlm.tasks.rows import Rows

STEPS = 1000  # the share is a multiple of 1 / STEPS


class Mixed:
    """The mixed task on one device; ``biographies`` and ``questions`` are its two parts."""

    def __init__(self, config: MixedConfig):
        self.config = config
        self.biographies, self.questions = BioS(config.biographies), Questions(config.questions)
        self.vocabulary = self.questions.vocabulary

    def to(self, device: torch.device | str) -> Self:
        """The same task with its tables on ``device``."""
        moved = object.__new__(type(self))
        moved.__dict__.update(self.__dict__, biographies=self.biographies.to(device),
                              questions=self.questions.to(device))  # fmt: skip
        return moved

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows ``index``, (R, T) inputs and targets."""
        share = round(STEPS * self.config.share)
        before_R = index_R * share // STEPS
        asked_R1 = ((index_R + 1) * share // STEPS > before_R)[:, None]
        # both are computed for every row, so that nothing depends on the data's shape
        asked = self.questions.rows(before_R, split, stream)
        told = self.biographies.rows(index_R - before_R, split, stream)
        return Rows(*(torch.where(asked_R1, a, b) for a, b in zip(asked, told, strict=True)))
