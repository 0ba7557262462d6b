"""bioR without a language model: each text about a person of bioS is a rewrite drawn from a grammar of surface forms.

    <eos> Anya Briar Forger , a native of Princeton , NJ , worked for Meta . Born on October 2 , 1996 , she ... <eos>
          ----------------- name          -------------- birth_city                                    --- gender

The full name opens the text and the first pronoun tells the gender, so the people, and the bits that a text tells, are
those of bioS.  ``texts`` fixes M rewrites a person (the published bioR has 40), which are a pure function of the seed,
the person and the number of the rewrite; the first 720 tell the attributes in different orders, so no two are alike.
``physlm.tasks.biography.rewrite_grammar`` says how a text is drawn and how probable it is.
Source: bioR of arXiv 2309.14316, appendix A, and 2404.05405, section 2.  Deviation: a grammar of ours in place of a
language model.

Shape letters: N people, E entries, S steps (6), I items a step, P pieces, M mentions, F frames, X phrases.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from physlm import rng
from physlm.tasks.biography.bios import (
    FIRST_VALUE,
    GENDER,
    NAME,
    TEXT,
    TEXT_STEP,
    BioS,
    person_tables,
    sentence_orders,
)
from physlm.tasks.biography.config import SENTENCES, BioSConfig
from physlm.tasks.biography.exposure import Exposure
from physlm.tasks.biography.pools import ATTRIBUTES
from physlm.tasks.biography.rewrite_grammar import (
    GENDERED,
    MENTIONS,
    PRONOUN_FORMS,
    VALUE,
    Items,
    rewrites_grammar,
)
from physlm.tasks.biography.surface_forms import END, START
from physlm.tasks.biography.words import bios_vocabulary
from physlm.tasks.rows import Pieces, Pool
from physlm.tasks.vocabulary import EOS, Vocabulary

ORDERS = math.factorial(SENTENCES)
# items are numbered: nothing, the mentions, the value, then the strings of words
_NUMBERS = {kind: number for number, kind in enumerate(("", *MENTIONS, VALUE))}
_WORDS = len(_NUMBERS)
_BEFORE, _PHRASE, _AFTER = 3, 5, 1  # items of a frame before its phrase, of a phrase, of a frame behind it
_NAMED = ("{He}", "{first}", "{last}")  # mentions that the full name stands for where it stands for all of them


class Tables(NamedTuple):
    """Everything that sampling reads, as tensors on one device; (start, length) pairs point into ``pool``."""

    pool: Tensor  # (tokens,)
    names: Tensor  # (N,) where each full name starts in the pool
    gender: Tensor  # (N,)
    value_NS: Tensor  # (N, 6) rows of ``values``
    values: Tensor  # (all values, 2)
    orders: Tensor  # (720, 6)
    pronouns: Tensor  # (2,) where the forms of each gender's pronoun start
    mentions: Tensor  # (1 + M,) lengths of nothing and of each mention
    strings: Tensor  # (strings, 2) words of frames and phrases; the last is the end
    usable: Tensor  # (2 states, 2) of each state, before the last step and at it: a range of ``frame``
    frame: Tensor  # (usable frames, 2 + items): column of phrases, next state, items
    cells: Tensor  # (6 columns, 2) of each column and attribute: a range of ``phrase``
    phrase: Tensor  # (X, items)


class Rewrites(BioS):
    """The task of rewritten biographies on one device; ``rows`` and ``entries`` are those of every biography task."""

    tables: Tables
    tells_gender = True

    def __init__(self, config: BioSConfig):
        assert config.rewritten
        self.config = config
        self.vocabulary = bios_vocabulary(config.questions, config.pool_size, rewritten=True)
        self.tables = _tables(config, self.vocabulary)
        self.entry_width = _width(self.tables)

    def _pieces(self, exposure: Exposure, stream: int) -> Pieces:
        """The name, ``SENTENCES`` steps of nine items, and the end."""
        tables, person_E = self.tables, exposure.person_E
        order_ES, item_ESI = self._steps(exposure, stream)
        item_EP = item_ESI.flatten(1)
        own_EK2 = self._own(person_E)
        value_ES = tables.value_NS.index_select(0, person_E).gather(-1, order_ES)
        value_EP2 = tables.values.index_select(0, value_ES.flatten()).view(*value_ES.shape, 2).repeat_interleave(
            item_ESI.shape[-1], 1)
        words_EP2 = tables.strings.index_select(0, (item_EP - _WORDS).clamp_min(0).flatten()).view(*item_EP.shape, 2)
        place_EP1 = item_EP.clamp_max(own_EK2.shape[1] - 1)[..., None]
        own_EP2 = own_EK2.gather(1, place_EP1.expand(-1, -1, 2))
        is_value_EP, is_words_EP = item_EP == _NUMBERS[VALUE], item_EP >= _WORDS
        facts_EP2 = torch.where(is_value_EP[..., None], value_EP2, own_EP2)
        piece_EP2 = torch.where(is_words_EP[..., None], words_EP2, facts_EP2)
        gendered_EP = (item_EP >= _NUMBERS[GENDERED[0]]) & (item_EP <= _NUMBERS[GENDERED[-1]])
        if self.config.fullname:
            gendered_EP &= item_EP != _NUMBERS["{He}"]
        first_EP = gendered_EP & (gendered_EP.cumsum(-1) == 1)  # later ones repeat it
        told_EP = (order_ES + FIRST_VALUE).repeat_interleave(item_ESI.shape[-1], 1)
        role_EP = torch.where(is_value_EP, told_EP, torch.where(first_EP, GENDER, TEXT))
        name_E1, end_2 = tables.names.index_select(0, person_E)[:, None], tables.strings[-1]

        def row(first_E1: Tensor, middle_EP: Tensor, last: Tensor) -> Tensor:
            return torch.cat((first_E1, middle_EP, last.expand_as(first_E1)), -1)

        three_E1, text_E1 = torch.full_like(name_E1, 3), torch.full_like(name_E1, TEXT)
        return Pieces(row(name_E1, piece_EP2[..., 0], end_2[0]), row(three_E1, piece_EP2[..., 1], end_2[1]),
                      row(torch.full_like(name_E1, NAME), role_EP, text_E1))  # fmt: skip

    def _steps(self, exposure: Exposure, stream: int) -> tuple[Tensor, Tensor]:
        """The attribute of each step, (E, 6), and its items, (E, 6, 9)."""
        tables, fixed = self.tables, bool(self._fixed[0])
        counter_E, keys = exposure.counter_E, ("rewrite", stream)
        if fixed:
            number_E = self._number(exposure, stream)
            counter_E, keys = exposure.person_E + number_E * TEXT_STEP, ("fixed rewrite", self.config.seed)
            round_E = exposure.person_E + number_E // ORDERS * TEXT_STEP
            which_E = rng.permute(number_E % ORDERS, ORDERS, rng.key(*keys, "order"), round_E)
        else:
            which_E = rng.below(ORDERS, rng.key(*keys, "order"), counter_E)
        order_ES, items = tables.orders[which_E], []
        state_E = torch.zeros_like(which_E)
        for step in range(SENTENCES):
            last = int(step == SENTENCES - 1)
            frame_E = _one_of(tables.usable[2 * state_E + last], rng.key(*keys, "frame", step), counter_E)
            column_E, state_E, *_ = tables.frame[frame_E].unbind(-1)
            cell_E2 = tables.cells[column_E * SENTENCES + order_ES[:, step]]
            phrase_E = _one_of(cell_E2, rng.key(*keys, "phrase", step), counter_E)
            around_EI = tables.frame[frame_E, 2:]
            items.append(torch.cat((around_EI[:, :_BEFORE], tables.phrase[phrase_E], around_EI[:, _BEFORE:]), -1))
        return order_ES, torch.stack(items, 1)

    def _own(self, person_E: Tensor) -> Tensor:
        """Places of nothing and of the person's mentions in the pool, (E, 1 + M, 2)."""
        tables = self.tables
        name_E, pronoun_E = (table.index_select(0, person_E) for table in (tables.names, tables.gender))
        pronoun_E, nothing_E = tables.pronouns[pronoun_E], torch.zeros_like(name_E)
        found = {"": nothing_E, **{kind: pronoun_E + i for i, kind in enumerate(GENDERED)},
                 "{first}": name_E, "{last}": name_E + 2, "{name}": name_E}  # fmt: skip
        if self.config.fullname:
            found |= dict.fromkeys(_NAMED, name_E)
        start_EK = torch.stack([found[kind] for kind in ("", *MENTIONS)], -1)
        return torch.stack((start_EK, tables.mentions.expand_as(start_EK)), -1)


