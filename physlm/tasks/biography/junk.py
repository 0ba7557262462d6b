"""bioS among junk: rows of useful people, and rows of others, of whom there may be too many to be seen twice.

    useful   <eos> <domain> Anya Briar Forger was born on October 2 , 1996 . She worked for Meta . ... <eos>
    junk     <eos> Sabrina Eugeo Zuberg studied at ... <eos>

The others are people N, N + 1, ..., N + N' - 1 of one bioS: numbers decide names and values, so nobody needs a table of
100 million people, and no two of all have one name.  Which rows are junk follows from ``share`` alone (``placed``).
The interface is that of ``BioS``, and it is about the useful people alone: what is measured is what is known of them.
Source: arXiv 2404.05405, section 10 and Figure 8.

Shape letters: N useful people, E entries, P pieces, R rows.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from physlm.tasks.biography.bios import ROLES, TEXT, BioS
from physlm.tasks.biography.config import name_pools
from physlm.tasks.biography.exposure import Exposure, exposures
from physlm.tasks.biography.junk_config import DOMAIN, SHARES, JunkConfig, junk_vocabulary
from physlm.tasks.biography.mixed import either, placed
from physlm.tasks.biography.people import attribute_numbers, draw, numbered_names
from physlm.tasks.biography.pools import cut_pools
from physlm.tasks.biography.words import PRONOUNS
from physlm.tasks.information import InformationTerms
from physlm.tasks.rows import Entries, Pieces, Rows, pack, render, single, training_rows
from physlm.tasks.task import Text

JUNK_STREAM = 1 << 32  # added to the stream, so that junk has templates and orders of its own


class Junk:
    """The junk task on one device."""

    roles = ROLES

    def __init__(self, config: JunkConfig):
        self.config, self.vocabulary = config, junk_vocabulary(config.pool_size)
        self.useful, self.others = _Useful(config), _Others(config)

    @property
    def name_role(self) -> int:
        """That of bioS."""
        return self.useful.name_role

    @property
    def value_roles(self) -> tuple[int, ...]:
        """Those of bioS."""
        return self.useful.value_roles

    @property
    def first_chunk_roles(self) -> tuple[int, ...]:
        """Those of bioS: none."""
        return self.useful.first_chunk_roles

    @property
    def entry_width(self) -> int:
        """The longest text of a useful person."""
        return self.useful.entry_width

    @property
    def information_terms(self) -> InformationTerms:
        """Of the useful people alone."""
        return self.useful.information_terms

    def to(self, device: torch.device | str) -> Self:
        """The same task with its tables on ``device``."""
        moved = object.__new__(type(self))
        moved.__dict__.update(self.__dict__, useful=self.useful.to(device), others=self.others.to(device))
        return moved

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows ``index``, (R, T) inputs and targets."""
        before_R, junk_R = placed(index_R, self.config.share, SHARES)
        if not self.config.share:
            return self.useful.rows(index_R, split, stream)
        return either(junk_R, (lambda number_R: self.others.rows(number_R, split, stream), before_R),
                      (lambda number_R: self.useful.rows(number_R, split, stream), index_R - before_R))

    def entries(self, person_E: Tensor, draw_E: Tensor, split: str = "evaluation", stream: int = 0) -> Entries:
        """The ``draw``-th text of each useful person, with ``<domain>`` before it if the task has it."""
        return self.useful.entries(person_E, draw_E, split, stream)

    def texts(self, number_E: Tensor, split: str = "evaluation") -> list[Text]:
        """Useful texts and junk in the order in which training goes through rows of them."""
        before_E, junk_E = placed(number_E, self.config.share, SHARES)
        junk = iter(self.others.texts(before_E[junk_E], split))
        useful = iter(self.useful.texts((number_E - before_E)[~junk_E], split))
        return [next(junk if one else useful) for one in junk_E.tolist()]


