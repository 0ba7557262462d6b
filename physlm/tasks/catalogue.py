"""From settings to a task, under one name each for callers that hold any task's settings.  Free of torch."""

from __future__ import annotations

from typing import Protocol, TypeVar

from physlm.tasks.config import TaskConfig
from physlm.tasks.vocabulary import Vocabulary

Built = TypeVar("Built", covariant=True)


class _Builds(Protocol[Built]):
    def build(self) -> Built: ...


def build(config: _Builds[Built]) -> Built:
    """The task that ``config`` describes, on the CPU; ``.to(device)`` moves it."""
    return config.build()


def vocabulary_for(config: TaskConfig) -> Vocabulary:
    """The closed vocabulary of the task, without building its tables."""
    return config.vocabulary()
