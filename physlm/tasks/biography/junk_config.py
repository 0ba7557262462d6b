"""Settings of the junk task; free of torch, so that experiments can be listed without it."""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.errors import UserError
from physlm.tasks.biography.config import BioSConfig, BioSRows, name_pools
from physlm.tasks.config import check_positive

if TYPE_CHECKING:
    from physlm.tasks.biography.junk import Junk
    from physlm.tasks.vocabulary import Vocabulary

DOMAIN = "<domain>"  # stands at the head of a useful text, as the name of a good source would
SHARES = 1000  # shares of rows are multiples of 1 / SHARES


@dataclass(frozen=True)
class JunkConfig(BioSRows):
    """bioS(N) among junk: each training row holds biographies of N useful people, or of N' others (arXiv 2404.05405).

    The others are further people of bioS, none of whom is a useful one; each text, of either, is fresh.
    ``train.exposures`` counts how often each useful person is read; N, S0 and all bits are theirs.

    Attributes:
        junk: N', the number of others.  They are read in turn: 100 million are never seen again, 1,000 very often.
        share: the share of rows that are junk, in steps of 1/1000; spread evenly.  0 is bioS(N) alone.
        domain: the word ``<domain>`` stands before each useful text.  It is in the vocabulary whether or not.
    """

    kind: ClassVar[str] = "bioJunk"
    member_fields: ClassVar[tuple[str, ...]] = ("seed", "junk", "domain")
    junk: int = 100_000_000
    share: float = 0.875
    domain: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "junk")
        if not 0.0 <= self.share < 1.0 or abs(round(SHARES * self.share) - SHARES * self.share) > 1e-6:
            raise UserError(f"task.share: got {self.share}, expected a multiple of 0.001 from 0.0 to below "
                            "1.0")
        names = math.prod(name_pools(self.pool_size))
        if self.people + self.junk > names:
            raise UserError(f"task.junk: got {self.junk:,}, expected at most {names - self.people:,}, the number of "
                            f"full names that {self.people:,} useful people leave of {names:,}")

    @property
    def biographies(self) -> BioSConfig:
        """The task of the useful people alone."""
        return BioSConfig(**{field.name: getattr(self, field.name) for field in dataclasses.fields(BioSRows)})

    @property
    def items(self) -> int:
        """N / (1 - share): texts, junk among them, in which every useful person is read once."""
        return math.ceil(self.people * SHARES / (SHARES - round(SHARES * self.share)))

    @property
    def title(self) -> str:
        """For readers: ``bioJunk N=10,000, 87.5 % of 1,000 others, domain``."""
        domain = ", domain" if self.domain else ""
        others = f", {100 * self.share:g} % of {self.junk:,} others" if self.share else ""
        return f"{super().title}{others}{domain}"

    @property
    def slug(self) -> str:
        """For names of files: ``bioJunk-10000-0.875x1000-domain``."""
        others = f"-{self.share:g}x{self.junk}" if self.share else ""
        return f"{super().slug}{others}{'-domain' if self.domain else ''}"

    def vocabulary(self) -> Vocabulary:
        """That of bioS, and ``<domain>``."""
        return junk_vocabulary(self.pool_size)

    def build(self) -> Junk:
        """The task on the CPU."""
        from physlm.tasks.biography.junk import Junk

        return Junk(self)


@functools.cache
def junk_vocabulary(pool_size: int = 0) -> Vocabulary:
    """Every word of bioS, then ``<domain>``."""
    from physlm.tasks.biography.words import bios_vocabulary
    from physlm.tasks.vocabulary import Vocabulary

    return Vocabulary((*bios_vocabulary(pool_size=pool_size).words, DOMAIN))
