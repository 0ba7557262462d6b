"""Rewritten texts of a few people, read by the extractor."""

from __future__ import annotations

from functools import cache

import torch

from physlm.tasks.biography.config import BioRConfig, BioSConfig
from physlm.tasks.biography.facts import FIELDS, Facts
from physlm.tasks.biography.pools import ATTRIBUTES
from physlm.tasks.biography.rewrite_grammar import person_words, rewrites_grammar
from physlm.tasks.biography.words import PRONOUNS

CPU = torch.device("cpu")
PEOPLE = 60
FORTY = BioSConfig(PEOPLE, texts=40, seed=3, rewritten=True)
WHOLE = rewrites_grammar()
Read = tuple[tuple[str, ...], dict[str, str]]


@cache
def read(config: BioSConfig | BioRConfig, draws: int) -> list[list[Read]]:
    """Words and labelled spans of the first so many texts of everybody."""
    task = config.build()
    person = torch.arange(config.people).repeat_interleave(draws)
    entries = task.entries(person, torch.arange(draws).repeat(config.people))
    assert int(entries.lengths_R.max()) <= task.entry_width
    found = []
    for ids, roles, length in zip(*(x.tolist() for x in entries), strict=True):
        text = [task.vocabulary.words[i] for i in ids[:length]]
        assert text[0] == text[-1] == "<eos>" and not any(roles[length:])
        spans = {name: " ".join(word for word, role in zip(text, roles, strict=False) if task.roles[role] == name)
                 for name in (*FIELDS, "gender")}  # fmt: skip
        found.append((tuple(text[1:-1]), spans))
    return [found[i : i + draws] for i in range(0, len(found), draws)]


@cache
def people(config: BioSConfig) -> list[dict[str, tuple[str, ...]]]:
    """What the grammar must know of each person."""
    facts = Facts(config.people, config.seed, config.pool_size)
    genders = config.build().tables.gender.tolist()
    told = zip(genders, map(facts.words, range(config.people)), strict=True)
    return [person_words(name, dict(zip(ATTRIBUTES, values, strict=True)), PRONOUNS[gender])
            for gender, (name, *values) in told]  # fmt: skip
