"""bioS: six sentences about each person, in a random order, each from one of about fifty templates.

    <eos> Anya Briar Forger was born on October 2 , 1996 . She worked for Meta . ... <eos>
          ----------------- name       ---------------     --- gender     ---- employer

The full name opens the first sentence, a pronoun the others; the first pronoun carries the gender.  bioS(N) draws new
templates and a new order at every exposure; the augmented datasets of Part 3.1 have fixed texts, see ``BioSConfig``.
Source: arXiv 2309.14316 appendix A, 2404.05405 section 2.  Deviations: the word-level vocabulary and our own templates.

Shape letters: N people, E entries, S sentences (6), P pieces, W positions, R rows.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from physlm import rng
from physlm.tasks.biography.biography import Biography
from physlm.tasks.biography.config import SENTENCES, BioSConfig, name_pools
from physlm.tasks.biography.exposure import Exposure, exposures
from physlm.tasks.biography.people import attribute_numbers, date_ids, distinct_names, draw, name_ids, value_count
from physlm.tasks.biography.pools import ATTRIBUTES, Pools, cut_pools, words
from physlm.tasks.biography.words import PRONOUNS, bios_vocabulary
from physlm.tasks.information import InformationTerms
from physlm.tasks.rows import Pieces, Pool
from physlm.tasks.vocabulary import EOS, Vocabulary

ROLES = ("pad", "text", "name", "gender", *ATTRIBUTES)
TEXT, NAME, GENDER, FIRST_VALUE = 1, 2, 3, 4
# The employer's city follows from the employer, so it carries no information of its own.
SCORED_VALUES = tuple(FIRST_VALUE + a for a, name in enumerate(ATTRIBUTES) if name != "employer_city")
CELEBRITY_TEXTS = 5
COUPLES = ((0, 1), (2, 3), (4, 5))  # sentences that stay together
# where the number of a text and of its order stand in a counter; the person stands below
TEXT_STEP, ORDER_STEP = 1 << 32, 1 << 47


class PersonTables(NamedTuple):
    """Everybody's facts; places are those of a pool."""

    names: Tensor  # (N,) where each full name starts
    gender: Tensor  # (N,)
    value_NS: Tensor  # (N, 6) rows of ``values``
    values: Tensor  # (all values, 2) start and length


class Tables(NamedTuple):
    """Everything that sampling reads, as tensors on one device; (start, length) pairs point into ``pool``."""

    pool: Tensor  # (tokens,)
    names: Tensor  # (N,) where each full name starts in the pool
    gender: Tensor  # (N,)
    value_NS: Tensor  # (N, 6) rows of ``values``
    values: Tensor  # (all values, 2)
    before: Tensor  # (all templates, 2) words between subject and value
    after: Tensor  # (all templates, 2) words after the value
    orders: Tensor  # (720, 6), or (6, 6) of couples; the published order first
    closing_2: Tensor  # (2,) places of "was" and "." in a closing sentence


