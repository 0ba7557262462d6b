"""The grammar of rewrites, measured: what an extractor reads in its texts, and how varied they are beside bioS.

    found = audit(100_000)                      # physlm biographies rewrites --texts 100000
    found.right / found.texts, found.rewrites.fourgrams, found.bios.fourgrams
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from physlm.tasks.biography.bios import FIRST_VALUE, BioS
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.extractor import Extractor
from physlm.tasks.biography.facts import FIELDS, Facts
from physlm.tasks.biography.pools import cut_pools
from physlm.tasks.biography.rewrite_grammar import rewrites_grammar
from physlm.tasks.biography.words import PRONOUNS

PUBLISHED = 40  # rewrites a person of the published bioR
BATCH = 4096
N = 4
_CODE_BITS = 15  # of a word or a slot


class Variety(NamedTuple):
    """How varied texts are.

    Attributes:
        fourgrams: distinct runs of four words.
        forms: the same with one symbol for each value and name, so that surface forms alone count.
        forms_a_person: the mean of ``forms`` over the texts of one person.
        distinct: people of whose texts no two are alike.
        tokens: mean length of a text.
    """

    fourgrams: int
    forms: int
    forms_a_person: float
    distinct: int
    tokens: float


class Audit(NamedTuple):
    """What ``audit`` finds.

    Attributes:
        texts, people: read; the texts of a person are its first ones.
        right: texts of which the extractor reads the name, the gender and all six values.
        wrong: up to ten of the others.
        entropy_bits: of the surface forms of one text, under the grammar; no part of the knowledge.
        knowledge_bits: that the texts tell of one person, N0 names and S0 values; those of bioS.
        rewrites, bios: variety of as many texts of either, ``PUBLISHED`` a person.
    """

    texts: int
    people: int
    right: int
    wrong: list[str]
    entropy_bits: float
    knowledge_bits: float
    rewrites: Variety
    bios: Variety


def audit(texts: int, seed: int = 0, pool_size: int = 0) -> Audit:
    """Measures ``texts`` rewrites, ``PUBLISHED`` of each person, and as many texts of bioS with templates.

    Raises:
        UserError: so many people that there are no more names.
    """
    people = -(-texts // PUBLISHED)
    config = BioSConfig(people, texts=PUBLISHED, seed=seed, pool_size=pool_size, rewritten=True)
    task, facts, extractor = config.build(), Facts(people, seed, pool_size), Extractor(cut_pools(pool_size))
    right, wrong, shown = 0, list[str](), task.vocabulary.words
    genders: list[int] = task.tables.gender.tolist()
    known = [dict(zip((*FIELDS, "pronoun"), (*facts.of(person), PRONOUNS[genders[person]]), strict=True))
             for person in range(people)]  # fmt: skip
    for person, ids in zip(*_read(task, texts)[:2], strict=True):
        text = [shown[i] for i in ids[1:-1]]
        if extractor.read(text) == known[person]:
            right += 1
        elif len(wrong) < 10:
            wrong.append(f"person {person}: {' '.join(text)}")
    terms = task.information_terms
    return Audit(texts, people, right, wrong, rewrites_grammar().entropy(), terms.information()["total"] / people,
                 variety(task, texts), variety(replace(config, rewritten=False, permute=1).build(), texts))  # fmt: skip


def variety(task: BioS, texts: int) -> Variety:
    """That of the first ``texts`` texts, ``PUBLISHED`` of each person."""
    people, ids, roles = _read(task, texts)
    pools = cut_pools(task.config.pool_size)
    names = task.vocabulary.encode((*pools.first_names, *pools.middle_names, *pools.last_names))
    slot_V = np.full(len(task.vocabulary), -1)
    slot_V[names] = 0
    text_T = np.repeat(np.arange(texts), list(map(len, ids)))
    word_T, role_T = np.concatenate(ids), np.concatenate(roles)
    slot_T = np.where(role_T >= FIRST_VALUE, role_T, slot_V[word_T])
    symbol_T = np.where(slot_T >= 0, len(task.vocabulary) + slot_T, word_T)
    begun_T = np.ones(len(text_T), dtype=bool)
    begun_T[1:] = (slot_T[1:] < 0) | (slot_T[1:] != slot_T[:-1]) | (text_T[1:] != text_T[:-1])
    forms_G, form_text_G = _fourgrams(symbol_T[begun_T], text_T[begun_T])
    person_G = np.array(people)[form_text_G]
    forms, form_G = np.unique(forms_G, return_inverse=True)
    each = len(np.unique(person_G * len(forms) + form_G))
    written: dict[int, list[bytes]] = {}
    for person, one in zip(people, ids, strict=True):
        written.setdefault(person, []).append(one.tobytes())
    return Variety(len(np.unique(_fourgrams(word_T, text_T)[0])), len(forms), each / len(written),
                   sum(len(set(mine)) == len(mine) for mine in written.values()), len(text_T) / texts)  # fmt: skip


def _read(task: BioS, texts: int) -> tuple[list[int], list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Person, token ids and roles of each text, with both separators."""
    people: list[int] = []
    ids, roles = [], []
    for start in range(0, texts, BATCH):
        number_E = torch.arange(start, min(start + BATCH, texts))
        person_E = number_E // PUBLISHED
        entries = task.entries(person_E, number_E % PUBLISHED)
        people += person_E.tolist()
        lengths = entries.lengths_R.tolist()
        ids += [row[:length] for row, length in zip(entries.ids_RW.numpy(), lengths, strict=True)]
        roles += [row[:length] for row, length in zip(entries.roles_RW.numpy(), lengths, strict=True)]
    return people, ids, roles


def _fourgrams(symbol_T: NDArray[np.int64], text_T: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The runs of four symbols within a text, each as one number, and the text of each."""
    assert symbol_T.max() < 1 << _CODE_BITS
    count = len(symbol_T) - N + 1
    code_G = sum((symbol_T[i : i + count].astype(np.int64) << _CODE_BITS * i for i in range(N)),
                 start=np.zeros(count, dtype=np.int64))  # fmt: skip
    inside_G = text_T[:count] == text_T[N - 1 :]
    return code_G[inside_G], text_T[:count][inside_G]
