"""bioS: six sentences about each person, in a random order, each from one of about fifty templates.

    <eos> Anya Briar Forger was born on October 2 , 1996 . She worked for Meta . ... <eos>
          ----------------- name       ---------------     --- gender     ---- employer

The full name opens the first sentence, a pronoun the others; the first pronoun carries the gender.  bioS(N) draws new
templates and a new order at every exposure; with ``fresh=False`` (bioS-simple) each person has one text.
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
from physlm.tasks.biography.config import NAME_POOLS, BioSConfig
from physlm.tasks.biography.exposure import Exposure
from physlm.tasks.biography.people import distinct_names, draw
from physlm.tasks.biography.pools import ATTRIBUTES, Pools, load_pools, words
from physlm.tasks.biography.words import PRONOUNS, bios_vocabulary, date_words
from physlm.tasks.information import InformationTerms
from physlm.tasks.rows import Pieces, Pool
from physlm.tasks.vocabulary import EOS, Vocabulary

SENTENCES = len(ATTRIBUTES)
ROLES = ("pad", "text", "name", "gender", *ATTRIBUTES)
TEXT, NAME, GENDER, FIRST_VALUE = 1, 2, 3, 4
# The employer's city follows from the employer, so it carries no information of its own.
SCORED_VALUES = (GENDER, *(FIRST_VALUE + a for a, name in enumerate(ATTRIBUTES) if name != "employer_city"))


class Tables(NamedTuple):
    """Everything that sampling reads, as tensors on one device; (start, length) pairs point into ``pool``."""

    pool: Tensor  # (tokens,)
    names: Tensor  # (N,) where each full name starts in the pool
    gender: Tensor  # (N,)
    value_NS: Tensor  # (N, 6) rows of ``values``
    values: Tensor  # (all values, 2)
    before: Tensor  # (all templates, 2) words between subject and value
    after: Tensor  # (all templates, 2) words after the value
    orders: Tensor  # (720, 6)


class BioS(Biography[BioSConfig]):
    """The bioS task on one device.  ``rows`` samples training rows, ``entries`` labelled texts for measurement."""

    roles = ROLES
    name_role = NAME
    value_roles = SCORED_VALUES
    first_chunk_roles: tuple[int, ...] = ()

    def __init__(self, config: BioSConfig):
        self.config = config
        self.vocabulary = bios_vocabulary(config)
        pools = load_pools()
        self.template_counts = tuple(len(pools.templates[a]) for a in ATTRIBUTES)
        self.tables = _tables(config, pools, self.vocabulary)
        parts = (self.tables.before[:, 1] + self.tables.after[:, 1]).split(self.template_counts)
        value_lengths = self.tables.values[:, 1][self.tables.value_NS]
        self.entry_width = (
            2 + 3 + (SENTENCES - 1) + sum(int(p.max()) for p in parts) + int(value_lengths.sum(-1).max())
        )

    @property
    def information_terms(self) -> InformationTerms:
        """N names out of N0 and log2 S0 bits of values each, S0 = 2 * (12 * 28 * 200) * 200 * 300 * 100 * 263."""
        pools = load_pools()
        sizes = (len(PRONOUNS), len(pools.months), len(pools.days), len(pools.years), len(pools.cities),
                 len(pools.universities), len(pools.majors), len(pools.employers))
        return InformationTerms(self.config.people, math.prod(NAME_POOLS), math.log2(math.prod(sizes)))

    def _pieces(self, exposure: Exposure, stream: int) -> Pieces:
        """Four pieces a sentence (subject, words before the value, value, words after): (E, 24) each."""
        tables, person_E = self.tables, exposure.person_E
        counter_E = exposure.counter_E if self.config.fresh else person_E
        text_seed = stream if self.config.fresh else "fixed"
        offset, templates = 0, []
        for a, count in enumerate(self.template_counts):
            templates.append(offset + rng.below(count, rng.key("template", text_seed, a), counter_E))
            offset += count
        order_ES = tables.orders[rng.below(len(tables.orders), rng.key("order", text_seed), counter_E)]
        template_ES = torch.stack(templates, -1).gather(-1, order_ES)
        value_ES = tables.value_NS.index_select(0, person_E).gather(-1, order_ES)
        before, value, after = (
            table.index_select(0, which.flatten()).view(*which.shape, 2)
            for table, which in ((tables.before, template_ES), (tables.values, value_ES), (tables.after, template_ES))
        )
        name_E1 = tables.names.index_select(0, person_E)[:, None]
        pronoun_E1 = 1 + tables.gender.index_select(0, person_E)[:, None]
        subject_ES = torch.cat((name_E1, pronoun_E1.expand(-1, SENTENCES - 1)), -1)
        sentence_S = torch.arange(SENTENCES, device=person_E.device)
        subject_length_ES = torch.where(sentence_S == 0, 3, 1).expand_as(order_ES)
        subject_role_S = torch.where(sentence_S == 0, NAME, torch.where(sentence_S == 1, GENDER, TEXT))
        subject_role_ES = subject_role_S.expand_as(order_ES)
        text_ES = torch.full_like(sentence_S, TEXT).expand_as(order_ES)

        def row(*pieces_ES: Tensor) -> Tensor:
            return torch.stack(pieces_ES, -1).flatten(1)

        return Pieces(
            row(subject_ES, before[..., 0], value[..., 0], after[..., 0]),
            row(subject_length_ES, before[..., 1], value[..., 1], after[..., 1]),
            row(subject_role_ES, text_ES, order_ES + FIRST_VALUE, text_ES),
        )


def _tables(config: BioSConfig, pools: Pools, vocabulary: Vocabulary) -> Tables:
    """Build the token pool and all person tables, on the CPU."""
    encode = vocabulary.encode
    names_N3 = distinct_names(config.people, NAME_POOLS, config.seed)
    pool = Pool()
    pool.add([encode([EOS]), *(encode([p]) for p in PRONOUNS)])
    templates = [t for a in ATTRIBUTES for t in pools.templates[a]]
    slots = [t.index("{value}") for t in templates]
    before = pool.add([encode(t[1:slot]) for t, slot in zip(templates, slots, strict=True)])
    after = pool.add([encode(t[slot + 1 :]) for t, slot in zip(templates, slots, strict=True)])
    dates = [date_words(y, m, d) for y, m, d in itertools.product(pools.years, pools.months, pools.days)]
    lists = {
        "birth_date": dates,
        "birth_city": [words(v) for v in pools.cities],
        "university": [words(v) for v in pools.universities],
        "major": [words(v) for v in pools.majors],
        "employer": [words(v) for v in pools.employers],
    }
    value_columns, value_rows, offset = {}, [], 0
    for attribute, options in lists.items():
        value_columns[attribute] = offset + draw(len(options), config.people, config.seed, attribute)
        value_rows.append(pool.add([encode(option) for option in options]))
        offset += len(options)
    # the employer decides its city: row of the city in the birth cities' list
    employers = value_columns["employer"] - (offset - len(lists["employer"]))
    cities = torch.tensor(pools.employer_cities)[employers]
    value_columns["employer_city"] = cities + len(dates)
    words_by_part = [torch.tensor(encode(part)) for part in (pools.first_names, pools.middle_names, pools.last_names)]
    names = torch.stack([part[names_N3[:, i]] for i, part in enumerate(words_by_part)], -1)
    names_start = pool.add_table(names) + 3 * torch.arange(config.people)
    return Tables(
        pool.tokens(), names_start, draw(len(PRONOUNS), config.people, config.seed, "gender"),
        torch.stack([value_columns[a] for a in ATTRIBUTES], -1), torch.cat(value_rows), before, after,
        torch.tensor(list(itertools.permutations(range(SENTENCES)))),
    )  # fmt: skip
