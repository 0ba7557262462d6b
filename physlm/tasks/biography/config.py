"""Settings of the biography tasks; free of torch, so that experiments can be listed without it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from physlm.errors import UserError
from physlm.tasks.biography.texts import checked_sha256
from physlm.tasks.config import TaskConfig, check_between, check_positive
from physlm.tasks.information import InformationTerms

if TYPE_CHECKING:
    from physlm.tasks.biography.bios import BioS
    from physlm.tasks.task import BiographyTask
    from physlm.tasks.vocabulary import Vocabulary

NAME_POOLS = (400, 400, 1000)  # first, middle and last names; a full name is one of each
NAMES_A_VALUE = 10  # names in a pool of names for each item of the other pools, where pools are cut
SENTENCES = 6  # of a bioS text, one an attribute
MOST_TEXTS = 1 << 14  # of one person, and orders of one text


@dataclass(frozen=True)
class PeopleConfig(TaskConfig):
    """A task about N people: how it is named, and what another task about the same people has in common with it."""

    shared_fields: ClassVar[tuple[str, ...]] = ("people", "seed", "pool_size", "celebrities")

    if TYPE_CHECKING:  # as in TaskConfig

        @property
        def people(self) -> int: ...

    @property
    def items(self) -> int:
        """N: ``train.exposures`` counts how often each person is read, or asked about."""
        return self.people

    @property
    def title(self) -> str:
        """For readers: ``bioS N=10,000``."""
        return f"{self.kind} N={self.people:,}"

    @property
    def slug(self) -> str:
        """For names of files: ``bioS-10000``."""
        return f"{self.kind}-{self.people}"


@dataclass(frozen=True)
class BioSRows(PeopleConfig):
    """Who is in a bioS, and how its rows are packed: the settings that all tasks whose rows are those of bioS have.

    Attributes:
        people: N, the number of people, each with a full name of their own.
        entries_per_row: biographies packed into one training row.
        row_tokens: length T of a training row, in tokens; the last entry is cut where the row ends.
        seed: which people, which attributes; another seed is another dataset.
        pool_size: every pool of values is cut to its first so many items, days and years too, and those of names to ten
            times as many; the twelve months stay.  0 leaves the pools whole.  For small models of few people.
    """

    people: int = 10_000
    entries_per_row: int = 9
    row_tokens: int = 512
    seed: int = 0
    pool_size: int = 0

    def __post_init__(self) -> None:
        check_positive(self, "people", "entries_per_row", "row_tokens")
        check_between(self, "pool_size", 0, max(NAME_POOLS))
        _check_names(self.people, name_pools(self.pool_size))


@dataclass(frozen=True)
class BioSText(BioSRows):
    """How biographies are written: the settings that bioS shares with the mixed task.

    The 16 augmented datasets of 2309.14316 are combinations of ``texts``, ``permute`` and ``fullname``; the function
    ``physlm.tasks.biography.augmentation.augmentation`` reads their published names.

    Attributes:
        fresh: new templates and a new sentence order at every exposure (bioS); False keeps one text per person
            (bioS-simple), the same as texts=1, permute=1.
        texts: M fixed texts a person, in the published order of sentences: birth date, birth city, university, major,
            employer, employer city (1: single, 5: multi5); 0 is as ``fresh`` says.
        permute: P random orders of the sentences of each of the M texts, M P texts in all; 0 keeps the published order.
        fullname: the full name opens every sentence, not only the first; no pronoun is written.
        couples: birth date and city, university and major, employer and its city follow each other; orders permute
            these three pairs.
        reverse: sentences before the full name first appears, a pronoun opens them; after all 6 the text closes with
            the sentence ``She was Anya Briar Forger .`` (reverse6 of 2309.14402).
        celebrities: people 0 .. celebrities-1 have 5 texts with a random order each (multi5+permute), and are read 5
            times as often as the others, for whom the settings above hold.
        rewritten: a grammar of surface forms writes the texts, as a language model would rewrite them (bioR without
            one), in orders of its own; ``physlm.tasks.biography.rewrites``.  The published bioR is texts=40.
    """

    # everything that changes what is written but not how many tokens there are
    member_fields: ClassVar[tuple[str, ...]] = (
        "seed", "texts", "permute", "fullname", "couples", "reverse", "celebrities",
    )  # fmt: skip
    fresh: bool = True
    texts: int = 0
    permute: int = 0
    fullname: bool = False
    couples: bool = False
    reverse: int = 0
    celebrities: int = 0
    rewritten: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between(self, "texts", 0, MOST_TEXTS)
        check_between(self, "permute", 0, MOST_TEXTS)
        check_between(self, "reverse", 0, SENTENCES)
        check_between(self, "celebrities", 0, self.people - 1)
        for name in ("permute", "couples", "reverse"):
            given = getattr(self, name)
            if self.rewritten and given:
                raise UserError(f"task.{name}: got {json.dumps(given)} with task.rewritten=true; expected "
                                f"{json.dumps(type(given)())}: each rewrite has an order of its own")
        if self.texts and not self.fresh:
            raise UserError(f"task.fresh: got false with task.texts={self.texts}, which already fixes the texts; "
                            "expected one of the two")
        if self.permute and not self.texts:
            raise UserError(f"task.permute: got {self.permute} with task.texts=0, whose texts have a random order "
                            "already; expected 0, or task.texts of at least 1")
        if self.couples and self.texts and not self.permute:
            raise UserError("task.couples: got true with task.permute=0, where the order is the published one; "
                            "expected task.permute of at least 1")
        if self.fullname and self.reverse:
            raise UserError(f"task.reverse: got {self.reverse} with task.fullname=true; expected one of the two: a "
                            "full name in every sentence does not come last")
        if self.celebrities and not self.texts:
            raise UserError(f"task.celebrities: got {self.celebrities} with task.texts=0; expected task.texts of at "
                            "least 1, the texts of the other people")

    @property
    def augmentation(self) -> str:
        """The published name of the dataset's augmentation, such as ``multi5+permute``; empty for fresh texts.

        Those of rewrites are ours: ``multi40+rewritten``, and ``rewritten`` for fresh ones.
        """
        parts = []
        if self.texts or not self.fresh:
            parts.append(_copies(max(1, self.texts)))
        permute = self.permute if self.fresh else 1
        if self.rewritten:
            parts.append("rewritten")
        elif permute:
            word = "couple" if self.couples else "permute"
            parts.append(word if self.texts > 1 and permute == 1 else f"{word}{permute}")
        elif self.couples:
            parts.append("couple")
        if self.fullname:
            parts.append("fullname")
        if self.reverse:
            parts.append(f"reverse{self.reverse}")
        return "+".join(parts)

    @property
    def title(self) -> str:
        """For readers: ``bioS N=10,000``, ``bioS multi5+permute N=10,000``."""
        return " ".join(filter(None, (self.kind, *self._extras(), f"N={self.people:,}")))

    @property
    def slug(self) -> str:
        """For names of files: ``bioS-10000``, ``bioS-10000-multi5+permute``."""
        return "-".join((f"{self.kind}-{self.people}", *(extra.replace(" ", "") for extra in self._extras())))

    def facts(self) -> dict[str, Any]:
        """Also the augmentation."""
        return {**super().facts(), "augmentation": self.augmentation}

    def _extras(self) -> list[str]:
        if self.fresh or self.rewritten:
            name = self.augmentation
        else:  # its runs were named before there were augmentations
            name = self.augmentation.removeprefix("single+permute1").removeprefix("+")
        return [*filter(None, [name]), *([f"celebrities {self.celebrities}"] if self.celebrities else [])]


@dataclass(frozen=True)
class BioSConfig(BioSText):
    """bioS(N): N people, six attributes, English sentences from templates (arXiv 2404.05405, section 2; 2309.14316).

    Attributes:
        questions: the vocabulary has the words of all questions about these people too, so that a model of these
            biographies can go on to learn them.
    """

    kind: ClassVar[str] = "bioS"
    questions: bool = False

    def vocabulary(self) -> Vocabulary:
        """Every word that these biographies, and perhaps questions about them, can have."""
        from physlm.tasks.biography.words import bios_vocabulary

        return bios_vocabulary(self.questions, self.pool_size, self.rewritten)

    def build(self) -> BioS:
        """The task on the CPU."""
        from physlm.tasks.biography.bios import BioS
        from physlm.tasks.biography.rewrites import Rewrites

        return Rewrites(self) if self.rewritten else BioS(self)


@dataclass(frozen=True)
class BioDConfig(PeopleConfig):
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
        check_positive(self, "people", "attributes", "chunks", "diversity", "chunk_tokens", "alphabet")
        check_positive(self, "entries_per_row", "row_tokens")
        if min(self.name_pools) < 1:
            raise UserError(f"task.name_pools: got {list(self.name_pools)}, expected three sizes of at least 1")
        if any(size > largest for size, largest in zip(self.name_pools, NAME_POOLS, strict=True)):
            raise UserError(f"task.name_pools: got {list(self.name_pools)}, expected at most {list(NAME_POOLS)}")
        _check_names(self.people, self.name_pools)
        self._check_sizes()
        if self.diversity > self.alphabet**self.chunk_tokens:
            raise UserError(
                f"task.diversity: got D = {self.diversity}, but only T^L = {self.alphabet}^{self.chunk_tokens} = "
                f"{self.alphabet**self.chunk_tokens} different chunks exist"
            )


    def _check_sizes(self) -> None:
        """Refuse tables that would fill the memory, and texts that no row could hold."""
        for names, most in ((("alphabet",), 1 << 20), (("attributes", "chunks", "chunk_tokens"), 1 << 15),
                            (("attributes", "diversity", "chunk_tokens"), 1 << 27),
                            (("people", "attributes", "chunks"), 1 << 30)):
            if (size := math.prod(getattr(self, name) for name in names)) > most:
                given = " times ".join(f"task.{name}={getattr(self, name)}" for name in names)
                raise UserError(f"{given}: got {size}, expected at most {most}")

    @property
    def information_terms(self) -> InformationTerms:
        """K C log2 D bits of values a person, and K D strings of L log2 T - log2 D bits."""
        log_d = math.log2(self.diversity)
        return InformationTerms(
            self.people, math.prod(self.name_pools), self.attributes * self.chunks * log_d,
            self.attributes * self.diversity, self.chunk_tokens * math.log2(self.alphabet) - log_d,
        )  # fmt: skip

    @property
    def entry_tokens(self) -> int:
        """Tokens of each text, with the separators on both sides."""
        return 2 + 3 + (self.attributes - 1) + 1 + self.attributes * (3 + self.chunks * (self.chunk_tokens + 1))

    def vocabulary(self) -> Vocabulary:
        """The frame of the sentences, attribute numbers, value words, names."""
        from physlm.tasks.biography.words import biod_vocabulary

        return biod_vocabulary(self)

    def build(self) -> BiographyTask:
        """The task on the CPU."""
        from physlm.tasks.biography.biod import BioD

        return BioD(self)


@dataclass(frozen=True)
class BioRConfig(PeopleConfig):
    """bioR(N): biographies of the people of bioS that a language model wrote, read from a file (arXiv 2309.14316).

    ``physlm biographies ask`` writes the requests and ``physlm biographies check`` keeps the texts that tell all.

    Attributes:
        people: N; texts of further people in the file are not read.
        file: a file of JSON lines (``physlm.tasks.biography.texts``), from the working folder; it must be named.
        sha256: the SHA-256 of its content, by which the hash of a run stands for the texts.  Empty is filled in;
            another than the file's is an error, so the settings of a run never come to mean other texts.
        texts: M, the first so many texts of each person (1: single, 5: multi5), who must have them; 0 is all there are,
            whose number may differ.
        fullname: the full name stands for every ``He`` and ``She`` that begins a sentence.
        entries_per_row: biographies packed into one training row.
        row_tokens: length T of a training row, in tokens; the last entry is cut where the row ends.
        seed, pool_size: those of ``BioSConfig``; the texts must be about its people.
    """

    kind: ClassVar[str] = "bioR"
    # another seed has other texts, thus other words
    member_fields: ClassVar[tuple[str, ...]] = ("texts", "fullname")
    file_fields: ClassVar[tuple[str, ...]] = ("file",)
    people: int = 10_000
    file: str = ""
    sha256: str = ""
    texts: int = 0
    fullname: bool = False
    entries_per_row: int = 8
    row_tokens: int = 512
    seed: int = 0
    pool_size: int = 0

    def __post_init__(self) -> None:
        check_positive(self, "entries_per_row", "row_tokens")
        BioSConfig(self.people, texts=self.texts, pool_size=self.pool_size)  # it has the same limits
        object.__setattr__(self, "sha256", checked_sha256(self.file, self.sha256))

    @property
    def title(self) -> str:
        """For readers: ``bioR N=10,000``, ``bioR multi5+fullname N=10,000``."""
        return " ".join(filter(None, (self.kind, self.augmentation, f"N={self.people:,}")))

    @property
    def slug(self) -> str:
        """For names of files: ``bioR-10000``, ``bioR-10000-multi5+fullname``."""
        return "-".join(filter(None, (self.kind, str(self.people), self.augmentation)))

    @property
    def augmentation(self) -> str:
        """The published name of the dataset's augmentation, such as ``multi5+fullname``; empty for all texts."""
        texts = _copies(self.texts) if self.texts else ""
        return "+".join(filter(None, (texts, "fullname" if self.fullname else "")))

    def facts(self) -> dict[str, Any]:
        """Also the augmentation."""
        return {**super().facts(), "augmentation": self.augmentation}

    def vocabulary(self) -> Vocabulary:
        """Every word of bioS and of its questions, then those of the file."""
        from physlm.tasks.biography.words import bior_vocabulary

        return bior_vocabulary(self.file, self.sha256, self.pool_size)

    def build(self) -> BiographyTask:
        """The task on the CPU."""
        from physlm.tasks.biography.bior import BioR

        return BioR(self)


BiographyConfig = BioSConfig | BioDConfig | BioRConfig


def name_pools(pool_size: int = 0) -> tuple[int, int, int]:
    """How many first, middle and last names there are, in pools cut by ``BioSText.pool_size``."""
    first, middle, last = (min(size, NAMES_A_VALUE * pool_size or size) for size in NAME_POOLS)
    return first, middle, last


def _copies(texts: int) -> str:
    return "single" if texts == 1 else f"multi{texts}"


def _check_names(people: int, pools: tuple[int, int, int]) -> None:
    space = math.prod(pools)
    if people > space:
        raise UserError(
            f"task.people: got {people:,}, expected at most {space:,}, the number of full names from "
            f"{pools[0]} first, {pools[1]} middle and {pools[2]} last names"
        )
