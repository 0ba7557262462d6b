"""Question tasks for the tests, and their prompts as text."""

from typing import Any

import torch
from torch import Tensor

from physlm.tasks.biography.question_config import Ask, QuestionsConfig
from physlm.tasks.biography.questions import Questions

PEOPLE = 60


def questions(people: int = PEOPLE, rows: tuple[int, int] = (4, 100), pool_size: int = 0, **ask: Any) -> Questions:
    return QuestionsConfig(people, entries_per_row=rows[0], row_tokens=rows[1], ask=Ask(**ask),
                                 pool_size=pool_size).build()


def decoded(task: Questions, ids_BW: Tensor, lengths_B: Tensor) -> list[str]:
    words = task.vocabulary.words
    return [" ".join(words[i] for i in row[:n]) for row, n in zip(ids_BW.tolist(), lengths_B.tolist(), strict=True)]


def asked(task: Questions, draw: int = 0) -> list[tuple[str, str, str]]:
    """(kind, prompt, all that should follow) of every question."""
    p = task.numbered(torch.arange(task.count), draw)
    return list(zip([task.config.ask.kinds[k] for k in p.kind_B.tolist()], decoded(task, p.ids_BP, p.lengths_B),
                    decoded(task, p.answers_BQ, p.answer_lengths_B), strict=True))
