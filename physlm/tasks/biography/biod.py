"""bioD(N, K, C, D, L, T): the pure form of knowledge, where every number of the capacity formula is a dial.

    <eos> Anya Briar Forger 's ID 2 is v7 v31 , v4 v9 . Her ID 1 is v12 v40 , v7 v2 . <eos>
          ----------------- name       ------ value_first
                                                ----- value

Attribute a has a fixed set of D strings of L tokens out of T; each person has C chunks from it, drawn uniformly.
Source: arXiv 2404.05405, Definition 2.2.

Shape letters: N people, E entries, K attributes, C chunks, D strings, L tokens a chunk, P pieces, R rows.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from physlm import rng
from physlm.tasks.biography.biography import Biography
from physlm.tasks.biography.config import BioDConfig
from physlm.tasks.biography.exposure import Exposure
from physlm.tasks.biography.people import distinct_names, name_ids
from physlm.tasks.biography.words import biod_names, biod_vocabulary
from physlm.tasks.information import InformationTerms
from physlm.tasks.rows import Pieces, Pool
from physlm.tasks.vocabulary import EOS

ROLES = ("pad", "text", "name", "value_first", "value")
TEXT, NAME, VALUE_FIRST, VALUE = 1, 2, 3, 4


class Tables(NamedTuple):
    """Everything that sampling reads, as tensors on one device."""

    pool: Tensor  # (tokens,)
    names: Tensor  # (N,) where each full name starts in the pool
    chunks_NKC: Tensor  # which of the D strings
    frame_K2: Tensor  # (start, length) of "'s ID a is"
    orders: Tensor  # (K!, K) for K <= 6, else empty
    words: Tensor  # (3,) places of "Her", "," and "."


class BioD(Biography[BioDConfig]):
    """The bioD task on one device; the interface is that of ``BioS``."""

    roles = ROLES
    name_role = NAME
    value_roles = (VALUE_FIRST, VALUE)
    first_chunk_roles: tuple[int, ...] = (VALUE_FIRST,)

    def __init__(self, config: BioDConfig):
        self.config = config
        self.vocabulary = biod_vocabulary(config)
        c = config
        self.entry_width = c.entry_tokens
        names_N3 = distinct_names(c.people, c.name_pools, c.seed)
        encode, pool = self.vocabulary.encode, Pool()
        pool.add([encode([EOS])])
        punctuation = pool.add([encode([w]) for w in ("Her", ",", ".")])[:, 0]
        frame = pool.add([encode(["'s", "ID", str(a + 1), "is"]) for a in range(c.attributes)])
        names = name_ids(names_N3, biod_names(c), self.vocabulary)
        names_start = pool.add_table(names) + 3 * torch.arange(c.people)
        strings = torch.stack([chunk_strings(c, a) for a in range(c.attributes)])
        self.chunk_start = pool.add_table(torch.tensor(encode([f"v{t}" for t in range(c.alphabet)]))[strings])
        count = c.people * c.attributes * c.chunks
        chunks = rng.below(c.diversity, rng.key("chunks", c.seed), torch.arange(count))
        orders = list(itertools.permutations(range(c.attributes))) if c.attributes <= 6 else []
        self.tables = Tables(
            pool.tokens(), names_start, chunks.view(c.people, c.attributes, c.chunks), frame, torch.tensor(orders),
            punctuation,
        )  # fmt: skip

    @property
    def information_terms(self) -> InformationTerms:
        """Those of the settings."""
        return self.config.information_terms

    def _orders(self, counter_E: Tensor, text_seed: int | str) -> Tensor:
        """A uniform order of the K sentences for each entry, (E, K)."""
        if self.config.attributes <= 6:
            return self.tables.orders[rng.below(len(self.tables.orders), rng.key("order", text_seed), counter_E)]
        keys = [rng.bits(rng.key("order", text_seed, a), counter_E) for a in range(self.config.attributes)]
        return torch.stack(keys, -1).argsort(dim=-1, stable=True)

    def _pieces(self, exposure: Exposure, stream: int) -> Pieces:
        """Subject, frame, then C times a chunk and its punctuation, for each sentence: (E, K (2 + 2C)) each."""
        c, tables, person_E = self.config, self.tables, exposure.person_E
        order_EK = self._orders(exposure.counter_E if c.fresh else person_E, stream if c.fresh else "fixed")
        her, comma, stop = tables.words.unbind()
        first_K = torch.arange(c.attributes, device=person_E.device) == 0
        subject_start = torch.where(first_K, tables.names[person_E, None], her)
        subject_length = torch.where(first_K, 3, 1).expand_as(order_EK)
        subject_role = torch.where(first_K, NAME, TEXT).expand_as(order_EK)
        # "'s ID a is" after the name, "ID a is" after "Her"
        frame_EK2 = tables.frame_K2[order_EK]
        skip_K = torch.where(first_K, 0, 1)
        chunk_EKC = tables.chunks_NKC[person_E].gather(1, order_EK[..., None].expand(-1, -1, c.chunks))
        chunk_start = self.chunk_start + (order_EK[..., None] * c.diversity + chunk_EKC) * c.chunk_tokens
        last_C = torch.arange(c.chunks, device=person_E.device) == c.chunks - 1
        mark_start = torch.where(last_C, stop, comma).expand_as(chunk_start)
        first_C = torch.arange(c.chunks, device=person_E.device) == 0
        chunk_role = torch.where(first_C, VALUE_FIRST, VALUE).expand_as(chunk_start)
        ones = torch.ones_like(chunk_start)

        def sentence(subject: Tensor, frame: Tensor, chunk: Tensor, mark: Tensor) -> Tensor:
            tail = torch.stack((chunk, mark), -1).flatten(2)
            return torch.cat((subject[..., None], frame[..., None], tail), -1).flatten(1)

        return Pieces(
            sentence(subject_start, frame_EK2[..., 0] + skip_K, chunk_start, mark_start),
            sentence(subject_length, frame_EK2[..., 1] - skip_K, ones * c.chunk_tokens, ones),
            sentence(subject_role, torch.full_like(order_EK, TEXT), chunk_role, ones * TEXT),
        )


def chunk_strings(config: BioDConfig, attribute: int) -> Tensor:
    """The D distinct strings of one attribute, (D, L) int64 in [0, T), uniform among all such sets."""
    c, space = config, config.alphabet**config.chunk_tokens
    key = rng.key("strings", c.seed, attribute)
    if space < 1 << 39:
        index = rng.permute(torch.arange(c.diversity), space, key, torch.zeros(1, dtype=torch.long))
        powers = torch.tensor([c.alphabet**i for i in reversed(range(c.chunk_tokens))])
        return index[:, None] // powers % c.alphabet
    # the space is so large that redrawing the odd repetition ends at once
    strings: dict[tuple[int, ...], None] = {}
    for attempt in itertools.count():
        counter = torch.arange(c.diversity * c.chunk_tokens)
        drawn = rng.below(c.alphabet, rng.key("strings", c.seed, attribute, attempt), counter)
        strings.update(dict.fromkeys(map(tuple, drawn.view(-1, c.chunk_tokens).tolist())))
        if len(strings) >= c.diversity:
            break
    return torch.tensor(list(strings)[: c.diversity])
