"""What every task offers to training, and what biographies offer to measuring besides."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from physlm.tasks.biography.config import BiographyConfig
from physlm.tasks.config import TaskConfig
from physlm.tasks.information import InformationTerms
from physlm.tasks.rows import Entries, Rows
from physlm.tasks.vocabulary import Vocabulary


class Task(Protocol):
    """A pure function from (config, split, stream, index) to training rows, on one device."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Words and ids; that of ``config.vocabulary()``."""

    @property
    def config(self) -> TaskConfig:
        """The settings that define this task."""

    def to(self, device: torch.device | str) -> Task:
        """The same task on another device."""

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number."""


class BiographyTask(Task, Protocol):
    """A task about N people, whose texts are labelled.

    Attributes:
        roles: name of each role code in ``Entries.roles_RW``; code 0 is padding, 1 plain text.
        name_role, value_roles, first_chunk_roles: the codes that the capacity measure sums over.
        entry_width: the longest possible entry, with both separators.
    """

    @property
    def roles(self) -> tuple[str, ...]: ...

    @property
    def name_role(self) -> int: ...

    @property
    def value_roles(self) -> tuple[int, ...]: ...

    @property
    def first_chunk_roles(self) -> tuple[int, ...]: ...

    @property
    def entry_width(self) -> int: ...

    @property
    def config(self) -> BiographyConfig:
        """The settings that define this task."""

    @property
    def information_terms(self) -> InformationTerms:
        """The dataset's size in the terms of the capacity formula."""

    def to(self, device: torch.device | str) -> BiographyTask:
        """The same task on another device."""

    def entries(self, person_E: Tensor, draw_E: Tensor, split: str = "evaluation", stream: int = 0) -> Entries:
        """Labelled texts of given people."""