class _Useful(BioS):
    """bioS of the useful people, with ``<domain>`` before each text if the task has it."""

    def __init__(self, config: JunkConfig):
        super().__init__(config.biographies)
        self.vocabulary = junk_vocabulary(config.pool_size)
        self._domain, self._place = config.domain, len(self.tables.pool)
        pool = torch.cat((self.tables.pool, torch.tensor(self.vocabulary.encode([DOMAIN]))))
        self.tables = self.tables._replace(pool=pool)
        self.entry_width += config.domain

    def _pieces(self, exposure: Exposure, stream: int) -> Pieces:
        """Those of bioS; the piece before them is empty without ``<domain>``."""
        first = (self._place, int(self._domain), TEXT)
        return Pieces(*(F.pad(x, (1, 0), value=v) for x, v in zip(super()._pieces(exposure, stream), first,
                                                                  strict=True)))


class _Words(NamedTuple):
    """Tokens of the three parts of names, and the first row of each attribute among all values, (6,)."""

    first: Tensor
    middle: Tensor
    last: Tensor
    rows: Tensor


class _Others(BioS):
    """bioS of people N and on, whose facts are worked out as they are read."""

    def __init__(self, config: JunkConfig):
        super().__init__(dataclasses.replace(config.biographies, people=1))
        self._known, self._count = config.people, config.junk
        pools, encode = cut_pools(config.pool_size), self.vocabulary.encode
        # the row of a person's value is its number after the first row of its attribute
        rows = self.tables.value_NS[0] - attribute_numbers(1, config.seed, config.pool_size)[0]
        names = (pools.first_names, pools.middle_names, pools.last_names)
        first, middle, last = (torch.tensor(encode(part)) for part in names)
        self._words = _Words(first, middle, last, rows)

    def to(self, device: torch.device | str) -> Self:
        """Also the words of names."""
        moved = super().to(device)
        moved._words = _Words(*(table.to(device) for table in self._words))
        return moved

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Row i packs texts k*i .. k*i + k-1 of junk."""
        k = self.config.entries_per_row
        entry_E = (index_R[:, None] * k + torch.arange(k, device=index_R.device)).flatten()
        pool, pieces = self._read(exposures(entry_E, self._count, stream, split), stream)
        return training_rows(render(pool, pack(pieces, k), self.config.row_tokens + 1))

    def texts(self, number_E: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is the one that training reads as its i-th of junk."""
        exposure = exposures(number_E, self._count, 0, split)
        pool, pieces = self._read(exposure, 0)
        found = zip((self._known + exposure.person_E).tolist(), number_E.tolist(),
                    *map(Tensor.tolist, render(pool, single(pieces), self._width(pieces))), strict=True)
        return [Text({"person": person, "draw": number}, ids[:length], [self.roles[role] for role in roles[:length]])
                for person, number, ids, roles, length in found]

    def _width(self, pieces: Pieces) -> int:
        """Of the longest of some texts, with both separators."""
        return 2 + max(map(int, pieces.length_RP.sum(-1)), default=0)

    def _read(self, exposure: Exposure, stream: int) -> tuple[Tensor, Pieces]:
        """The token pool with the names of those who are read at its end, and the text of each exposure."""
        config, person_E = self.config, self._known + exposure.person_E
        names_E3 = numbered_names(person_E, name_pools(config.pool_size), config.seed)
        ids_E3 = torch.stack([part[names_E3[:, i]] for i, part in enumerate(self._words[:3])], -1)
        place_E = torch.arange(len(person_E), device=person_E.device)
        numbers_E6 = attribute_numbers(person_E, config.seed, config.pool_size)
        present: dict[str, Any] = {
            "names": len(self.tables.pool) + 3 * place_E, "value_NS": numbers_E6 + self._words.rows,
            "gender": draw(len(PRONOUNS), person_E, config.seed, "gender"),
        }  # fmt: skip
        readable = object.__new__(type(self))
        readable.__dict__.update(self.__dict__, tables=self.tables._replace(**present))
        pieces = BioS._pieces(readable, Exposure(place_E, exposure.counter_E), stream + JUNK_STREAM)
        return torch.cat((self.tables.pool, ids_E3.flatten())), pieces
