"""Settings of the biography tasks; free of torch, so that experiments can be listed without it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from physlm.errors import UserError

NAME_POOLS = (400, 400, 1000)  # first, middle and last names; a full name is one of each


class _People:
    """How a task about N people is named, and in what its runs may differ and still train together."""

    kind: ClassVar[str]
    member_fields: ClassVar[tuple[str, ...]] = ("seed",)
    people: int

    @property
    def title(self) -> str:
        """For readers: ``bioS N=10,000``."""
        return f"{self.kind} N={self.people:,}"

    @property
    def slug(self) -> str:
        """For names of files: ``bioS-10000``."""
        return f"{self.kind}-{self.people}"


@dataclass(frozen=True)
class BioSConfig(_People):
    """bioS(N): N people, six attributes, English sentences from templates (arXiv 2404.05405, section 2; 2309.14316).

    Attributes:
        people: N, the number of people, each with a full name of their own.
        fresh: new templates and a new sentence order at every exposure (bioS); False keeps one text per person
            (bioS-simple).
        entries_per_row: biographies packed into one training row.
        row_tokens: length T of a training row, in tokens; the last entry is cut where the row ends.
        seed: which people, which attributes; another seed is another dataset.
    """

    kind: ClassVar[str] = "bioS"
    people: int = 10_000
    fresh: bool = True
    entries_per_row: int = 9
    row_tokens: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        _positive(self, "people", "entries_per_row", "row_tokens")
        _check_names(self.people, NAME_POOLS)


@dataclass(frozen=True)
class BioDConfig(_People):
    """bioD(N, K, C, D, L, T): N names, K attributes, each a list of C chunks from D strings of L tokens out of T.

    The text of one person is, sentences in random order, ``X 's ID 3 is v1 , ... , vC . Her ID 1 is ... .``
    (arXiv 2404.05405, Definition 2.2).

    Attributes:
        people: N.
        attributes: K.
        chunks: C.
        diversity: D, the number of different strings that one attribute's chunks are drawn from.
        chunk_tokens: L.
        alphabet: T, the number of different value tokens.
        name_pools: sizes of the first-, middle- and last-name pools; the paper's are (400, 400, 1000).
        fresh: a new sentence order at every exposure; False keeps one order per person.
    """

    kind: ClassVar[str] = "bioD"
    people: int = 10_000
    attributes: int = 5
    chunks: int = 1
    diversity: int = 1_000
    chunk_tokens: int = 2
    alphabet: int = 50
    name_pools: tuple[int, int, int] = (400, 400, 1000)
    fresh: bool = True
    entries_per_row: int = 9
    row_tokens: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        _positive(self, "people", "attributes", "chunks", "diversity", "chunk_tokens", "alphabet")
        _positive(self, "entries_per_row", "row_tokens")
        if min(self.name_pools) < 1:
            raise UserError(f"task.name_pools: got {list(self.name_pools)}, expected three sizes of at least 1")
        if any(size > largest for size, largest in zip(self.name_pools, NAME_POOLS, strict=True)):
            raise UserError(f"task.name_pools: got {list(self.name_pools)}, expected at most {list(NAME_POOLS)}")
        _check_names(self.people, self.name_pools)
        if self.diversity > self.alphabet**self.chunk_tokens:
            raise UserError(
                f"task.diversity: got D = {self.diversity}, but only T^L = {self.alphabet}^{self.chunk_tokens} = "
                f"{self.alphabet**self.chunk_tokens} different chunks exist"
            )


BiographyConfig = BioSConfig | BioDConfig


def _positive(config: object, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise UserError(f"task.{name}: got {getattr(config, name)}, expected at least 1")


def _check_names(people: int, pools: tuple[int, int, int]) -> None:
    space = math.prod(pools)
    if people > space:
        raise UserError(
            f"task.people: got {people:,}, expected at most {space:,}, the number of full names from "
            f"{pools[0]} first, {pools[1]} middle and {pools[2]} last names"
        )
