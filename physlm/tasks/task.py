"""What every task offers to training and to measuring."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from physlm.tasks.config import TaskConfig
from physlm.tasks.information import InformationTerms
from physlm.tasks.rows import Entries, Rows
from physlm.tasks.vocabulary import Vocabulary


class Task(Protocol):
    """A pure function from (config, split, stream, index) to tokens, on one device.

    Attributes:
        roles: name of each role code in ``Entries.roles_RW``; code 0 is padding, 1 plain text.
        name_role, value_roles, first_chunk_roles: the codes that the capacity measure sums over.
        entry_width: the longest possible entry, with both separators.
    """

    roles: tuple[str, ...]
    name_role: int
    value_roles: tuple[int, ...]
    first_chunk_roles: tuple[int, ...]
    vocabulary: Vocabulary
    entry_width: int

    @property
    def config(self) -> TaskConfig:
        """The settings that define this task."""

    @property
    def information_terms(self) -> InformationTerms:
        """The dataset's size in the terms of the capacity formula."""

    def to(self, device: torch.device | str) -> Task:
        """The same task on another device."""

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number."""

    def entries(self, person_E: Tensor, draw_E: Tensor, split: str = "evaluation", stream: int = 0) -> Entries:
        """Labelled texts of given people."""