class BioS(Biography[BioSConfig]):
    """The bioS task on one device.  ``rows`` samples training rows, ``entries`` labelled texts for measurement."""

    roles = ROLES
    name_role = NAME
    first_chunk_roles: tuple[int, ...] = ()

    def __init__(self, config: BioSConfig):
        self.config = config
        self.vocabulary = bios_vocabulary(config.questions, config.pool_size)
        pools = cut_pools(config.pool_size)
        self.template_counts = tuple(len(pools.templates[a]) for a in ATTRIBUTES)
        self.tables = _tables(config, pools, self.vocabulary)
        parts = (self.tables.before[:, 1] + self.tables.after[:, 1]).split(self.template_counts)
        value_lengths = self.tables.values[:, 1][self.tables.value_NS]
        subjects = 3 * SENTENCES if config.fullname else 3 + SENTENCES - 1
        closing = 3 if config.reverse == SENTENCES else 0  # a pronoun more, "was" and "."
        self.entry_width = (
            2 + subjects + closing + sum(int(p.max()) for p in parts) + int(value_lengths.sum(-1).max())
        )

    @property
    def value_roles(self) -> tuple[int, ...]:
        """The roles that hold a person's values, each told once; the gender where a pronoun tells it."""
        return (GENDER, *SCORED_VALUES) if self.tells_gender else SCORED_VALUES

    @property
    def tells_gender(self) -> bool:
        """Whether the texts have pronouns."""
        return not self.config.fullname

    @property
    def information_terms(self) -> InformationTerms:
        """N names out of N0 and log2 S0 bits of values each, S0 = 2 * (12 * 28 * 200) * 200 * 300 * 100 * 263.

        Where full names stand for all pronouns the factor 2 is left out; cut pools have fewer of each.
        """
        genders = len(PRONOUNS) if self.tells_gender else 1
        names = math.prod(name_pools(self.config.pool_size))
        return InformationTerms(self.config.people, names, math.log2(genders * value_count(self.config.pool_size)))

    def text_count(self, person: int) -> int | None:
        """How many different texts a person has; None where each one is fresh."""
        if person < self.config.celebrities:
            return CELEBRITY_TEXTS
        texts, orders = self._fixed
        return texts * max(1, orders) or None

    @property
    def _fixed(self) -> tuple[int, int]:
        """Fixed texts a person, 0 for fresh ones, and random orders of each, 0 for the published order."""
        return (self.config.texts, self.config.permute) if self.config.fresh else (1, 1)

    def _exposures(self, entry_E: Tensor, stream: int, split: str) -> Exposure:
        """Celebrities have ``CELEBRITY_TEXTS`` places in an epoch, the others one."""
        more = (CELEBRITY_TEXTS - 1) * self.config.celebrities
        exposure = exposures(entry_E, self.config.people + more, stream, split)
        if not more:
            return exposure
        place_E, famous = exposure.person_E, self.config.celebrities
        return Exposure(torch.where(place_E < famous + more, place_E % famous, place_E - more), exposure.counter_E)

    def _number(self, exposure: Exposure, stream: int) -> Tensor:
        """Which of the fixed texts of its person each exposure reads."""
        texts, orders = self._fixed
        famous_E = exposure.person_E < self.config.celebrities
        count_E = torch.where(famous_E, CELEBRITY_TEXTS, texts * max(1, orders))
        drawn_E = exposure.draw_E
        if drawn_E is None:
            drawn_E = rng.below(1 << 32, rng.key("text", stream), exposure.counter_E)
        return drawn_E % count_E

    def _wording(self, exposure: Exposure, stream: int) -> tuple[Tensor, Tensor]:
        """The template of each sentence and the order of the sentences, (E, 6) each."""
        texts, orders = self._fixed
        shuffled_E: Tensor | bool = True
        if not texts:
            seed: int | str = stream
            template_counter_E = order_counter_E = exposure.counter_E
        else:
            seed, person_E = "fixed", exposure.person_E
            famous_E = person_E < self.config.celebrities
            number_E, orders_E = self._number(exposure, stream), torch.where(famous_E, 1, max(1, orders))
            template_counter_E = person_E + number_E // orders_E * TEXT_STEP
            order_counter_E = template_counter_E + number_E % orders_E * ORDER_STEP
            shuffled_E = famous_E | bool(orders)
        offset, templates = 0, []
        for a, count in enumerate(self.template_counts):
            templates.append(offset + rng.below(count, rng.key("template", seed, a), template_counter_E))
            offset += count
        which_E = rng.below(len(self.tables.orders), rng.key("order", seed), order_counter_E) * shuffled_E
        return torch.stack(templates, -1), self.tables.orders[which_E]

    def _pieces(self, exposure: Exposure, stream: int) -> Pieces:
        """Four pieces a sentence (subject, words before the value, value, words after): (E, 24), or more, each."""
        tables, person_E, reverse = self.tables, exposure.person_E, self.config.reverse
        template_ES, order_ES = self._wording(exposure, stream)
        template_ES = template_ES.gather(-1, order_ES)
        value_ES = tables.value_NS.index_select(0, person_E).gather(-1, order_ES)
        before, value, after = (
            table.index_select(0, which.flatten()).view(*which.shape, 2)
            for table, which in ((tables.before, template_ES), (tables.values, value_ES), (tables.after, template_ES))
        )
        name_E1 = tables.names.index_select(0, person_E)[:, None]
        pronoun_E1 = 1 + tables.gender.index_select(0, person_E)[:, None]
        sentence_S = torch.arange(SENTENCES, device=person_E.device)
        named_S = (sentence_S == reverse) | self.config.fullname
        # the first name and the first pronoun tell who it is, later ones repeat it
        role_S = torch.where(sentence_S == (0 if reverse else 1), GENDER, TEXT)
        role_S = torch.where(named_S, torch.where(sentence_S == reverse, NAME, TEXT), role_S)
        text_ES = torch.full_like(sentence_S, TEXT).expand_as(order_ES)

        def row(*pieces_ES: Tensor) -> Tensor:
            return torch.stack(pieces_ES, -1).flatten(1)

        pieces = Pieces(
            row(torch.where(named_S, name_E1, pronoun_E1), before[..., 0], value[..., 0], after[..., 0]),
            row(torch.where(named_S, 3, 1).expand_as(order_ES), before[..., 1], value[..., 1], after[..., 1]),
            row(role_S.expand_as(order_ES), text_ES, order_ES + FIRST_VALUE, text_ES),
        )
        if reverse < SENTENCES:
            return pieces
        was_E1, stop_E1 = (place.expand_as(name_E1) for place in tables.closing_2)
        start_E4 = torch.cat((pronoun_E1, was_E1, name_E1, stop_E1), -1)
        length_4, role_4 = (torch.tensor(x, device=person_E.device) for x in ((1, 1, 3, 1), (TEXT, TEXT, NAME, TEXT)))
        closing = (start_E4, length_4.expand_as(start_E4), role_4.expand_as(start_E4))
        return Pieces(*(torch.cat(both, -1) for both in zip(pieces, closing, strict=True)))


