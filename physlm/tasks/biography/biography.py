"""What bioS, bioD and bioR share: from the pieces of an exposure to training rows and labelled entries."""

from __future__ import annotations

from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor

from physlm.tasks.biography.config import BioDConfig, BioRConfig, BioSConfig
from physlm.tasks.biography.exposure import Exposure, chosen, exposures
from physlm.tasks.rows import Entries, Pieces, Rows, pack, render, single, training_rows
from physlm.tasks.task import Text
from physlm.tasks.vocabulary import Vocabulary

Config = TypeVar("Config", BioSConfig, BioDConfig, BioRConfig)


class Biography(Generic[Config]):
    """A biography task on one device; a subclass sets the attributes and says how one exposure is worded.

    Attributes:
        tables: a named tuple of tensors on the task's device, with the token pool as ``pool``.
        entry_width: the longest possible entry, with both separators.
    """

    config: Config
    vocabulary: Vocabulary
    roles: tuple[str, ...]
    tables: Any
    entry_width: int

    def to(self, device: torch.device | str) -> Self:
        """The same task with its tables on ``device``."""
        moved = object.__new__(type(self))
        tables = type(self.tables)(*(table.to(device) for table in self.tables))
        moved.__dict__.update(self.__dict__, tables=tables)
        return moved

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows ``index``: row i packs entries k*i .. k*i + k-1; (R, T) inputs and targets."""
        k = self.config.entries_per_row
        entry_E = (index_R[:, None] * k + torch.arange(k, device=index_R.device)).flatten()
        pieces = self._pieces(self._exposures(entry_E, stream, split), stream)
        return training_rows(render(self.tables.pool, pack(pieces, k), self.config.row_tokens + 1))

    def entries(self, person_E: Tensor, draw_E: Tensor, split: str = "evaluation", stream: int = 0) -> Entries:
        """The ``draw``-th text of each person, labelled, between two ``<eos>``; (E, entry_width) positions."""
        pieces = self._pieces(chosen(person_E, draw_E, self.config.people, split), stream)
        return render(self.tables.pool, single(pieces), self.entry_width)

    def texts(self, number_E: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is the (i // N)-th about person i mod N."""
        person_E, draw_E = number_E % self.config.people, number_E // self.config.people
        found = zip(person_E.tolist(), draw_E.tolist(), *map(Tensor.tolist, self.entries(person_E, draw_E, split)),
                    strict=True)  # fmt: skip
        return [Text({"person": person, "draw": draw}, ids[:length], [self.roles[role] for role in roles[:length]])
                for person, draw, ids, roles, length in found]

    def _exposures(self, entry_E: Tensor, stream: int, split: str) -> Exposure:
        """Who is read in the given entries of a split: everybody once an epoch."""
        return exposures(entry_E, self.config.people, stream, split)

    def _pieces(self, exposure: Exposure, stream: int) -> Pieces:
        """The text of each exposure, without separators."""
        raise TypeError(f"{type(self).__name__} does not say how an exposure is worded")
