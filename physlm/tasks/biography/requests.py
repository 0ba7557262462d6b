"""Requests to a language model for biographies of the people of bioS (bioR of arXiv 2309.14316).

    {"person": 0, "number": 1, "prompt": "Write a biography ...", "values": {"name": "Anya Briar Forger", ...}}

The ``number``-th request about a person decides its manner; the order of the facts is drawn for each request.
Deviation: the requests are worded by us, and the published ones were written for one model.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch

from physlm import rng
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.facts import FIELDS, Facts
from physlm.tasks.biography.pools import ATTRIBUTES

TITLES = {
    "name": "full name", "birth_date": "date of birth", "birth_city": "place of birth", "university": "university",
    "major": "field of study", "employer": "employer", "employer_city": "place of work",
}  # fmt: skip
MANNERS = (
    "plain and matter-of-fact", "like an entry of an encyclopedia", "like a portrait in a local newspaper",
    "in short, lively sentences", "like the introduction of a speaker", "in one or two long sentences",
    "warm, as a friend would tell it", "formal, like a page of a company's directory",
    "like the back cover of a book", "beginning with the work and going back to the birth",
    "like a toast at a jubilee", "modest and dry",
)  # fmt: skip
_ORDERS = tuple(itertools.permutations(ATTRIBUTES))
_BATCH = 4096
_NUMBER_STEP = 1 << 32  # where the number of a request stands in a counter; the person stands below


def request(values: dict[str, str], number: int, order: tuple[str, ...] = ATTRIBUTES) -> str:
    """The prompt of one request, with the attributes in the given order."""
    facts = "\n".join(f"- {TITLES[name]}: {values[name]}" for name in ("name", *order))
    return (
        f"Write a biography of {values['name']} in about 50 words, with all of these facts:\n{facts}\n"
        "Spell each of them exactly as it stands here, with its commas, and mention each at a place of its own, even "
        "where two are alike. Make up no other names, dates or places. "
        f"Style: {MANNERS[number % len(MANNERS)]}. Answer with the biography alone."
    )


def requests(config: BioSConfig, texts: int) -> Iterator[dict[str, Any]]:
    """``texts`` requests about each of the people, in their order."""
    facts, key = Facts(config.people, config.seed, config.pool_size), rng.key("request for a biography", config.seed)
    for start in range(0, config.people * texts, _BATCH):
        place = torch.arange(start, min(start + _BATCH, config.people * texts))
        person, number = place // texts, place % texts
        orders = rng.below(len(_ORDERS), key, person + number * _NUMBER_STEP)
        for who, which, order in zip(person.tolist(), number.tolist(), orders.tolist(), strict=True):
            values = dict(zip(FIELDS, facts.of(who), strict=True))
            yield {"person": who, "number": which, "prompt": request(values, which, _ORDERS[order]), "values": values}