def _tables(config: BioSConfig, pools: Pools, vocabulary: Vocabulary) -> Tables:
    """Build the token pool and all person tables, on the CPU."""
    encode = vocabulary.encode
    pool = Pool()
    pool.add([encode([EOS]), *(encode([p]) for p in PRONOUNS)])
    templates = [t for a in ATTRIBUTES for t in pools.templates[a]]
    slots = [t.index("{value}") for t in templates]
    before = pool.add([encode(t[1:slot]) for t, slot in zip(templates, slots, strict=True)])
    after = pool.add([encode(t[slot + 1 :]) for t, slot in zip(templates, slots, strict=True)])
    people = person_tables(config, vocabulary, pool)
    closing = pool.add([encode(["was", "."])])[0, 0] + torch.arange(2)
    return Tables(pool.tokens(), *people, before, after, sentence_orders(config.couples), closing)


def person_tables(config: BioSConfig, vocabulary: Vocabulary, pool: Pool) -> PersonTables:
    """Everybody's name, gender and values, whose words are added to the pool."""
    pools = cut_pools(config.pool_size)
    dates = date_ids(vocabulary, config.pool_size)
    first_date = pool.add_table(dates)
    lists = (pools.cities, pools.universities, pools.majors, pools.employers)
    value_rows = [torch.tensor((first_date, 4)) + torch.tensor((4, 0)) * torch.arange(len(dates))[:, None]]
    value_rows += [pool.add([vocabulary.encode(words(value)) for value in values]) for values in lists]
    first_row = [sum(map(len, value_rows[:i])) for i in range(len(value_rows))]
    first_row.append(first_row[1])  # a city of an employer is one of the birth cities
    names_N3 = distinct_names(config.people, name_pools(config.pool_size), config.seed)
    names = name_ids(names_N3, (pools.first_names, pools.middle_names, pools.last_names), vocabulary)
    names_start = pool.add_table(names) + 3 * torch.arange(config.people)
    numbers = attribute_numbers(config.people, config.seed, config.pool_size)
    gender = draw(len(PRONOUNS), config.people, config.seed, "gender")
    return PersonTables(names_start, gender, numbers + torch.tensor(first_row), torch.cat(value_rows))


def sentence_orders(couples: bool = False) -> Tensor:
    """All orders of the six sentences, or of the three couples; the published order first."""
    blocks = COUPLES if couples else tuple((s,) for s in range(SENTENCES))
    return torch.tensor([[s for block in order for s in block] for order in itertools.permutations(blocks)])
