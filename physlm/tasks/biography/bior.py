"""bioR: biographies that a language model wrote about the people of bioS, read from a file.

    <eos> Born in Princeton , NJ on October 2 , 1996 , Anya Briar Forger works for Meta ... <eos>
                  -------------- birth_city            ----------------- name      ---- employer

Every text holds the full name and all six values word for word (``physlm.tasks.biography.facts`` says where); they have
the roles of bioS, all else is plain text.  Each exposure of a person reads one of the texts, drawn uniformly.
Source: arXiv 2309.14316 appendix A, 2404.05405 section 2.  Deviations: the word-level vocabulary; whose model it is.

Shape letters: N people, X texts, E entries, P pieces.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from physlm import rng
from physlm.errors import UserError
from physlm.tasks.biography.biography import Biography
from physlm.tasks.biography.config import BioRConfig, name_pools
from physlm.tasks.biography.exposure import Exposure
from physlm.tasks.biography.facts import ABSENT, FIELDS, Facts, places
from physlm.tasks.biography.people import value_count
from physlm.tasks.biography.pools import ATTRIBUTES
from physlm.tasks.biography.texts import read_texts
from physlm.tasks.biography.words import PRONOUNS, bior_vocabulary
from physlm.tasks.information import InformationTerms
from physlm.tasks.rows import Pieces
from physlm.tasks.vocabulary import EOS, Vocabulary

ROLES = ("pad", "text", *FIELDS)
TEXT, NAME, FIRST_VALUE = 1, 2, 3
PIECES = 2 * len(FIELDS) + 1  # each fact, and what stands before, between and after them
SENTENCE_ENDS = (".", "!", "?")
_NAMED = 10  # people that an error names


class Tables(NamedTuple):
    """Everything that sampling reads, as tensors on one device."""

    pool: Tensor  # (tokens,)
    pieces_X3P: Tensor  # (X, 3, P) start, length and role; the texts of a person follow each other
    first_N: Tensor  # (N,) the first text of each person
    count_N: Tensor  # (N,) how many there are


class BioR(Biography[BioRConfig]):
    """The bioR task on one device.  ``rows`` samples training rows, ``entries`` labelled texts for measurement."""

    roles = ROLES
    name_role = NAME
    # the employer's city follows from the employer
    value_roles = tuple(FIRST_VALUE + a for a, name in enumerate(ATTRIBUTES) if name != "employer_city")
    first_chunk_roles: tuple[int, ...] = ()

    def __init__(self, config: BioRConfig):
        self.config = config
        self.vocabulary = bior_vocabulary(config.file, config.sha256, config.pool_size)
        self.tables = _tables(config, self.vocabulary)
        self._counts: list[int] = self.tables.count_N.tolist()
        self.entry_width = 2 + int(self.tables.pieces_X3P[:, 1].sum(-1).max())

    @property
    def information_terms(self) -> InformationTerms:
        """N names out of N0 and log2 S0 bits of values each, S0 = (12 * 28 * 200) * 200 * 300 * 100 * 263.

        Cut pools have fewer of each.  What else the texts say is not counted.
        """
        names = math.prod(name_pools(self.config.pool_size))
        return InformationTerms(self.config.people, names, math.log2(value_count(self.config.pool_size)))

    def text_count(self, person: int) -> int:
        """How many different texts a person has."""
        return self._counts[person]

    def _pieces(self, exposure: Exposure, stream: int) -> Pieces:
        tables, drawn_E = self.tables, exposure.draw_E
        if drawn_E is None:
            drawn_E = rng.below(1 << 32, rng.key("text", stream), exposure.counter_E)
        text_E = tables.first_N[exposure.person_E] + drawn_E % tables.count_N[exposure.person_E]
        return Pieces(*tables.pieces_X3P.index_select(0, text_E).unbind(1))


def _tables(config: BioRConfig, vocabulary: Vocabulary) -> Tables:
    """Find the facts of every text that is used, on the CPU."""
    texts, facts = read_texts(config.file, config.sha256), Facts(config.people, config.seed, config.pool_size)
    chosen: list[list[int]] = [[] for _ in range(config.people)]
    for number, person in enumerate(texts.people):
        if person < config.people and (not config.texts or len(chosen[person]) < config.texts):
            chosen[person].append(number)
    _check_counts(config, chosen)
    ids, lengths, roles = array("i", vocabulary.encode([EOS])), array("q"), array("q")
    everybody = enumerate(tqdm(chosen, desc="finding the facts", unit=" people", leave=False, disable=None, delay=2))
    for person, numbers in everybody:
        wanted = facts.words(person)
        for number in numbers:
            text = texts.text(number)
            if config.fullname:
                text = with_name(text, wanted[0])
            found = places(text, wanted)
            if ABSENT in found:
                field = found.index(ABSENT)
                raise UserError(f"{config.file} line {texts.lines[number]}: the text of person {person} does not have "
                                f"the {FIELDS[field].replace('_', ' ')} {facts.of(person)[field]!r} at a place of its "
                                f"own; expected texts that physlm biographies check accepts with --seed {config.seed} "
                                f"--pool-size {config.pool_size}")
            ids.extend(vocabulary.encode(text))
            for length, role in _cut(len(text), found, wanted):
                lengths.append(length)
                roles.append(role)
    length_X1P = torch.frombuffer(lengths, dtype=torch.long).view(-1, 1, PIECES)
    # the pieces lie one after another in the pool, behind <eos>
    start_X1P = 1 + (length_X1P.flatten().cumsum(0) - length_X1P.flatten()).view_as(length_X1P)
    role_X1P = torch.frombuffer(roles, dtype=torch.long).view_as(length_X1P)
    count_N = torch.tensor([len(numbers) for numbers in chosen])
    return Tables(torch.frombuffer(ids, dtype=torch.int32).long(), torch.cat((start_X1P, length_X1P, role_X1P), 1),
                  count_N.cumsum(0) - count_N, count_N)  # fmt: skip


def with_name(text: Sequence[str], name: Sequence[str]) -> tuple[str, ...]:
    """The text with the full name for every ``He`` or ``She`` that begins it or a sentence."""
    before = (".", *text)
    opens = [end in SENTENCE_ENDS and word in PRONOUNS for end, word in zip(before, text, strict=False)]
    return tuple(part for word, named in zip(text, opens, strict=True) for part in (name if named else (word,)))


def _cut(length: int, found: Sequence[int], facts: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """Length and role of the ``PIECES`` pieces of a text."""
    pieces, end = [], 0
    for begin, field in sorted((begin, field) for field, begin in enumerate(found)):
        pieces += [(begin - end, TEXT), (len(facts[field]), NAME + field)]
        end = begin + len(facts[field])
    return [*pieces, (length - end, TEXT)]


def _check_counts(config: BioRConfig, chosen: Sequence[Sequence[int]]) -> None:
    """``UserError`` for people with fewer texts than are to be read of each."""
    needed = max(1, config.texts)
    short = [person for person, numbers in enumerate(chosen) if len(numbers) < needed]
    if short:
        who = ", ".join(map(str, short[:_NAMED])) + (", ..." if len(short) > _NAMED else "")
        have = "no text" if needed == 1 else f"fewer than {needed} texts"
        raise UserError(f"task.file: {config.file} has {have} of {len(short):,} of the {config.people:,} people: "
                        f"{who}; expected at least {needed} of each (task.people, task.texts)")