def _one_of(range_E2: Tensor, key: int, counter_E: Tensor) -> Tensor:
    """A uniform draw from each range of (start, count)."""
    return range_E2[:, 0] + ((rng.below(1 << 32, key, counter_E) * range_E2[:, 1]) >> 32)


def _tables(config: BioSConfig, vocabulary: Vocabulary) -> Tables:
    """Build the token pool and all tables, on the CPU."""
    pool, grammar, strings = Pool(), rewrites_grammar(), Strings()
    pool.add([vocabulary.encode([EOS])])
    pronouns = pool.add([vocabulary.encode(forms) for forms in PRONOUN_FORMS.values()])[:, 0]
    people = person_tables(config, vocabulary, pool)
    states = {state: number for number, state in enumerate(sorted(grammar.frames, key=START.__ne__))}
    found = {frame.column: frame for frames in grammar.frames.values() for frame in frames}
    columns = {column: number for number, column in enumerate(found)}
    usable, cells = list[tuple[int, int]](), list[tuple[int, int]]()
    frames, phrases = list[list[int]](), list[list[int]]()
    for state in states:
        for last in (False, True):
            mine = grammar.usable(state, last)
            usable.append((len(frames), len(mine)))
            for frame in mine:
                items = strings.numbers(frame.before, _BEFORE) + strings.numbers(frame.after, _AFTER)
                frames.append([columns[frame.column], states[frame.target], *items])
    for frame in found.values():
        for name in ATTRIBUTES:
            known = grammar.phrases(frame, name)
            cells.append((len(phrases), len(known)))
            phrases += [strings.numbers(items, _PHRASE) for items in known]
    rows = pool.add([*map(vocabulary.encode, strings.found), vocabulary.encode([END])])
    named = ("{name}", *(_NAMED if config.fullname else ()))
    mentions = torch.tensor([0, *(3 if kind in named else 1 for kind in MENTIONS)])
    return Tables(pool.tokens(), *people, sentence_orders(), pronouns, mentions, rows,
                  *map(torch.tensor, (usable, frames, cells, phrases)))  # fmt: skip


class Strings:
    """Collects the strings of words of frames and phrases, each once."""

    def __init__(self) -> None:
        self.found: dict[Items, int] = {}

    def numbers(self, items: Items, width: int) -> list[int]:
        """The numbers of mentions, the value and the strings of words between them, filled up with nothing."""
        numbers = []
        for slot, group in itertools.groupby(items, lambda item: item if item in _NUMBERS else ""):
            numbers.append(_NUMBERS[slot] if slot else _WORDS + self.found.setdefault(tuple(group), len(self.found)))
        assert len(numbers) <= width, items
        return numbers + [0] * (width - len(numbers))


def _width(tables: Tables) -> int:
    """No entry is longer, with both separators: the longest frame and phrase of each step, whether or not they meet."""
    nothing = tables.mentions[:1]  # the values are added below
    length = torch.cat((tables.mentions, nothing, tables.strings[:, 1]))
    frame = int(length[tables.frame[:, 2:]].sum(-1).max())
    phrase, value = int(length[tables.phrase].sum(-1).max()), tables.values[:, 1][tables.value_NS].sum(-1).max()
    return 2 + 3 + SENTENCES * (frame + phrase) + int(value) + 1
